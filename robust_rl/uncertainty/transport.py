"""Sweeps of the Wasserstein set: envelopes of every state, and three ways to spend a radius on their steepest segments.

An envelope is that of the points (d(s, t), z_t) over the neighbours t of s, from (0, z_s) down. It has few vertices: only states
lower than all nearer ones count.

==========  ============================================================================================================
full rows   all see the same z. Envelopes are made once a sweep, and all their segments sorted by slope. At some places of that
            order the sweep notes, for every state, the distance gone so far and the z arrived at: what a row has spent there is
            one product, so that a row finds its place in a few, and walks only the segments from there
short rows  see the same z too, but reach few states: a heap of them gives the steepest segment that is left
other rows  with r(s,a,s') each row sees its own z and makes its own envelopes; also whoever asks for the worst case itself
==========  ============================================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import dot, njit
from robust_rl._threads import num_threads, run_blocks
from robust_rl.uncertainty.backup import THREADED, Groups, RowBackup, RowsWorstCase, even_blocks, readonly
from robust_rl.uncertainty.layout import EMPTY, Layout
from robust_rl.uncertainty.metrics import Neighbours

if TYPE_CHECKING:
    from robust_rl.uncertainty.base import RectangularSet

Array = NDArray[np.float64]
# segments between places that are noted: fewer make a row's walk shorter and the sweep's notes longer
STRIDE = 64
# share of states that a row must reach for products over all of them to pay
FULL = 0.1


class Envelopes(NamedTuple):
    """Lower convex envelopes: that of state s has ``size[s]`` vertices, from ``base[s]`` in ``vertex`` and ``slope``.

    A vertex is an entry of the neighbours; a slope is what z falls by a unit of distance from there to the next vertex.
    """

    base: NDArray[np.int64]
    size: NDArray[np.int64]
    vertex: NDArray[np.int64]
    slope: Array

    @classmethod
    def empty(cls, num_states: int, capacity: int) -> Envelopes:
        """Room for envelopes with so many vertices in all."""
        return cls(
            np.zeros(num_states, np.int64), np.zeros(num_states, np.int64), np.empty(capacity, np.int64), np.empty(capacity)
        )


class TransportBackup(RowBackup):
    """The backup of a Wasserstein set; see :class:`RowBackup`.

    Parameters
    ----------
    uncertainty, layout, radii, discount
        As for every set.
    neighbours : Neighbours
        Of each state, by distance.
    """

    def __init__(
        self, uncertainty: RectangularSet, layout: Layout, radii: Array, discount: float, neighbours: Neighbours
    ) -> None:
        super().__init__(uncertainty, layout, radii, discount)
        self.neighbours = neighbours
        self._full = layout.shares_order and np.count_nonzero(layout.p) >= FULL * len(layout.p)
        self._reached: tuple[Any, ...] | None = None

    def __call__(self, value: Array, groups: Groups) -> tuple[Array, NDArray[np.int64]]:
        """Return the best value of each state, 0 for empty groups, and the row that gives it."""
        if not self.radii.any():
            return super().__call__(value, groups)
        if self.layout.reward.size:
            return self._by_worst_case(value, groups)
        z = self.discount * value
        count = len(groups.ptr) - 1
        out, best = np.zeros(count), np.zeros(count, np.int64)
        run = self._noted_rows if self._full else self._heap_rows
        run(z, self._envelopes(z), groups, out, best)
        return out, best

    def worst_case(self, value: Array, rows: NDArray[np.int64], *, kernel: bool = True) -> RowsWorstCase:
        """Return the worst case of the given rows at a value; without q unless ``kernel``."""
        layout, near = self.layout, self.neighbours
        count = len(layout.row_reward)
        values, multipliers = np.full(count, np.nan), np.full(count, np.nan)
        q = np.zeros(len(layout.p) if kernel else 0)
        z = self.discount * value
        shared = None if layout.reward.size else self._envelopes(z)
        chosen, width = np.ascontiguousarray(rows, dtype=np.int64), layout.width
        p, reward, row_reward = map(readonly, (layout.p, layout.reward, layout.row_reward))
        capacity = width * int(np.diff(near.ptr).max(initial=0))

        def block(first: int, last: int) -> None:
            envelopes = Envelopes.empty(len(z), capacity) if shared is None else shared
            _worst_rows(
                chosen[first:last], layout.ptr, layout.first, layout.indices,
                p, reward, row_reward, self.radii, z, near, envelopes, width, values, multipliers, q,
            )  # fmt: skip

        parts = min(num_threads(), max(1, len(chosen) * width // THREADED))
        run_blocks(block, np.linspace(0, len(chosen), parts + 1).astype(int).tolist())
        return RowsWorstCase(values, multipliers, q, np.zeros(0, np.int64), EMPTY)

    def release(self) -> None:
        """Give back the memory of the rows' copy; the next sweep makes it again."""
        super().release()
        self._reached = None

    def _envelopes(self, z: Array) -> Envelopes:
        """Envelopes of all states, for rows that see the same z."""
        envelopes = Envelopes.empty(len(z), len(self.neighbours.state))
        lowest = z.min(initial=np.inf)
        parts = min(num_threads(), max(1, len(self.neighbours.state) // THREADED))
        run_blocks(
            lambda first, last: _envelopes_between(first, last, self.neighbours, z, lowest, envelopes),
            np.linspace(0, len(z), parts + 1).astype(int).tolist(),
        )
        return envelopes

    def _noted_rows(self, z: Array, envelopes: Envelopes, groups: Groups, out: Array, best: NDArray[np.int64]) -> None:
        segments: Any = _segments(self.neighbours, z, envelopes)
        order = np.argsort(-segments[-1], kind="stable")
        segments = tuple(part[order] for part in segments[:-1])
        notes: Any = _notes(z, *segments)
        rows: Any = (self.layout.ptr, readonly(self.layout.p), readonly(self.layout.row_reward), self.radii)

        def block(first: int, last: int) -> None:
            _noted_sweep(*rows, *segments, *notes, *_signed(groups), first, last, out, best)  # type: ignore[call-arg]

        run_blocks(block, even_blocks(groups, len(z)))

    def _heap_rows(self, z: Array, envelopes: Envelopes, groups: Groups, out: Array, best: NDArray[np.int64]) -> None:
        if self._reached is None:
            self._reached = _without_zeros(self.layout)
        ptr, state, p = self._reached
        width = int(np.diff(ptr).max(initial=0))

        def block(first: int, last: int) -> None:
            _heap_sweep(
                ptr, state, p, readonly(self.layout.row_reward), self.radii, z, self.neighbours, envelopes, width,
                *_signed(groups), first, last, out, best,
            )  # fmt: skip

        run_blocks(block, even_blocks(groups, len(p) / max(len(self.layout.rows), 1)))


def _signed(groups: Groups) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return groups.ptr.view(np.int64), groups.rows.view(np.int64)


def _without_zeros(layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.int32], Array]:
    """Where each row begins, the states it reaches, and their probabilities."""
    row, column = layout.coordinates()
    keep = layout.p > 0
    counts = np.bincount(row[keep], minlength=len(layout.ptr) - 1)
    return np.append(0, np.cumsum(counts)), column[keep], layout.p[keep]


@njit
def _envelope(near, s, z, lowest, base, vertex, slope):  # type: ignore[no-untyped-def]
    """Write the envelope of state s's neighbours, none of them below ``lowest``; return how many vertices it has."""
    first = near.ptr[s]
    state, distance = near.state[first : near.ptr[s + 1]], near.distance[first : near.ptr[s + 1]]
    vertex[base] = first
    size, low = 1, z[s]
    for e in range(1, len(state)):
        z_e = z[state[e]]
        if z_e >= low:
            continue
        low = z_e
        steep = np.inf
        while True:
            gap = distance[e] - distance[vertex[base + size - 1] - first]
            if gap > 0.0:  # which it is from s itself
                steep = (z[state[vertex[base + size - 1] - first]] - z_e) / gap
                if size == 1 or steep < slope[base + size - 2]:
                    break
            size -= 1
        slope[base + size - 1] = steep
        vertex[base + size] = first + e
        size += 1
        if low <= lowest:
            break
    return size


@njit
def _envelopes_between(first, last, near, z, lowest, envelopes):  # type: ignore[no-untyped-def]
    """Envelopes of the states first to last, one behind the other."""
    base = near.ptr[first]
    for s in range(first, last):
        envelopes.base[s] = base
        envelopes.size[s] = _envelope(near, s, z, lowest, base, envelopes.vertex, envelopes.slope)
        base += envelopes.size[s]


@njit
def _segments(near, z, envelopes):  # type: ignore[no-untyped-def]
    """Return source, length, fall and slope of every segment."""
    base, size, vertex, slope = envelopes
    count = np.sum(size) - len(size)
    source, length, fall, steep = np.empty(count, np.int64), np.empty(count), np.empty(count), np.empty(count)
    t = 0
    for s in range(len(z)):
        for e in range(base[s], base[s] + size[s] - 1):
            j, i = vertex[e], vertex[e + 1]
            source[t], length[t], steep[t] = s, near.distance[i] - near.distance[j], slope[e]
            fall[t] = z[near.state[j]] - z[near.state[i]]
            t += 1
    return source, length, fall, steep


@njit
def _notes(z, source, length, fall):  # type: ignore[no-untyped-def]
    """Return, after every STRIDE-th segment and after the last, how far each state has gone and the z it has arrived at."""
    count = (len(source) + STRIDE - 1) // STRIDE + 1
    gone, arrived = np.zeros((count, len(z))), np.empty((count, len(z)))
    arrived[0] = z
    for c in range(1, count):
        gone[c], arrived[c] = gone[c - 1], arrived[c - 1]
        for t in range((c - 1) * STRIDE, min(c * STRIDE, len(source))):
            gone[c, source[t]] += length[t]
            arrived[c, source[t]] -= fall[t]
    return gone, arrived


@njit
def _noted_sweep(  # type: ignore[no-untyped-def]
    ptr, p, row_reward, radius, source, length, fall, gone, arrived, groups, rows, first, last, out, best
):
    c = 0  # where the row before ended is near where this one will
    for s in range(first, last):
        highest = -np.inf
        for j in range(groups[s], groups[s + 1]):
            i = rows[j]
            row = p[ptr[i] : ptr[i + 1]]
            spent = dot(row, gone[c])
            while spent > radius[i]:
                c -= 1
                spent = dot(row, gone[c])
            while c + 1 < len(gone):
                more = dot(row, gone[c + 1])
                if more > radius[i]:
                    break
                c, spent = c + 1, more
            x, left = row_reward[i] + dot(row, arrived[c]), radius[i] - spent
            for t in range(c * STRIDE, min((c + 1) * STRIDE, len(source))):
                mass = row[source[t]]
                cost = mass * length[t]
                if cost >= left:
                    x -= left / length[t] * fall[t]
                    break
                x -= mass * fall[t]
                left -= cost
            if x > highest:
                highest, best[s] = x, i
        if highest > -np.inf:
            out[s] = highest


@njit
def _sink(heap, key, size, t):  # type: ignore[no-untyped-def]
    """Let entry t of a heap, highest key on top, sink to its place."""
    top = heap[t]
    while True:
        child = 2 * t + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[child + 1]] > key[heap[child]]:
            child += 1
        if key[heap[child]] <= key[top]:
            break
        heap[t] = heap[child]
        t = child
    heap[t] = top


@njit
def _spend(radius, sources, mass, state, distance, base, size, vertex, slope, z, heap, key, at):  # type: ignore[no-untyped-def]
    """Move the sources' mass down their envelopes, steepest first, until the radius is spent.

    Writes into ``at`` the vertex that each source arrives at. Returns how much the expectation falls, the slope of the last
    segment, and the source, or -1, of which some more mass goes on to the next vertex, and how much.
    """
    n = 0
    for k in range(len(sources)):
        s = sources[k]
        at[k] = base[s]
        if size[s] > 1:
            heap[n], key[k] = k, slope[base[s]]
            n += 1
    for t in range(n // 2 - 1, -1, -1):
        _sink(heap, key, n, t)
    left, total = radius, 0.0
    while n > 0:
        k = heap[0]
        j, i = vertex[at[k]], vertex[at[k] + 1]
        length = distance[i] - distance[j]
        fall = z[state[j]] - z[state[i]]
        if mass[k] * length >= left:
            moved = min(left / length, mass[k])
            return total + moved * fall, slope[at[k]], k, moved
        left -= mass[k] * length
        total += mass[k] * fall
        at[k] += 1
        if at[k] + 1 == base[sources[k]] + size[sources[k]]:
            n -= 1
            heap[0] = heap[n]
        else:
            key[k] = slope[at[k]]
        _sink(heap, key, n, 0)
    return total, 0.0, -1, 0.0


@njit
def _heap_sweep(  # type: ignore[no-untyped-def]
    ptr, state, p, row_reward, radius, z, near, envelopes, width, groups, rows, first, last, out, best
):
    _, neighbour, distance = near
    base, size, vertex, slope = envelopes
    heap, at, key = np.empty(width + 1, np.int64), np.empty(width, np.int64), np.empty(width)
    for s in range(first, last):
        highest = -np.inf
        for j in range(groups[s], groups[s + 1]):
            i = rows[j]
            a, b = ptr[i], ptr[i + 1]
            expected = 0.0
            for e in range(a, b):
                expected += p[e] * z[state[e]]
            x = (
                row_reward[i]
                + expected
                - _spend(radius[i], state[a:b], p[a:b], neighbour, distance, base, size, vertex, slope, z, heap, key, at)[0]
            )
            if x > highest:
                highest, best[s] = x, i
        if highest > -np.inf:
            out[s] = highest


@njit
def _worst_rows(  # type: ignore[no-untyped-def]
    rows, ptr, first, indices, p, reward, row_reward, radius, shared_z, near, envelopes, width, values, multipliers, q
):
    own = reward.size > 0
    z = np.full(len(shared_z), np.inf) if own else shared_z  # a state that a row doesn't list is not lower than any
    place = np.empty(len(z), np.int64)
    sources, mass, listed = np.empty(width, np.int64), np.empty(width), np.empty(width)
    heap, at, key = np.empty(width + 1, np.int64), np.empty(width, np.int64), np.empty(width)
    for i in rows:
        a, k = ptr[i], ptr[i + 1] - ptr[i]
        states = indices[first[i] : first[i] + k]
        reached = 0
        for e in range(k):
            t = states[e]
            place[t] = a + e
            if own:
                z[t] = shared_z[t] + reward[a + e]
            listed[e] = z[t]
            if p[a + e] > 0.0:
                sources[reached], mass[reached] = t, p[a + e]
                reached += 1
        if own:
            base, lowest = 0, np.min(listed[:k])
            for s in sources[:reached]:
                envelopes.base[s] = base
                envelopes.size[s] = _envelope(near, s, z, lowest, base, envelopes.vertex, envelopes.slope)
                base += envelopes.size[s]
        fall, multipliers[i], split, moved = _spend(
            radius[i], sources[:reached], mass[:reached], near.state, near.distance, envelopes.base, envelopes.size,
            envelopes.vertex, envelopes.slope, z, heap, key, at,
        )  # fmt: skip
        values[i] = row_reward[i] + dot(p[a : a + k], listed[:k]) - fall
        if q.size:
            for j in range(reached):
                q[place[near.state[envelopes.vertex[at[j]]]]] += mass[j]
            if split >= 0:
                q[place[near.state[envelopes.vertex[at[split]]]]] -= moved
                q[place[near.state[envelopes.vertex[at[split] + 1]]]] += moved
        if own:
            for t in states:
                z[t] = np.inf
