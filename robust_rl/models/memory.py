"""Says how much memory an array would need before it is asked for: a game's joint actions multiply."""

from __future__ import annotations

import os

from robust_rl.errors import InvalidModelError

UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB")


def available_memory() -> float:
    """Return the bytes that new arrays may take; infinite where the system doesn't say."""
    try:
        with open("/proc/meminfo") as lines:
            return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return float("inf")


def require_memory(needed: float, what: str, remedy: str) -> None:
    """Raise InvalidModelError if ``needed`` bytes aren't there, saying what they are for and what to do instead."""
    free = available_memory()
    if needed > free:
        raise InvalidModelError(f"{what} would take {human(needed)}, and {human(free)} are available; {remedy}")


def human(size: float) -> str:
    """Return a number of bytes in the unit that fits.

    >>> human(3.05e15)
    '3.05 PB'
    """
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}"
