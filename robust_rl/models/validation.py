"""The one place where a tabular model's arrays are checked and brought to one form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidModelError

ROW_SUM_TOLERANCE = 1e-8


def as_transitions(transitions: Any) -> Any:
    """Return a C-contiguous float64 array, or a canonical CSR array."""
    if sparse.issparse(transitions):
        return canonical(transitions)
    return np.ascontiguousarray(_numbers(transitions, "transitions"))


def canonical(matrix: Any) -> sparse.csr_array:
    """Return the matrix as float64 CSR with sorted columns and no duplicates; the caller's arrays aren't changed."""
    result = sparse.csr_array(matrix, dtype=np.float64)
    if not result.has_canonical_format:
        result = result.copy()
        result.sum_duplicates()
    return result


def as_rewards(rewards: Any, shape: tuple[int, int], sparse_model: bool) -> Any:
    """Return rewards as (S, A), or laid out like the transitions."""
    states, actions = shape
    if sparse.issparse(rewards):
        if rewards.shape != (states * actions, states):
            raise InvalidModelError(f"rewards have shape {rewards.shape}; a sparse r(s,a,s') needs {(states * actions, states)}")
        if sparse_model:
            return canonical(rewards)
        return np.ascontiguousarray(rewards.toarray().reshape(states, actions, states), dtype=np.float64)
    array = np.ascontiguousarray(_numbers(rewards, "rewards"))
    if array.shape == shape:
        return array
    if array.shape != (states, actions, states):
        raise InvalidModelError(f"rewards have shape {array.shape}; expected {shape} or {(states, actions, states)}")
    return canonical(array.reshape(-1, states)) if sparse_model else array


def as_terminal(terminal: ArrayLike | None, states: int) -> NDArray[np.bool_]:
    """Return a boolean mask (S,) from a mask or a list of indices."""
    mask = np.zeros(states, dtype=bool)
    if terminal is None:
        return mask
    given = np.asarray(terminal)
    if given.dtype == bool:
        if given.shape != (states,):
            raise InvalidModelError(f"terminal has shape {given.shape}; expected ({states},)")
        return given.copy()
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise InvalidModelError(f"terminal is an array of {given.dtype}; give a boolean mask or integer state indices")
    indices = given.astype(np.intp).ravel()
    if len(np.unique(indices)) < len(indices):
        raise InvalidModelError("terminal lists a state twice; a mask of 0 and 1 must have dtype bool")
    outside = indices[(indices < 0) | (indices >= states)]
    if outside.size:
        raise InvalidModelError(f"terminal state {outside[0]} does not exist; states are 0..{states - 1}")
    mask[indices] = True
    return mask


def as_action_mask(action_mask: ArrayLike | None, shape: tuple[int, int], terminal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a boolean (S, A) mask with at least one action in every state that isn't terminal."""
    if action_mask is None:
        return np.ones(shape, dtype=bool)
    given = np.asarray(action_mask)
    if not np.isin(given, (0, 1)).all():
        raise InvalidModelError("action_mask has an entry other than True and False (or 1 and 0)")
    mask = given.astype(bool)
    if mask.shape != shape:
        raise InvalidModelError(f"action_mask has shape {mask.shape}; expected {shape}")
    stuck = np.flatnonzero(~mask.any(axis=1) & ~terminal)
    if stuck.size:
        raise InvalidModelError(f"action_mask leaves no action in state {stuck[0]}; mark it terminal or allow an action")
    return mask


def as_start(start: ArrayLike | None, states: int) -> NDArray[np.float64]:
    """Return a start distribution (S,); state 0 when none is given."""
    if start is None:
        return np.eye(1, states, 0).ravel()
    distribution = _numbers(start, "start").copy()
    if distribution.shape != (states,):
        raise InvalidModelError(f"start has shape {distribution.shape}; expected ({states},)")
    if not np.isfinite(distribution).all() or (distribution < 0).any():
        raise InvalidModelError("start has an entry that is negative or not finite")
    if abs(distribution.sum() - 1) > ROW_SUM_TOLERANCE:
        raise InvalidModelError(f"start sums to {distribution.sum():.10g}; it must sum to 1 within {ROW_SUM_TOLERANCE:g}")
    return distribution


def checked_rows(transitions: Any, active: NDArray[np.bool_], actions: int) -> Any:
    """Return the transitions with active rows that sum to 1 up to rounding.

    Rows within the tolerance, as those from float32, are divided by their sums, in a copy: the certificates rest on sums of 1.
    Raises InvalidModelError unless every active row is a probability vector, naming the first that isn't.
    """
    matrix = transitions if sparse.issparse(transitions) else transitions.reshape(len(active), -1)
    bad_rows, bad_columns, bad_values = _offending_entries(matrix)
    for row, column, value in zip(bad_rows, bad_columns, bad_values, strict=True):
        if active[row]:
            raise InvalidModelError(
                f"P[s={row // actions}, a={row % actions}, s'={column}] is {value:g}; probabilities are >= 0 and finite"
            )
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    bad = np.flatnonzero(active & ~(np.abs(sums - 1) <= ROW_SUM_TOLERANCE))
    if bad.size:
        state, action = divmod(int(bad[0]), actions)
        raise InvalidModelError(
            f"P[s={state}, a={action}] sums to {sums[bad[0]]:.10g}; rows must sum to 1 within {ROW_SUM_TOLERANCE:g}"
        )
    longest = matrix.shape[1] if not sparse.issparse(matrix) else int(np.diff(matrix.indptr).max(initial=0))
    if (abs(sums[active] - 1) <= (longest + 8) * np.finfo(np.float64).eps).all():
        return transitions
    scale = 1 / np.where(active, sums, 1.0)
    if sparse.issparse(transitions):
        return canonical(sparse.diags_array(scale) @ transitions)
    return transitions * scale.reshape(-1, actions)[..., None]


def _offending_entries(matrix: Any) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    if sparse.issparse(matrix):
        bad = np.flatnonzero(~(np.isfinite(matrix.data) & (matrix.data >= 0)))
        return np.searchsorted(matrix.indptr, bad, side="right") - 1, matrix.indices[bad], matrix.data[bad]
    rows, columns = np.nonzero(~(np.isfinite(matrix) & (matrix >= 0)))
    return rows, columns, matrix[rows, columns]


def check_finite_rewards(rewards: Any, active: NDArray[np.bool_], shape: tuple[int, int]) -> None:
    """Raise if a reward of an active row is NaN or infinite, naming it."""
    if sparse.issparse(rewards):
        bad = np.flatnonzero(~np.isfinite(rewards.data))
        rows = np.searchsorted(rewards.indptr, bad, side="right") - 1
    else:
        rows = np.flatnonzero(~np.isfinite(rewards.reshape(len(active), -1)).all(axis=1))
    rows = rows[active[rows]]
    if rows.size:
        state, action = divmod(int(rows[0]), shape[1])
        raise InvalidModelError(f"the reward of (s={state}, a={action}) is NaN or infinite; rewards must be finite")


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidModelError(f"{name} are not an array of numbers: {error}") from error
