"""Checks of arguments that several environments share."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from robust_rl.errors import InvalidArgumentError


def number(name: str, value: Any) -> float:
    """Return a finite number as float, or raise InvalidArgumentError naming the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InvalidArgumentError(f"{name}={value!r} is not a finite number")
    return float(value)


def probability(name: str, value: Any) -> float:
    """Return a number in [0, 1], or raise InvalidArgumentError naming the argument."""
    if not 0 <= number(name, value) <= 1:
        raise InvalidArgumentError(f"{name}={value!r} is not a probability; it must be in [0, 1]")
    return float(value)


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0, or raise InvalidArgumentError naming the argument."""
    if number(name, value) <= 0:
        raise InvalidArgumentError(f"{name}={value!r} must be above 0")
    return float(value)


def count(name: str, value: Any, minimum: int = 1) -> int:
    """Return a whole number of at least ``minimum``, or raise InvalidArgumentError naming the argument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InvalidArgumentError(f"{name}={value!r} must be a whole number of at least {minimum}")
    return int(value)
