"""A random model of any size, each of whose rows can be made by itself: what solvers for models beyond one memory are tried on.

Row i = (s, a) reaches K states, one in each of K equal ranges of the S states, which makes them distinct and ascending:

    t_k = floor((k + u_k) S / K),    p_k = w_k / sum_j w_j,    r(s, a) = v,      u_k, w_k, v uniform on (0, 1)

The uniforms are hashes of (seed, i, k): splitmix64 of a counter, so a row depends on its number and on nothing made before it.

References: Archibald, McKinnon and Thomas (1995), for Garnet models; Steele, Lea and Flood (2014), for splitmix64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl._numba import njit
from robust_rl.errors import InvalidModelError
from robust_rl.models.row_block import RowBlock


@dataclass(frozen=True)
class HashedGarnet:
    """The model above, as a source of rows.

    Parameters
    ----------
    num_states, num_actions, successors : int
        S, A and K.
    seed : int
    single : bool
        Hold probabilities in single precision: a third less memory.

    Raises
    ------
    InvalidModelError
        If a number isn't positive, or there are fewer states than successors.

    Examples
    --------
    >>> source = HashedGarnet(1_000_000, 4, 5)
    >>> source.rows(999_990, 1_000_000).transitions.indices[:5]
    array([ 79002, 380462, 526910, 679463, 968107], dtype=int32)
    """

    num_states: int
    num_actions: int
    successors: int
    seed: int = 0
    single: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.successors <= self.num_states <= np.iinfo(np.int32).max or self.num_actions < 1:
            raise InvalidModelError(f"{self!r}: needs 0 < successors <= num_states < 2**31 and at least one action")

    @property
    def start(self) -> NDArray[np.float64]:
        """State 0 with certainty, (S,)."""
        start = np.zeros(self.num_states)
        start[0] = 1.0
        return start

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """No state, (S,)."""
        return np.zeros(self.num_states, dtype=bool)

    def rows(self, first: int, last: int) -> RowBlock:
        """Return the rows of states ``first`` to ``last - 1``."""
        count, entries = (last - first) * self.num_actions, (last - first) * self.num_actions * self.successors
        columns, p = np.empty(entries, np.int32), np.empty(entries, np.float32 if self.single else np.float64)
        rewards = np.empty(count)
        _fill(np.uint64(self.seed), first * self.num_actions, self.num_states, self.successors, columns, p, rewards)
        ptr = np.arange(count + 1, dtype=np.int32 if entries <= np.iinfo(np.int32).max else np.int64) * self.successors
        transitions = sparse.csr_array((p, columns, ptr), shape=(count, self.num_states))
        transitions.has_canonical_format = True
        return RowBlock(transitions, rewards.reshape(-1, self.num_actions), self.num_actions)


@njit
def _uniform(seed, row, k):  # type: ignore[no-untyped-def]
    """Splitmix64 of the counter (row, k), in the stream of a seed, as a number in (0, 1)."""
    x = seed * np.uint64(0xD1B54A32D192ED03) + (np.uint64(row) << np.uint64(20)) + np.uint64(k)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(11)) + np.uint64(1)) * (1.0 / 9007199254740994.0)


@njit
def _fill(seed, first, states, successors, columns, p, rewards):  # type: ignore[no-untyped-def]
    for i in range(len(rewards)):
        total, begin = 0.0, i * successors
        for k in range(successors):
            low, high = k * states // successors, (k + 1) * states // successors
            columns[begin + k] = min(low + int(_uniform(seed, first + i, 2 * k) * (high - low)), high - 1)
            total += _uniform(seed, first + i, 2 * k + 1)
        for k in range(successors):
            p[begin + k] = _uniform(seed, first + i, 2 * k + 1) / total
        rewards[i] = _uniform(seed, first + i, 2 * successors)
