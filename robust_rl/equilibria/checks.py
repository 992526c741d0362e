"""Arguments of the stage games, checked at the door."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest

Array = NDArray[np.float64]
KINDS = ("ne", "ce", "cce")
SELECTIONS = ("utilitarian", "maximin", "max_entropy")


def as_kind(kind: str) -> str:
    """Return the kind of equilibrium, if there is one of that name."""
    if kind not in KINDS:
        raise UnknownNameError(f"no equilibrium {kind!r}; known: {', '.join(KINDS)}{nearest(str(kind), KINDS)}")
    return kind


def as_selection(selection: str | None) -> str | None:
    """Return the selection rule, if there is one of that name."""
    if selection is not None and selection not in SELECTIONS:
        known = ", ".join(SELECTIONS)
        raise UnknownNameError(
            f"no selection rule {selection!r}; known: {known}, or None for any equilibrium{nearest(str(selection), SELECTIONS)}"
        )
    return selection


def as_payoffs(payoffs: ArrayLike) -> Array:
    """Return payoffs as a C-contiguous float64 array (K, n, A1, .., An)."""
    games = np.ascontiguousarray(payoffs, dtype=np.float64)
    if games.ndim < 3 or games.shape[1] != games.ndim - 2 or 0 in games.shape[1:]:
        raise InvalidArgumentError(
            f"payoffs of shape {games.shape}; a batch of games is (K, n, A1, .., An): for each of K games and n players, "
            "an entry for each joint action, at least one"
        )
    bad = ~np.isfinite(games)
    if bad.any():
        k, i, *joint = (int(index) for index in np.argwhere(bad)[0])
        raise InvalidArgumentError(f"payoffs[{k}] of player {i} at the joint action {tuple(joint)} is {games[k, i, *joint]}")
    return games


def as_matrices(payoffs: ArrayLike) -> Array:
    """Return matrix games as a C-contiguous float64 array (K, A, B)."""
    games = np.ascontiguousarray(payoffs, dtype=np.float64)
    if games.ndim != 3 or 0 in games.shape[1:]:
        raise InvalidArgumentError(f"payoffs of shape {games.shape}; a batch of matrix games is (K, A, B), A and B at least 1")
    bad = ~np.isfinite(games)
    if bad.any():
        k, a, b = (int(index) for index in np.argwhere(bad)[0])
        raise InvalidArgumentError(f"payoffs[{k}, {a}, {b}] is {games[k, a, b]}")
    return games


def as_policies(policies: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return joint policies as a C-contiguous float64 array (K, A1, .., An)."""
    joint = np.ascontiguousarray(policies, dtype=np.float64)
    if joint.shape != shape:
        raise InvalidArgumentError(f"policies of shape {joint.shape}; these payoffs need {shape}, one distribution a game")
    flat = joint.reshape(len(joint), -1)
    wrong = ~((flat >= 0).all(axis=1) & (abs(flat.sum(axis=1) - 1) <= 1e-8))
    if wrong.any():
        k = int(wrong.argmax())
        raise InvalidArgumentError(
            f"policies[{k}] isn't a distribution: its least entry is {flat[k].min():.3g} and it sums to {flat[k].sum():.10g}"
        )
    return joint
