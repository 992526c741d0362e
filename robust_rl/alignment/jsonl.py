"""Files that grow by a JSON line at a time and survive a kill between any two bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_rl.errors import FileFormatError, sound
from robust_rl.training import atomic_write


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of ``path``, oldest first; none if there is no file.

    A last line that a kill cut short is removed from the file, so that the next one is not glued to it.

    Raises
    ------
    FileFormatError
        Another line is not a JSON object; the message names the file and the line.
    """
    if not path.exists():
        return []
    with sound(path, "file of JSON lines"):
        content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        atomic_write(path, whole)
    return [parse_line(path, number, line) for number, line in enumerate(whole.splitlines(), start=1)]


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to ``path`` and make it durable.

    Raises
    ------
    OSError
        The disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def parse_line(path: Path, number: int, line: bytes | str) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises
    ------
    FileFormatError
        It is none.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}, line {number}: {error}") from error
    if not isinstance(entry, dict):
        raise FileFormatError(f"{path}, line {number}: expected a JSON object, not {type(entry).__name__}")
    return entry
