"""The one place where a tabular model's arrays are checked and brought to one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidModelError

ROW_SUM_TOLERANCE = 1e-8
ROW_SUM_TOLERANCE_32 = 1e-5  # of rows held in single precision
BLOCK_ENTRIES = 1 << 20  # rows are checked some 8 MB at a time: a model of many GB is checked beside nothing but itself


def as_transitions(transitions: Any) -> Any:
    """Return a C-contiguous array, or a canonical CSR array, in double precision unless the numbers come in single precision."""
    dtype = np.float32 if getattr(transitions, "dtype", None) == np.float32 else np.float64
    if sparse.issparse(transitions):
        return canonical(transitions, dtype)
    return np.ascontiguousarray(transitions if dtype is np.float32 else _numbers(transitions, "transitions"))


def canonical(matrix: Any, dtype: type = np.float64) -> sparse.csr_array:
    """Return the matrix as CSR with sorted columns and no duplicates; the caller's arrays aren't changed."""
    result = sparse.csr_array(matrix, dtype=dtype)
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
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
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


def pair_name(actions: int) -> Callable[[int], str]:
    """Return what names row s*A + a in a message."""
    return lambda row: f"s={row // actions}, a={row % actions}"


def checked_rows(transitions: Any, active: NDArray[np.bool_], name: Callable[[int], str]) -> Any:
    """Return the transitions with active rows that sum to 1 up to rounding.

    Rows within the tolerance, as those computed in float32, are divided by their sums, in a copy: the certificates rest on sums
    of 1. Rows held in float32 sum to 1 as closely as that type can; certificates are widened by what is missing.
    Raises InvalidModelError unless every active row is a probability vector, naming the first that isn't.
    """
    matrix = transitions if sparse.issparse(transitions) else transitions.reshape(len(active), -1)
    tolerance = ROW_SUM_TOLERANCE if matrix.dtype == np.float64 else ROW_SUM_TOLERANCE_32
    longest, worst = 0, 0.0
    for begin, end in row_blocks(matrix):
        block = active[begin:end]
        _check_entries(matrix, begin, end, block, name)
        sums = _row_sums(matrix, begin, end)
        bad = np.flatnonzero(block & ~(np.abs(sums - 1) <= tolerance))
        if bad.size:
            where = name(begin + int(bad[0]))
            raise InvalidModelError(f"P[{where}] sums to {sums[bad[0]]:.10g}; rows must sum to 1 within {tolerance:g}")
        longest = max(longest, _longest_row(matrix, begin, end))
        worst = max(worst, float(np.abs(sums - 1).max(where=block, initial=0.0)))
    if worst <= (longest + 8) * np.finfo(matrix.dtype).eps:
        return transitions
    return _rescaled(transitions, matrix, active)


def row_blocks(matrix: Any, entries: int = BLOCK_ENTRIES) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that hold some ``entries`` stored entries each, so that a check needs no second copy of a matrix."""
    rows, columns = matrix.shape
    begin = 0
    while begin < rows:
        if sparse.issparse(matrix):  # a search by value would convert the whole of a memory-mapped array of another integer type
            last = matrix.indptr.dtype.type(min(int(matrix.indptr[begin]) + entries, int(matrix.indptr[-1])))
            end = int(np.searchsorted(matrix.indptr, last, side="right")) - 1
        else:
            end = begin + entries // columns
        end = min(max(end, begin + 1), begin + entries, rows)
        yield begin, end
        begin = end


def _check_entries(matrix: Any, begin: int, end: int, active: NDArray[np.bool_], name: Callable[[int], str]) -> None:
    if sparse.issparse(matrix):
        first = int(matrix.indptr[begin])
        data = matrix.data[first : int(matrix.indptr[end])]
        bad = np.flatnonzero(~(np.isfinite(data) & (data >= 0)))
        rows = np.searchsorted(matrix.indptr[begin : end + 1], bad + first, side="right") - 1
        columns, values = matrix.indices[first + bad], data[bad]
    else:
        block = matrix[begin:end]
        rows, columns = np.nonzero(~(np.isfinite(block) & (block >= 0)))
        values = block[rows, columns]
    for row, column, value in zip(rows, columns, values, strict=True):
        if active[row]:
            where = name(begin + int(row))
            raise InvalidModelError(f"P[{where}, s'={column}] is {value:g}; probabilities are >= 0 and finite")


def _row_sums(matrix: Any, begin: int, end: int) -> NDArray[np.float64]:
    if not sparse.issparse(matrix):
        return np.asarray(matrix[begin:end].sum(axis=1, dtype=np.float64))
    pointers = matrix.indptr[begin : end + 1]
    filled = np.flatnonzero(pointers[1:] > pointers[:-1])
    sums = np.zeros(end - begin)
    if filled.size:
        first = int(pointers[0])
        sums[filled] = np.add.reduceat(matrix.data[first : int(pointers[-1])], pointers[filled] - first, dtype=np.float64)
    return sums


def _longest_row(matrix: Any, begin: int, end: int) -> int:
    return int(np.diff(matrix.indptr[begin : end + 1]).max()) if sparse.issparse(matrix) else int(matrix.shape[1])


def _rescaled(transitions: Any, matrix: Any, active: NDArray[np.bool_]) -> Any:
    """Divide active rows by their sums: a copy of the probabilities, which shares the indices of CSR."""
    if not sparse.issparse(transitions):
        sums = np.where(active, matrix.sum(axis=1, dtype=np.float64), 1.0)
        return (transitions * (1 / sums).reshape(transitions.shape[0], -1)[..., None]).astype(matrix.dtype, copy=False)
    data = np.empty_like(matrix.data)
    for begin, end in row_blocks(matrix):
        pointers = matrix.indptr[begin : end + 1]
        scale = 1 / np.where(active[begin:end], _row_sums(matrix, begin, end), 1.0)
        stored = slice(int(pointers[0]), int(pointers[-1]))
        np.multiply(matrix.data[stored], np.repeat(scale, np.diff(pointers)), out=data[stored], casting="same_kind")
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def check_finite_rewards(rewards: Any, active: NDArray[np.bool_], shape: tuple[int, int]) -> None:
    """Raise if a reward of an active row is NaN or infinite, naming it."""
    matrix = rewards if sparse.issparse(rewards) else rewards.reshape(len(active), -1)
    for begin, end in row_blocks(matrix):
        if sparse.issparse(matrix):
            first = int(matrix.indptr[begin])
            bad = np.flatnonzero(~np.isfinite(matrix.data[first : int(matrix.indptr[end])]))
            rows = np.searchsorted(matrix.indptr[begin : end + 1], bad + first, side="right") - 1
        else:
            rows = np.flatnonzero(~np.isfinite(matrix[begin:end]).all(axis=1))
        rows = begin + rows[active[begin + rows]]
        if rows.size:
            state, action = divmod(int(rows[0]), shape[1])
            raise InvalidModelError(f"the reward of (s={state}, a={action}) is NaN or infinite; rewards must be finite")


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidModelError(f"{name} are not an array of numbers: {error}") from error
