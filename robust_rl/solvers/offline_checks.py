"""Checks that the solvers for logged data share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.uncertainty import RectangularSet, TotalVariation

OBSERVED = "observed"


def check_rewards(data: OfflineDataset, reward_bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds as numbers, or raise InvalidArgumentError naming a reward beyond them."""
    low, high = (float(bound) for bound in reward_bounds)
    beyond = np.flatnonzero((data.rewards < low) | (data.rewards > high))
    if beyond.size:
        raise InvalidArgumentError(
            f"rewards[{beyond[0]}] is {data.rewards[beyond[0]]:g}, outside reward_bounds=({low:g}, {high:g}); "
            "give the least and the greatest reward that can occur"
        )
    return low, high


def check_ball(uncertainty: RectangularSet, why: str) -> TotalVariation:
    """Return a ball of total variation on free support, or raise InvalidUncertaintyError saying why it must be one."""
    if not isinstance(uncertainty, TotalVariation) or uncertainty.support != "free":
        raise InvalidUncertaintyError(f'{uncertainty!r} can\'t be used: {why} TotalVariation(radius, support="free")')
    return uncertainty


def check_states(data: OfflineDataset, states: ArrayLike | None) -> NDArray[np.generic] | None:
    """Return every state as an array, or raise InvalidArgumentError if they aren't shaped as in the data."""
    known = None if states is None else np.asarray(states)
    if known is not None and (not len(known) or known.shape[1:] != data.observations.shape[1:]):
        raise InvalidArgumentError(f"states have shape {known.shape}; expected (S, ...) with states as in the data")
    return known


def check_v_min(v_min: float | str | None, *words: str) -> float | str | None:
    """Return the value of the worst state, or the way to find it. Raises InvalidArgumentError if it is neither."""
    if v_min is None or v_min in words:
        return v_min
    if isinstance(v_min, bool) or not isinstance(v_min, (int, float)) or not np.isfinite(v_min):
        known = ", ".join(f'"{word}"' for word in words)
        raise InvalidArgumentError(f"v_min={v_min!r}; expected a number, {known}, or None for the exact minimum")
    return float(v_min)
