"""``metrics.jsonl``: one JSON object a line, ``{"step": 12, "time": 1789000000.0, "solve/gap": 0.5}``.

``time`` is in seconds since 1970. JSON has no word for infinities and nan, and a first certificate gap is often
infinite: they are written as the strings ``"inf"``, ``"-inf"`` and ``"nan"``, which :func:`read_metrics` turns back
into floats (``null`` would lose which of the three it was). Every line stays valid JSON.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training.files import atomic_write

_RESERVED = ("step", "time")
_NON_FINITE = ("inf", "-inf", "nan")
_FLUSH_SECONDS = 1.0


def plain_numbers(metrics: Mapping[str, Any]) -> dict[str, int | float]:
    """Return the metrics as Python numbers; NumPy scalars and one-element tensors are unwrapped.

    Raises
    ------
    InvalidArgumentError
        ``metrics`` is no mapping, a value is no number, or a key is ``step`` or ``time``, which the log line uses.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidArgumentError(f"metrics are {metrics!r}; expected a mapping from name to number")
    return {key: _number(key, value) for key, value in metrics.items()}


class MetricsWriter:
    """Appends lines to a metrics file. Lines reach the disk at :meth:`sync`, and the reader's eye within a second.

    Raises
    ------
    OSError
        The file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        _cut_partial_line(path)
        self._file: BinaryIO = open(path, "ab")  # noqa: SIM115 - open until close
        self._flushed = time.monotonic()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one line.

        Raises
        ------
        InvalidArgumentError
            As :func:`plain_numbers`.
        """
        line: dict[str, Any] = {"step": step, "time": time.time()}
        line.update({key: _encode(value) for key, value in plain_numbers(metrics).items()})
        self._file.write((json.dumps(line, allow_nan=False) + "\n").encode())
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def flush(self) -> None:
        """Hand the lines to the operating system, for readers of the file."""
        self._file.flush()

    def sync(self) -> None:
        """Make every line durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, oldest first; none if there is no file.

    A last line that a kill cut short is left out.

    Raises
    ------
    FileFormatError
        Another line is not a JSON object with a step; the message names the file and the line.
    """
    return [_decode(path, number, line) for number, line in _whole_lines(_content(path))]


def truncate_metrics(path: Path, step: int) -> None:
    """Drop every line after ``step``, and a last line that was cut short.

    Raises
    ------
    FileFormatError
        As :func:`read_metrics`.
    OSError
        The shorter file cannot be written; the longer one is untouched.
    """
    content = _content(path)
    kept = b"".join(line + b"\n" for number, line in _whole_lines(content) if _decode(path, number, line)["step"] <= step)
    if kept != content:
        atomic_write(path, kept)


def last_step(path: Path) -> int | None:
    """Return the step of the last whole line, or None; reads only the end of the file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2**16))
            lines = file.read().split(b"\n")[:-1]
        return int(_decode(path, len(lines), lines[-1])["step"]) if lines else None
    except (FileFormatError, OSError):
        return None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:  # a folder of that name
        raise FileFormatError(f"cannot read {path}: {error.strerror}") from error


def _number(key: str, value: Any) -> int | float:
    if key in _RESERVED:
        raise InvalidArgumentError(f"a metric cannot be named {key!r}; group it, as in 'train/{key}'")
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError) as error:
            raise InvalidArgumentError(f"metric {key!r} is not a single number: {error}") from error
    if not isinstance(value, int | float):
        raise InvalidArgumentError(f"metric {key!r} is {value!r}; a metric must be a number")
    return int(value) if isinstance(value, bool) else value


def _encode(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _whole_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    # What follows the last newline is empty, or was cut short by a kill.
    return enumerate(content.split(b"\n")[:-1], start=1)


def _decode(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}, line {number}: {error}") from error
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        raise FileFormatError(f"{path}, line {number}: expected an object with an integer step")
    return {key: float(value) if value in _NON_FINITE else value for key, value in entry.items()}


def _cut_partial_line(path: Path) -> None:
    """Remove what a killed writer left after the last newline, or the next line would be glued to it."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - 2**16)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        file.truncate(position)
