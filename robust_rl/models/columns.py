"""CSR matrices from columns of transitions (state, action, next state, probability, reward), chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidModelError

COLUMNS = ("state", "action", "next_state", "probability", "reward")
PIECE = 1 << 20


def assemble(
    chunks: Iterable[tuple[ArrayLike, ...]], num_states: int, num_actions: int
) -> tuple[sparse.csr_array, Any, NDArray[np.bool_]]:
    """Return transitions, CSR of shape (S*A, S); rewards, (S, A) or CSR or None; and the (S, A) mask of the pairs that occur.

    Entries of one transition are summed, their rewards averaged by probability. An entry of probability 0 gives its reward
    to r(s,a,s') and nothing to the transitions.
    """
    shape = (num_states * num_actions, num_states)
    columns: list[list[NDArray[Any]]] = []
    for number, chunk in enumerate(chunks):
        # chunks in order among themselves then leave nothing to do at the end, when all are held
        parts = _merged(_checked(chunk, number, num_states, num_actions))
        if columns and len(columns) != len(parts):
            raise InvalidModelError(f"chunk {number} holds {'a' if len(parts) > 3 else 'no'} reward, unlike those before it")
        columns = columns or [[] for _ in parts]
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    if not columns:
        raise InvalidModelError("there are no transitions; give at least one chunk")
    row, successor, p, *reward = _merged([_joined(column) for column in columns])
    pointers = _pointers(row, shape[0])
    del row
    rewards = _by_action(reward[0], successor, pointers, shape) if reward else None
    occurs = (pointers[1:] > pointers[:-1]).reshape(num_states, num_actions)
    return _without_zeros(sparse.csr_array((p, successor, pointers), shape=shape)), rewards, occurs


def _checked(chunk: tuple[ArrayLike, ...], number: int, states: int, actions: int) -> list[NDArray[Any]]:
    """Return row s*A + a, next state, probability and perhaps reward of a chunk, flat."""
    if len(chunk) not in (4, 5):
        raise InvalidModelError(
            f"chunk {number} has {len(chunk)} columns; expected {', '.join(COLUMNS)} (the last may be left out)"
        )
    try:
        flat = [part.ravel() for part in np.broadcast_arrays(*map(np.asarray, chunk))]
    except ValueError as error:
        raise InvalidModelError(f"the columns of chunk {number} don't fit each other: {error}") from None
    for name, part, count in zip(COLUMNS, flat, (states, actions, states)):
        if part.size and part.dtype.kind not in "iu":
            raise InvalidModelError(f"{name} of chunk {number} holds {part.dtype}; give integer indices")
        outside = part[(part < 0) | (part >= count)]
        if outside.size:
            raise InvalidModelError(f"{name} {outside[0]} of chunk {number} does not exist; they are 0..{count - 1}")
    for name, part in zip(COLUMNS[3:], flat[3:]):
        bad = np.flatnonzero(~np.isfinite(part.astype(np.float64)))
        if not bad.size and name == "probability":
            bad = np.flatnonzero(part < 0)
        if bad.size:
            where = f"(s={flat[0][bad[0]]}, a={flat[1][bad[0]]}, s'={flat[2][bad[0]]})"
            raise InvalidModelError(
                f"{name} {part[bad[0]]:g} of {where} in chunk {number}; expected a finite number, probabilities >= 0"
            )
    row = flat[0].astype(np.int64) * actions + flat[1]
    small = np.int32 if states * actions <= np.iinfo(np.int32).max else np.int64
    return [row.astype(small), flat[2].astype(np.int32), *(part.astype(np.float64) for part in flat[3:])]


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate and let go of the parts, so that only one column at a time is held twice."""
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    parts.clear()
    return whole


def _merged(columns: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the columns by row and next state, with one entry for each: probabilities summed, rewards averaged by them."""
    if not _in_order(*columns[:2]):
        order = np.lexsort((columns[1], columns[0]))
        columns = [column[order] for column in columns]
    starts = _starts(*columns[:2])
    if starts is None:
        return columns
    row, successor, p, *reward = columns
    total = np.add.reduceat(p, starts)
    return [row[starts], successor[starts], total, *(_mean(r, p, total, starts) for r in reward)]


def _in_order(row: NDArray[Any], column: NDArray[Any]) -> bool:
    """Return whether (row, column) never falls."""
    return all(
        ((row[i + 1 : j + 1] > row[i:j]) | ((row[i + 1 : j + 1] == row[i:j]) & (column[i + 1 : j + 1] >= column[i:j]))).all()
        for i, j in _pieces(len(row) - 1)
    )


def _starts(row: NDArray[Any], column: NDArray[Any]) -> NDArray[np.intp] | None:
    """Return where each transition's entries begin, or None if each has one."""
    again = [
        i + 1 + np.flatnonzero((row[i + 1 : j + 1] == row[i:j]) & (column[i + 1 : j + 1] == column[i:j]))
        for i, j in _pieces(len(row) - 1)
    ]
    if not any(part.size for part in again):
        return None
    fresh = np.ones(len(row), dtype=bool)
    fresh[np.concatenate(again)] = False
    return np.flatnonzero(fresh)


def _pointers(row: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return where each row begins; 32-bit pointers where they can be, which let the indices stay at 32 bits too."""
    pointers = np.zeros(rows + 1, dtype=np.int32 if len(row) <= np.iinfo(np.int32).max else np.int64)
    for i, j in _pieces(len(row)):  # a count of the whole would first convert it to 64 bits
        first = int(row[i])
        counts = np.bincount(row[i:j] - first)
        piece = pointers[first + 1 : first + 1 + len(counts)]
        np.add(piece, counts, out=piece, casting="same_kind")
    return np.cumsum(pointers, out=pointers)


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + PIECE, length)) for begin in range(0, length, PIECE))


def _mean(
    reward: NDArray[np.float64], weight: NDArray[np.float64], total: NDArray[np.float64], starts: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Average rewards by probability; plainly where all of a transition's probabilities are 0. Single ones keep their bits."""
    times = np.diff(np.append(starts, len(reward)))
    plain = np.add.reduceat(reward, starts)
    weighted = np.add.reduceat(reward * weight, starts) / np.where(total > 0, total, 1.0)
    return np.where(times == 1, plain, np.where(total > 0, weighted, plain / times))


def _without_zeros(matrix: sparse.csr_array) -> sparse.csr_array:
    if not matrix.data.all():
        matrix = matrix.copy()  # rewards share its indices
        matrix.eliminate_zeros()
    return matrix


def _by_action(rewards: NDArray[np.float64], indices: NDArray[Any], pointers: NDArray[Any], shape: tuple[int, int]) -> Any:
    """Return r(s,a) of shape (S, A) if no row holds two different rewards, else r(s,a,s') as CSR."""
    by_action = np.zeros(shape[0])
    filled = np.flatnonzero(pointers[1:] > pointers[:-1])
    if filled.size:
        by_action[filled] = np.minimum.reduceat(rewards, pointers[filled])
        if (by_action[filled] != np.maximum.reduceat(rewards, pointers[filled])).any():
            return sparse.csr_array((rewards, indices, pointers), shape=shape)
    return by_action.reshape(shape[1], -1)
