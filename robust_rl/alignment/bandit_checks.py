"""What a bandit learner can be asked for, checked before anything is drawn."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.alignment import tabular
from robust_rl.alignment.tabular import Array
from robust_rl.envs import PreferenceBandit
from robust_rl.errors import InvalidArgumentError

Calibration = Literal["reference", "chosen", "rejected"]
Optimiser = Literal["adamw", "bounded"]
Schedule = Literal["constant", "sqrt"]


def check_runs(bandits: list[PreferenceBandit], seeds: list[int]) -> None:
    """Raise unless there is a seed for each bandit, and all bandits are of one shape."""
    if not bandits or len(bandits) != len(seeds):
        raise InvalidArgumentError(f"{len(bandits)} bandits and {len(seeds)} seeds; give one seed to each of at least one bandit")
    shapes = {bandit.rewards.shape for bandit in bandits}
    if len(shapes) > 1:
        raise InvalidArgumentError(f"bandits have shapes {sorted(shapes)}; those of one learner must have one")


def check_choices(*, optimiser: str, schedule: str) -> None:
    """Raise unless the names are known."""
    for name, value, known in (("optimiser", optimiser, ("adamw", "bounded")), ("schedule", schedule, ("constant", "sqrt"))):
        if value not in known:
            raise InvalidArgumentError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")


def check_numbers(
    pairs: int, rounds: int | None, rate: float, decay: float, steps: int, bound: float, reward: float | None
) -> None:
    """Raise unless the numbers are in range."""
    for name, value in (("pairs", pairs), ("rounds", 1 if rounds is None else rounds), ("steps_per_round", steps)):
        if value < 1:
            raise InvalidArgumentError(f"{name}={value} must be at least 1")
    for name, number in (("learning_rate", rate), ("bound", bound), ("reward_bound", 1.0 if reward is None else reward)):
        if not number > 0:
            raise InvalidArgumentError(f"{name}={number} must be above 0")
    if not decay >= 0:
        raise InvalidArgumentError(f"weight_decay={decay} must be at least 0")


def calibration_shares(given: Calibration | ArrayLike, reference: Array, weights: Array) -> str | Array:
    """Return rho(x) pi_cal(y|x), (B, X, K), or the name of a calibration that follows the pairs."""
    if isinstance(given, str):
        if given not in ("reference", "chosen", "rejected"):
            raise InvalidArgumentError(
                f"calibration={given!r} is not 'reference', 'chosen', 'rejected', nor a distribution over responses"
            )
        if given != "reference":
            return given
        shares = np.exp(tabular.log_softmax(reference))
    else:
        shares = np.asarray(given, dtype=float)
        fits = shares.shape == reference.shape[1:] and (shares >= 0).all() and np.allclose(shares.sum(axis=-1), 1, atol=1e-8)
        if not fits:
            raise InvalidArgumentError(
                f"calibration of shape {shares.shape} is no distribution over responses for each context, {reference.shape[1:]}"
            )
    return np.asarray(weights[:, :, None] * shares)


def pair_indices(data: tuple[ArrayLike, ArrayLike, ArrayLike], contexts: int, arms: int) -> list[NDArray[np.intp]]:
    """Return logged pairs as index arrays (N,), or raise InvalidArgumentError naming the part that isn't."""
    arrays = [np.asarray(part) for part in data]
    for name, array, size in zip(("contexts", "winners", "losers"), arrays, (contexts, arms, arms), strict=True):
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or array.shape != arrays[0].shape or not array.size:
            raise InvalidArgumentError(
                f"data's {name} are {array.dtype} of shape {array.shape}; give three equal rows of integers"
            )
        if (array < 0).any() or (array >= size).any():
            raise InvalidArgumentError(f"data's {name} go from {array.min()} to {array.max()}; they must be in 0..{size - 1}")
    return arrays
