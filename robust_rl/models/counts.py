"""Empirical transition models from counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidArgumentError, InvalidModelError
from robust_rl.models import validation

UNVISITED = ("error", "mask", "uniform", "stay")


def empirical_transitions(
    counts: Any, unvisited: str, terminal: ArrayLike | None = None, action_mask: ArrayLike | None = None
) -> tuple[Any, NDArray[np.bool_]]:
    """Return transition probabilities in the layout of ``counts`` and the (S, A) mask of pairs that were seen."""
    if unvisited not in UNVISITED:
        raise InvalidArgumentError(f"unvisited={unvisited!r}; expected one of {', '.join(UNVISITED)}")
    counts = validation.as_transitions(counts)
    states = counts.shape[-1]
    matrix = counts if sparse.issparse(counts) else counts.reshape(-1, states)
    actions = matrix.shape[0] // states
    entries = matrix.data if sparse.issparse(matrix) else matrix
    if not np.isfinite(entries).all() or (entries < 0).any():
        raise InvalidModelError("counts have an entry that is negative or not finite")
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    seen = totals > 0
    needed = _needed(states, actions, terminal, action_mask)
    missing = np.flatnonzero(~seen & needed)
    if missing.size and unvisited == "error":
        state, action = divmod(int(missing[0]), actions)
        raise InvalidModelError(
            f"(s={state}, a={action}) was never visited ({missing.size} such pairs); choose unvisited='mask', 'uniform' or 'stay'"
        )
    filled = _fill(matrix, missing, states, actions, unvisited) if unvisited in ("uniform", "stay") else matrix
    scale = 1 / np.where(seen, totals, 1.0)
    if sparse.issparse(filled):
        probabilities: Any = validation.canonical(sparse.diags_array(scale) @ filled)
        return probabilities, seen.reshape(states, actions)
    return (filled * scale[:, None]).reshape(states, actions, states), seen.reshape(states, actions)


def _needed(states: int, actions: int, terminal: ArrayLike | None, action_mask: ArrayLike | None) -> NDArray[np.bool_]:
    ends = validation.as_terminal(terminal, states)
    mask = validation.as_action_mask(action_mask, (states, actions), ends)
    return (mask & ~ends[:, None]).ravel()


def _fill(matrix: Any, missing: NDArray[np.intp], states: int, actions: int, unvisited: str) -> Any:
    """Give each missing row one pseudo-transition: to every state alike, or to its own state."""
    if unvisited == "stay":
        rows, columns, weights = missing, missing // actions, np.ones(len(missing))
    else:
        rows, columns = np.repeat(missing, states), np.tile(np.arange(states), len(missing))
        weights = np.full(len(rows), 1 / states)
    extra = sparse.csr_array((weights, (rows, columns)), shape=matrix.shape)
    return matrix + extra if sparse.issparse(matrix) else matrix + extra.toarray()
