"""Lays a model's rows out over the states that an adversary may use.

The support of a set decides which next states a row (s, a) holds:

=============  ===================================================================================
support        next states
=============  ===================================================================================
"nominal"      successors of (s, a)
"reachable"    successors of s under any available action
"free"         every state
boolean mask   those marked, (S, A, S) or (S, S); must include the successors of (s, a)
=============  ===================================================================================

A state that (s, a) itself never reaches carries, as r(s, a, s'), the lowest reward among the actions that do reach it from s;
if none does, the model's own entry. Free rows of sparse models aren't written out: among the states that a row doesn't list,
an adversary that needs only the worst one is shown just that ("outside"), with the row's reward for unlisted states.

Dense and sparse rows share one form: row i has ``p[ptr[i]:ptr[i+1]]``, and its states start at ``indices[first[i]]``. Dense
rows all start at 0 and share ``indices = 0..S-1``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl._numba import njit
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.models import RowBlock, TabularMDP

Support = Literal["free", "nominal", "reachable"] | NDArray[np.bool_]
Model: TypeAlias = TabularMDP | RowBlock
SUPPORTS = ("free", "nominal", "reachable")
EMPTY = np.empty(0)


@dataclass(frozen=True)
class Layout:
    """Rows of a model over an adversary's support; see the module's docstring.

    ============  =====================================================================================
    ptr, first    (n+1,), (n,) where a row's entries, and its states, begin
    indices       state of each entry
    p             nominal probability of each entry, float64 or as the model holds it
    reward        r(s, a, s') of each entry; empty if rewards are r(s, a)
    row_reward    (n,) r(s, a); zeros if rewards are r(s, a, s')
    outside       (n,) reward of unlisted states under free support; empty if there are none
    rows          indices of the rows that mean something
    width         length of the longest row
    ============  =====================================================================================
    """

    ptr: NDArray[np.int64]
    first: NDArray[np.int64]
    indices: NDArray[np.int32]
    p: NDArray[np.float64]
    reward: NDArray[np.float64]
    row_reward: NDArray[np.float64]
    outside: NDArray[np.float64]
    rows: NDArray[np.int64]
    num_states: int

    @property
    def width(self) -> int:
        """Length of the longest row."""
        return int(np.diff(self.ptr).max(initial=0))

    def coordinates(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return row and state of every entry."""
        lengths = np.diff(self.ptr)
        row = np.repeat(np.arange(len(lengths)), lengths)
        return row, self.indices[np.arange(self.ptr[-1]) + (self.first - self.ptr[:-1])[row]]

    def in_double_precision(self) -> Layout:
        """Return itself, or a copy whose rows are in double precision and sum to 1."""
        if self.p.dtype == np.float64:
            return self
        p = self.p.astype(np.float64)
        sums = self.row_sums(p)
        return replace(self, p=p / self.spread(np.where(sums > 0, sums, 1.0)))

    def spread(self, of_rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for every entry the number of its row."""
        return np.repeat(of_rows, np.diff(self.ptr))

    def row_sums(self, of_entries: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for every row the sum over its entries."""
        sums = np.zeros(len(self.ptr) - 1)
        filled = np.diff(self.ptr) > 0
        sums[filled] = np.add.reduceat(of_entries, self.ptr[:-1][filled])
        return sums

    @property
    def shares_order(self) -> bool:
        """Whether all rows see the same vector z = V, so that one sort serves them all."""
        return not self.first.any() and not self.reward.size and len(self.indices) == self.num_states


def check_support(support: Any, owner: str) -> Support:
    """Return a valid support or raise InvalidUncertaintyError that names the set and explains the choice."""
    if isinstance(support, str) and support in SUPPORTS:
        return support  # type: ignore[return-value]
    if isinstance(support, np.ndarray) and support.dtype == bool:
        return support
    raise InvalidUncertaintyError(
        f'{owner} needs support=...: "reachable" lets the adversary move to any successor of the state, "nominal" only to '
        f'successors of the chosen action, "free" to any state; or give a boolean mask (S, A, S). Got {support!r}'
    )


def lay_out(model: Model, support: Support, *, every_state: bool = False) -> Layout:
    """Lay a model, or a block of its rows, out over a support; ``every_state`` writes free rows out in full.

    That is for sets that use more than the worst state.

    Raises
    ------
    InvalidUncertaintyError
        If a mask has the wrong shape or excludes a nominal successor.
    """
    rows = np.flatnonzero(model.active_rows)
    plain = isinstance(support, str) and not model.is_sparse and not model.has_transition_rewards
    # a full row reaches every state, whatever the support is called
    if plain and (support == "free" or _every_entry_is_positive(model, rows)):
        return _dense_views(model, rows)
    transitions = _positive(model)
    rewards = _reward_rows(model)
    free = isinstance(support, str) and support == "free"
    nominal = isinstance(support, str) and support == "nominal"
    if rewards is None and model.is_sparse and (nominal or (free and not every_state)):
        return _sparse_views(model, transitions, rows, outside=free)
    if free and (every_state or not model.is_sparse):
        pattern, shared = np.arange(model.num_states, dtype=np.int32), True
    else:
        pattern, shared = _pattern(model, transitions, rewards, support), False
    return _fill(model, transitions, rewards, pattern, shared, rows, outside=free and not shared)


def _every_entry_is_positive(model: Any, rows: NDArray[np.int64]) -> bool:
    every = model.transitions.reshape(-1, model.num_states)
    return bool((every if len(rows) == len(every) else every[rows]).min(initial=1.0) > 0)


def _dense_views(model: Any, rows: NDArray[np.int64]) -> Layout:
    """Dense r(s, a) models under free support need no copy of anything."""
    states, count = model.num_states, model.num_states * model.num_actions
    ptr = np.arange(count + 1, dtype=np.int64) * states
    return Layout(
        ptr=ptr,
        first=np.zeros(count, dtype=np.int64),
        indices=np.arange(states, dtype=np.int32),
        p=model.transitions.reshape(-1),
        reward=EMPTY,
        row_reward=model.rewards.reshape(-1),
        outside=EMPTY,
        rows=rows,
        num_states=states,
    )


def _sparse_views(model: Model, transitions: sparse.csr_array, rows: NDArray[np.int64], *, outside: bool) -> Layout:
    """Sparse r(s, a) models whose rows list their own successors need no copy either."""
    ptr, row_reward = transitions.indptr.astype(np.int64), model.rewards.reshape(-1)
    return Layout(
        ptr=ptr,
        first=ptr[:-1],
        indices=transitions.indices.astype(np.int32, copy=False),
        p=transitions.data,
        reward=EMPTY,
        row_reward=row_reward,
        outside=row_reward if outside else EMPTY,
        rows=rows,
        num_states=model.num_states,
    )


def _positive(model: Model) -> sparse.csr_array:
    """Transitions as CSR, restricted to active rows and positive entries."""
    matrix = model.csr()
    if model.active_rows.all() and matrix.data.min(initial=1.0) > 0:
        return matrix
    keep = np.repeat(model.active_rows, np.diff(matrix.indptr)) & (matrix.data > 0)
    if keep.all():
        return matrix
    counts = np.add.reduceat(np.append(keep, False).astype(np.int64), matrix.indptr[:-1]) * (np.diff(matrix.indptr) > 0)
    return sparse.csr_array((matrix.data[keep], matrix.indices[keep], np.append(0, np.cumsum(counts))), shape=matrix.shape)


def _reward_rows(model: Model) -> sparse.csr_array | None:
    if not model.has_transition_rewards:
        return None
    if sparse.issparse(model.rewards):
        return model.rewards
    return sparse.csr_array(model.rewards.reshape(-1, model.num_states))


def _pattern(model: Model, transitions: sparse.csr_array, rewards: sparse.csr_array | None, support: Support) -> sparse.csr_array:
    """CSR matrix whose stored entries are each row's allowed states (or, for free rows, those worth listing)."""
    if not isinstance(support, str):
        return _mask_pattern(model, transitions, support)
    if support == "nominal" or (support == "free" and rewards is None):
        return transitions
    reachable = _reachable(model, transitions)
    if support == "reachable" or rewards is None:
        return reachable
    # free, r(s,a,s'): list whatever has a reward of its own, so that all unlisted states pay the same
    return sparse.csr_array(reachable + abs(rewards).astype(bool).astype(float))


def _reachable(model: Model, transitions: sparse.csr_array) -> sparse.csr_array:
    count, actions = len(model.active_rows), model.num_actions
    states = count // actions
    group = sparse.csr_array((np.ones(count), (np.arange(count) // actions, np.arange(count))), shape=(states, count))
    by_state = sparse.csr_array(group @ transitions)
    by_state.sort_indices()
    repeated = by_state[np.repeat(np.arange(states), actions)]
    inactive = sparse.diags_array(model.active_rows.astype(float))
    pattern = sparse.csr_array(inactive @ repeated)
    pattern.eliminate_zeros()
    pattern.sort_indices()
    return pattern


def _mask_pattern(model: Model, transitions: sparse.csr_array, mask: Any) -> sparse.csr_array:
    states, actions = model.num_states, model.num_actions
    if mask.shape == (states, states) and not sparse.issparse(mask):
        mask = np.repeat(mask, actions, axis=0)
    if mask.shape not in ((states, actions, states), (states * actions, states)):
        raise InvalidUncertaintyError(
            f"the support mask has shape {mask.shape}; expected {(states, actions, states)} or {(states, states)}"
        )
    flat = mask if sparse.issparse(mask) else mask.reshape(-1, states)
    pattern = sparse.csr_array(
        sparse.diags_array(model.active_rows.astype(float)) @ sparse.csr_array(flat).astype(bool).astype(float)
    )
    pattern.eliminate_zeros()
    pattern.sort_indices()
    excluded = sparse.coo_array(transitions.astype(bool) > pattern.astype(bool))
    if excluded.nnz:
        state, action = divmod(int(excluded.row[0]), actions)
        raise InvalidUncertaintyError(
            f"the support mask excludes s'={excluded.col[0]}, a nominal successor of (s={state}, a={action}); "
            "a support must include all successors"
        )
    return pattern


def _fill(
    model: Model,
    transitions: sparse.csr_array,
    rewards: sparse.csr_array | None,
    pattern: Any,
    shared: bool,
    rows: NDArray[np.int64],
    outside: bool,
) -> Layout:
    count = len(model.active_rows)
    if shared:
        lengths = np.where(model.active_rows, model.num_states, 0)
        ptr, first, indices = np.append(0, np.cumsum(lengths)), np.zeros(count, dtype=np.int64), pattern
    else:
        ptr, indices = pattern.indptr.astype(np.int64), pattern.indices.astype(np.int32)
        first = ptr[:-1].copy()
    own = rewards if rewards is not None else sparse.csr_array((count, model.num_states))
    p = np.zeros(ptr[-1], dtype=transitions.dtype)
    reward = np.zeros(ptr[-1] if rewards is not None else 0)
    _fill_rows(
        ptr, first, indices, transitions.indptr, transitions.indices, transitions.data,
        own.indptr, own.indices, own.data, model.num_actions, model.num_states, p, reward,
    )  # fmt: skip
    row_reward = np.zeros(count) if rewards is not None else model.rewards.reshape(-1)
    outside_reward = (np.zeros(count) if rewards is not None else row_reward) if outside else EMPTY
    return Layout(ptr, first, indices, p, reward, row_reward, outside_reward, rows, model.num_states)


@njit
def _fill_rows(ptr, first, indices, p_ptr, p_idx, p_val, r_ptr, r_idx, r_val, actions, states, p, reward):  # type: ignore[no-untyped-def]
    """Scatter p and r(s,a,s') into the layout, with the convention for states that (s,a) itself doesn't reach."""
    probability = np.zeros(states)
    own = np.zeros(states)
    lowest = np.full(states, np.inf)
    for s in range((len(ptr) - 1) // actions):
        block = range(s * actions, (s + 1) * actions)
        if reward.size:
            for i in block:
                for e in range(r_ptr[i], r_ptr[i + 1]):
                    own[r_idx[e]] = r_val[e]
                for e in range(p_ptr[i], p_ptr[i + 1]):
                    lowest[p_idx[e]] = min(lowest[p_idx[e]], own[p_idx[e]])
                for e in range(r_ptr[i], r_ptr[i + 1]):
                    own[r_idx[e]] = 0.0
        for i in block:
            for e in range(p_ptr[i], p_ptr[i + 1]):
                probability[p_idx[e]] = p_val[e]
            for e in range(r_ptr[i], r_ptr[i + 1]):
                own[r_idx[e]] = r_val[e]
            for e in range(ptr[i], ptr[i + 1]):
                j = indices[first[i] + e - ptr[i]]
                p[e] = probability[j]
                if reward.size:
                    reward[e] = own[j] if probability[j] > 0 or lowest[j] == np.inf else lowest[j]
            for e in range(p_ptr[i], p_ptr[i + 1]):
                probability[p_idx[e]] = 0.0
            for e in range(r_ptr[i], r_ptr[i + 1]):
                own[r_idx[e]] = 0.0
        if reward.size:
            for i in block:
                for e in range(p_ptr[i], p_ptr[i + 1]):
                    lowest[p_idx[e]] = np.inf
