"""The same set at another radius."""

from __future__ import annotations

from typing import Any

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import RadiusSet


def resized(uncertainty: Any, radius: float) -> RadiusSet:
    """Return a set like the given one, of the same norm and support, whose every row has this radius.

    Raises
    ------
    InvalidUncertaintyError
        If the set has no radius, or has one a row, or the radius is out of its range.
    """
    one_radius(uncertainty)
    return type(uncertainty)(**uncertainty.describe() | {uncertainty.argument: radius})  # type: ignore[no-any-return]


def at_any_radius(uncertainty: RadiusSet) -> str:
    """Return the set in words, with its radius left open: ``TotalVariation(radius=..., support='free')``."""
    argument = uncertainty.argument
    return repr(uncertainty).replace(f"{argument}={uncertainty.describe()[argument]!r}", f"{argument}=...")


def one_radius(uncertainty: Any) -> float:
    """Return the radius that all rows of a set share; errors as in :func:`resized`."""
    if not isinstance(uncertainty, RadiusSet):
        raise InvalidUncertaintyError(f"{uncertainty!r} has no radius to vary; give a set that has one, such as TotalVariation")
    if not isinstance(uncertainty.radius, float):
        raise InvalidUncertaintyError(
            f"{uncertainty!r} has a radius for every row; to vary the radius, give a set with one radius for all"
        )
    return uncertainty.radius
