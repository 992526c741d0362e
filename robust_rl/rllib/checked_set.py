"""Which uncertainty sets a deep learner takes, and why not others."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.uncertainty import Nominal, RadiusSet, RectangularSet, SupportedSet


def moving(uncertainty: RectangularSet | None) -> RectangularSet | None:
    """Return the set, or None if nothing can move: there is no set, or its radius is 0."""
    if uncertainty is None or isinstance(uncertainty, Nominal) or not np.any(getattr(uncertainty, "radius", 1.0)):
        return None
    return uncertainty


def check_set(uncertainty: Any, floor: Any, kinds: Collection[type[RectangularSet]], learner: str) -> None:
    """Raise unless a learner can take the set.

    Parameters
    ----------
    uncertainty
        What the user gave.
    floor
        Value of the worst state, as the user gave it.
    kinds
        Sets that the learner takes.
    learner
        Its name, for messages.

    Raises
    ------
    InvalidUncertaintyError
        If it is no set, or one of another kind, support or shape of radius.
    InvalidArgumentError
        If the value of the worst state is needed and missing, or isn't a number.
    """
    if uncertainty is not None and not isinstance(uncertainty, RectangularSet):
        raise InvalidUncertaintyError(f'uncertainty={uncertainty!r}; give a set, as TotalVariation(0.1, support="free"), or None')
    if moving(uncertainty) is None:
        return
    if not isinstance(uncertainty, RadiusSet) or type(uncertainty) not in kinds:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidUncertaintyError(
            f"{uncertainty!r} can't be used: {learner} sees one next state at a time, and has targets for {names} alone"
        )
    if np.ndim(uncertainty.radius):
        raise InvalidUncertaintyError(
            f"radii of shape {np.shape(uncertainty.radius)} can't be used: a network has no table of states and actions; "
            "give one number"
        )
    if not isinstance(uncertainty, SupportedSet):
        return  # KL: its adversary stays where the nominal one goes
    if uncertainty.support != "free":
        raise InvalidUncertaintyError(
            f'{uncertainty!r} can\'t be used: {learner} knows no list of successors to keep an adversary to; give support="free"'
        )
    if floor is None:
        raise InvalidArgumentError(
            f"{uncertainty!r} on free support sends whom it moves to the worst state there is, and nothing tells its value: give "
            "value_floor=0.0 if no reward is negative, else least reward / (1 - gamma), or a higher bound that you know"
        )
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not np.isfinite(floor):
        raise InvalidArgumentError(f"value_floor={floor!r}; it must be a number")


def check_ends(floor: float | None, terminated: Any) -> None:
    """Raise InvalidArgumentError if episodes end, which is worth 0, though no state was to be worth so little."""
    if floor is not None and floor > 0 and bool(terminated.any()):
        raise InvalidArgumentError(
            f"value_floor={floor:g}, but an episode ended, and its end is a state worth 0: give value_floor=0.0 or less"
        )
