"""One set on one model's layout: the backup over all rows, and the worst case of chosen rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit
from robust_rl._threads import num_threads, run_blocks
from robust_rl.uncertainty.kernels import lowest_unlisted, sweep
from robust_rl.uncertainty.layout import Layout

if TYPE_CHECKING:
    from robust_rl.uncertainty.base import RectangularSet

Array = NDArray[np.float64]
Index = NDArray[np.uint64]
# entries from which a second thread repays its start
THREADED = 200_000


class Groups(NamedTuple):
    """Candidate rows of each state: those of state s are ``rows[ptr[s]:ptr[s+1]]``; a state without any keeps value 0."""

    ptr: Index
    rows: Index

    @classmethod
    def by_state(cls, rows: NDArray[Any], num_states: int, num_actions: int) -> Groups:
        """Group ascending row numbers s*A + a by state."""
        counts = np.bincount(rows // num_actions, minlength=num_states)
        return cls(np.append(0, np.cumsum(counts)).astype(np.uint64), rows.astype(np.int64, copy=False).view(np.uint64))


class RowsWorstCase(NamedTuple):
    """Worst cases of chosen rows; zeros elsewhere, and NaN for the multipliers of sets that have none.

    values, multipliers : (n,)
    q : one entry each of the layout
    outside_state, outside_mass : (n,) where free rows put mass on a state that they don't list; empty if there are none
    """

    values: Array
    multipliers: Array
    q: Array
    outside_state: NDArray[np.int64]
    outside_mass: Array


class RowBackup:
    """The backup of an (s,a)-rectangular set.

    Parameters
    ----------
    uncertainty : RectangularSet
    layout : Layout
    radii : (n,) array
        One radius a row.
    discount : float

    Attributes
    ----------
    memory : (n,) array
        What root finders remember of each row; zeros at first. It is part of a solver's state: a sweep from the same value with
        the same memory gives the same bits.
    in_place : bool
        Whether ordered sweeps may reorder the layout's own entries, where those can be written: for whoever does nothing but
        sweep. False, the default, copies them.
    """

    def __init__(self, uncertainty: RectangularSet, layout: Layout, radii: Array, discount: float) -> None:
        self.uncertainty, self.layout, self.radii, self.discount = uncertainty, layout, radii, float(discount)
        self.bounds = uncertainty.bounds(layout)
        self.memory = np.zeros(len(radii))
        self.in_place = False
        self._sweeps = uncertainty.choose_sweeps(radii)
        self._ranks: NDArray[np.int64] | None = None
        self._rows: tuple[Any, ...] | None = None

    def __call__(self, value: Array, groups: Groups) -> tuple[Array, NDArray[np.int64]]:
        """Return the best value of each state, 0 for empty groups, and the row that gives it."""
        if self._sweeps is None:
            return self._by_worst_case(value, groups)
        count = len(groups.ptr) - 1
        out, best = np.empty(count), np.empty(count, np.uint64)
        run = self._full_rows if self.layout.shares_order else self._short_rows
        run(self._sweeps, readonly(np.ascontiguousarray(value)), groups, out, best)
        out[groups.ptr[1:] == groups.ptr[:-1]] = 0.0
        return out, best.view(np.int64)

    def worst_case(self, value: Array, rows: NDArray[np.int64], *, kernel: bool = True) -> RowsWorstCase:
        """Return the worst case of the given rows at a value; without q unless ``kernel``."""
        layout = self.layout.in_double_precision()
        found = sweep(
            type(self.uncertainty).row, layout, value, self.discount, self.radii, self.bounds, rows,
            sort=self.uncertainty.sort, kernel=kernel,
        )  # fmt: skip
        return RowsWorstCase(*found)

    def release(self) -> None:
        """Give back the memory of the rows' copy; the next sweep makes it again."""
        self._rows = None

    def _short_rows(self, sweeps: Any, value: Array, groups: Groups, out: Array, best: Index) -> None:
        outside = self._outside(value, groups.rows)
        rows = self._own_rows(sweeps.ordered)

        def block(first: int, last: int) -> None:
            scratch = np.empty(self.layout.width)
            sweeps.short(
                *rows, self.memory, value, self.discount, outside, groups.ptr, groups.rows,
                np.uint64(first), np.uint64(last), scratch, out, best,
            )  # fmt: skip

        run_blocks(block, even_blocks(groups, len(self.layout.p) / max(len(self.layout.rows), 1)))

    def _full_rows(self, sweeps: Any, value: Array, groups: Groups, out: Array, best: Index) -> None:
        z = self.discount * value
        if self._ranks is None or not is_ascending(value, self._ranks):
            self._ranks = np.argsort(value, kind="stable")
        ranks, lowest = self._ranks, z.min(initial=np.inf)
        if self._rows is None:
            p, u, radius, slack = self._parameters()
            self._rows = (self.layout.ptr.view(np.uint64), *map(readonly, (p, u, self.layout.row_reward)), radius, slack)
        rows = self._rows

        def block(first: int, last: int) -> None:
            sweeps.full(
                *rows, self.memory, z, ranks, lowest, groups.ptr, groups.rows, np.uint64(first), np.uint64(last), out, best
            )  # fmt: skip

        run_blocks(block, even_blocks(groups, len(z)))

    def _by_worst_case(self, value: Array, groups: Groups) -> tuple[Array, NDArray[np.int64]]:
        rows = groups.rows.astype(np.int64)
        values = self.worst_case(value, np.unique(rows), kernel=False).values[rows]
        out, best = np.zeros(len(groups.ptr) - 1), np.zeros(len(groups.ptr) - 1, np.int64)
        _best_of_group(groups.ptr, rows, values, out, best)
        return out, best

    def _outside(self, value: Array, asked: Index) -> Array:
        """Lowest z among the states that rows don't list: one for all rows, or one for each row that is asked for."""
        layout = self.layout
        if not layout.outside.size:
            return np.array([np.inf])
        if not layout.reward.size:
            return np.array([self.discount * value.min()])  # if the row lists that state, it is its own lowest anyway
        ranks = np.argsort(value, kind="stable")
        state = np.full(len(layout.row_reward), -1, dtype=np.int64)
        _lowest_unlisted_states(layout.ptr, layout.first, layout.indices, asked.view(np.int64), ranks, state)
        return np.where(state >= 0, layout.outside + self.discount * value[state], np.inf)

    def _own_rows(self, ordered: bool) -> tuple[Any, ...]:
        """What the sweep over short rows reads; copies where it will reorder them."""
        if self._rows is None:
            layout = self.layout
            p, u, radius, slack = self._parameters()
            indices = layout.indices
            if not np.array_equal(layout.first, layout.ptr[:-1]):
                indices = layout.coordinates()[1]
            reward = layout.reward if layout.reward.size else None
            if ordered:
                p, u, reward, indices = (self._to_reorder(entries) for entries in (p, u, reward, indices))
            ptr = layout.ptr.view(np.uint64)
            entries: tuple[Any, ...] = (indices.view(np.uint32), p, u, reward)
            if not ordered:
                entries = tuple(map(readonly, entries))
            self._rows = (ptr, *entries, readonly(layout.row_reward), radius, slack)
        return self._rows

    def _to_reorder(self, entries: Any) -> Any:
        return entries if entries is None or (self.in_place and entries.flags.writeable) else entries.copy()

    def _parameters(self) -> tuple[Array, Array | None, Array, Array]:
        return self.uncertainty.parameters(self.layout, self.radii, self.bounds)


def readonly(array: Any) -> Any:
    """A view that can't be written, so that one compiled kernel serves whatever arrays a caller owns."""
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view


def even_blocks(groups: Groups, width: float) -> list[int]:
    """Borders of blocks of states with about as many entries each."""
    count = len(groups.ptr) - 1
    parts = int(min(num_threads(), max(1, len(groups.rows) * width // THREADED)))
    cuts = np.searchsorted(groups.ptr, np.linspace(0, len(groups.rows), parts + 1)[1:-1])
    return [0, *cuts.tolist(), count]


@njit
def is_ascending(value, order):  # type: ignore[no-untyped-def]
    """Whether an order of the states is still that of a stable sort."""
    for t in range(1, len(order)):
        a, b = order[t - 1], order[t]
        if value[a] > value[b] or (value[a] == value[b] and a > b):
            return False
    return True


@njit
def _best_of_group(ptr, rows, values, out, best):  # type: ignore[no-untyped-def]
    for s in range(len(out)):
        highest = -np.inf
        for j in range(ptr[s], ptr[s + 1]):
            if values[j] > highest:
                highest, best[s] = values[j], rows[j]
        if ptr[s] < ptr[s + 1]:
            out[s] = highest


@njit
def _lowest_unlisted_states(ptr, first, indices, rows, ranks, state):  # type: ignore[no-untyped-def]
    for i in rows:
        state[i] = lowest_unlisted(ranks, indices[first[i] : first[i] + ptr[i + 1] - ptr[i]])
