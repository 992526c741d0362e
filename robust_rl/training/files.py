"""Writing files so that a reader never sees half of one, whatever moment the writer is killed at."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, Union

from robust_rl.errors import CheckpointError, FileFormatError

# A real object, not a string: JSON | None must work outside annotations too.
JSON: TypeAlias = Union[bool, int, float, str, Sequence["JSON"], Mapping[str, "JSON"], None]  # noqa: UP007

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable: a rename survives a power cut only after its directory is synced."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of ``path`` durable."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def atomic_write(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, sync it, and rename it over ``path``.

    Raises
    ------
    OSError
        The disk is full or read-only; what was at ``path`` is untouched and the temporary file is gone.
    """
    # The process id keeps two writers of the same file apart; the last to rename wins, whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # the system names the temporary file, or none
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def write_json(path: Path, content: JSON) -> None:
    """Write ``content`` atomically as indented JSON.

    Raises
    ------
    OSError
        As :func:`atomic_write`.
    ValueError, TypeError
        ``content`` holds a nan, an infinity, or something JSON has no word for.
    """
    atomic_write(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises
    ------
    FileFormatError
        The file is missing, unreadable, not JSON (which has no nan or infinity), or not an object.
    """
    try:
        content = json.loads(path.read_bytes(), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"cannot read {path}: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} holds a JSON {type(content).__name__}; an object was expected")
    return content


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of the file at ``path``, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temporaries(directory: Path) -> None:
    """Remove what a killed writer left in ``directory``: entries named ``.*.tmp``."""
    for leftover in directory.glob(".*.tmp"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@contextmanager
def explain_disk_errors(path: Path, consequence: str) -> Iterator[None]:
    """Turn an operating-system error inside the block into a CheckpointError naming ``path`` and the consequence.

    Raises
    ------
    CheckpointError
        The block failed to write: disk full, no permission. ``errno`` is that of the cause.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number is None:
            raise
        explained = CheckpointError(f"cannot write {path}: {os.strerror(number)}; {consequence}; {_remedy(number)}")
        explained.errno = number
        raise explained from error


def disk_error(error: Exception) -> str | None:
    """Return what a user can do about a disk that is full or mustn't be written, or None if ``error`` is another."""
    number = _error_number(error)
    if number not in (*_FULL, *_FORBIDDEN, errno.ENAMETOOLONG):
        return None
    where = getattr(error, "filename", None)
    return f"cannot write {'a file' if where is None else where}: {os.strerror(number)}; {_remedy(number)}"


def _remedy(number: int) -> str:
    if number in _FULL:
        return "free some space, then run it again"
    if number in _FORBIDDEN:
        return "make it writable, or choose another directory"
    return "choose a shorter name" if number == errno.ENAMETOOLONG else "run it again when that is mended"


def _error_number(error: Exception) -> int | None:
    """Return the errno behind ``error``, or None if it is no disk error."""
    if isinstance(error, OSError):
        return error.errno
    # safetensors reports a full disk as an error of its own, with the number in the text.
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
