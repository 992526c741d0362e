"""Reading numbers and lines out of bytes, compiled: what the text formats share.

A scanner copies every number it meets, checked character by character, into one buffer with a blank between any two; one call
then converts them all, correctly rounded. A rational number is two of these, of which the second is marked as a divisor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit
from robust_rl.errors import FileFormatError

CHUNK = 1 << 24  # bytes read at a time
DIVISOR = 128  # mark of a number that divides the one before it
LARGEST_INDEX = 2**31 - 2
_NEWLINE, _TAB, _RETURN, _BLANK = 10, 9, 13, 32
_PLUS, _MINUS, _DOT, _SLASH, _ZERO, _NINE, _SMALL_E, _LARGE_E = 43, 45, 46, 47, 48, 57, 101, 69
COMMA, OPEN, CLOSE = 44, 91, 93


@njit
def line_end(text, i):  # type: ignore[no-untyped-def]
    """Return where the line that holds i ends."""
    while i < len(text) and text[i] != _NEWLINE:
        i += 1
    return i


@njit
def skip_blanks(text, i, end):  # type: ignore[no-untyped-def]
    """Return the first place from i on that is no blank, tab or carriage return."""
    while i < end and (text[i] == _BLANK or text[i] == _TAB or text[i] == _RETURN):
        i += 1
    return i


@njit
def word_end(text, i, end):  # type: ignore[no-untyped-def]
    """Return where the word that begins at i ends."""
    while i < end and text[i] != _BLANK and text[i] != _TAB and text[i] != _RETURN:
        i += 1
    return i


@njit
def starts_with(text, i, end, word):  # type: ignore[no-untyped-def]
    """Whether the line has this word, an array of bytes, at i."""
    if end - i < len(word):
        return False
    for k in range(len(word)):  # noqa: SIM110 (compiled)
        if text[i + k] != word[k]:
            return False
    return True


@njit
def read_index(text, i, end):  # type: ignore[no-untyped-def]
    """Return the whole number at i, or -1 if there is none or it's too large, and where it ends."""
    value, begin = 0, i
    while i < end and _ZERO <= text[i] <= _NINE:
        value = min(value * 10 + (text[i] - _ZERO), LARGEST_INDEX + 1)
        i += 1
    return (value if i > begin and value <= LARGEST_INDEX else -1), i


@njit
def _digits(text, i, end, out, n):  # type: ignore[no-untyped-def]
    while i < end and _ZERO <= text[i] <= _NINE:
        out[n] = text[i]
        i, n = i + 1, n + 1
    return i, n


@njit
def _one_number(text, i, end, out, n):  # type: ignore[no-untyped-def]
    """Copy a decimal number and a blank; return where it ends and the new length, or -1 and anything if it is malformed."""
    if i < end and (text[i] == _MINUS or text[i] == _PLUS):
        out[n] = text[i]
        i, n = i + 1, n + 1
    begin = n
    i, n = _digits(text, i, end, out, n)
    count = n - begin
    if i < end and text[i] == _DOT:
        out[n] = _DOT
        i, n = i + 1, n + 1
        begin = n
        i, n = _digits(text, i, end, out, n)
        count += n - begin
    if count == 0:
        return -1, n
    if i < end and (text[i] == _SMALL_E or text[i] == _LARGE_E):
        out[n] = _SMALL_E
        i, n = i + 1, n + 1
        if i < end and (text[i] == _MINUS or text[i] == _PLUS):
            out[n] = text[i]
            i, n = i + 1, n + 1
        begin = n
        i, n = _digits(text, i, end, out, n)
        if n == begin:
            return -1, n
    out[n] = _BLANK
    return i, n + 1


@njit
def copy_number(text, i, end, out, n, kinds, k, kind):  # type: ignore[no-untyped-def]
    """Copy a decimal or rational number and note its kind; return (place, bytes copied, numbers), place -1 if malformed."""
    i, n = _one_number(text, i, end, out, n)
    kinds[k] = kind
    k += 1
    if i != -1 and i < end and text[i] == _SLASH:
        i, n = _one_number(text, i + 1, end, out, n)
        kinds[k] = kind + DIVISOR
        k += 1
    return i, n, k


@njit
def copy_interval(text, i, end, out, n, kinds, k, kind):  # type: ignore[no-untyped-def]
    """Copy a number of this kind, or the two of ``[l, u]`` as this kind and the next; return also whether it was an interval."""
    if i >= end or text[i] != OPEN:
        i, n, k = copy_number(text, i, end, out, n, kinds, k, kind)
        return i, n, k, False
    i, n, k = copy_number(text, skip_blanks(text, i + 1, end), end, out, n, kinds, k, kind)
    if i == -1:
        return -1, n, k, True
    i = skip_blanks(text, i, end)
    if i >= end or text[i] != COMMA:
        return -1, n, k, True
    i, n, k = copy_number(text, skip_blanks(text, i + 1, end), end, out, n, kinds, k, kind + 1)
    if i == -1:
        return -1, n, k, True
    i = skip_blanks(text, i, end)
    if i >= end or text[i] != CLOSE:
        return -1, n, k, True
    return i + 1, n, k, True


def numbers(copied: NDArray[np.uint8], kinds: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Convert the numbers that a scanner copied, and return them with their kinds."""
    values = np.fromstring(copied.tobytes().decode("ascii"), dtype=np.float64, sep=" ")
    divisors = np.flatnonzero(kinds >= DIVISOR)
    if divisors.size:
        with np.errstate(divide="ignore", invalid="ignore"):  # 1/0 is infinite, which is refused as any infinite number is
            values[divisors - 1] /= values[divisors]
        values, kinds = np.delete(values, divisors), np.delete(kinds, divisors)
    return values, kinds


def chunks(file: IO[bytes]) -> Iterator[NDArray[np.uint8]]:
    """Yield the rest of a file as pieces of whole lines."""
    rest = b""
    while block := file.read(CHUNK):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield np.frombuffer(rest + block[:cut], dtype=np.uint8)
            rest = block[cut:]
        else:
            rest += block
    if rest:
        yield np.frombuffer(rest, dtype=np.uint8)


def line_at(text: NDArray[np.uint8], number: int) -> str:
    """Return a line of a piece, cut short, to be shown in a message."""
    line = text.tobytes().split(b"\n", number + 1)[number].strip()
    shown = line[:60].decode("utf-8", errors="replace")
    return repr(shown + "..." if len(line) > 60 else shown)


def open_text(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, or raise FileFormatError."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror}") from None


def fail(path: Path, line: int, message: str) -> NoReturn:
    """Raise the error of a malformed line."""
    raise FileFormatError(f"{path}, line {line}: {message}")


def word(text: str) -> NDArray[Any]:
    """Return a word as the array of bytes that :func:`starts_with` compares."""
    return np.frombuffer(text.encode(), dtype=np.uint8)
