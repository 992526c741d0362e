"""The Bellman backup at speed: what a sweep over all rows costs is what planning costs.

For each state s and its candidate rows i = (s, a),

    out[s] = max_i  r_i + min_{q in U_i} q . z,        z(s') = r(s,a,s') + gamma V(s'),

without writing q. There are three kinds of sweep, made by the factories below from a set's own functions:

========  =============================================================================================================
folded    short rows of a set whose worst case is one pass over a row: ``start(radius, slack)`` gives a state,
          ``step(state, z, p, u, radius, slack)`` takes the next entry, ``finish(state, lowest, radius, slack)`` gives the
          value; ``lowest`` is the lowest z that mass may move to
gathered  rows of a set that needs several passes: ``worst(p, u, z, order, lowest, radius, slack, memory)`` gives the value and
          what to remember of the row, such as a root to start from at the next sweep
shared    full rows that all see the same z = gamma V, by a function like that
========  =============================================================================================================

``p`` is the nominal probability of an entry and ``u`` a second number of it, ``slack`` a second number of the row, for the sets
that have them (see :meth:`RectangularSet.parameters`).

An ordered sweep keeps each row in ascending order of z, on arrays of its own: an order that held in the last sweep mostly still
holds, and to see that it does costs a comparison an entry. Equal z are ordered by state, so that the order, and with it every
bit of the result, depends on V alone and not on the sweeps before.

The sweeps read arrays and allocate nothing. Each set's file wraps its sweeps in functions of its own, which numba caches on disk.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from robust_rl._numba import prefetch, vectorised

inline = numba.njit(nogil=True)
AHEAD = np.uint64(64)  # entries between asking for V[index] and using it
FAR = 1 << 16  # states from which V outgrows the nearest caches
ONE = np.uint64(1)


class Sweeps(NamedTuple):
    """A set's compiled sweeps over short rows and over full rows that share z; whether they need z in order."""

    short: Any
    full: Any
    ordered: bool


def folded(start: Any, step: Any, finish: Any, *, ordered: bool) -> Any:
    """Return the sweep over short rows of a set that is a fold."""

    @inline
    def sweep(  # type: ignore[no-untyped-def]
        ptr, indices, p, u, reward, row_reward, radius, slack, memory, value, discount, outside, groups, rows, first, last,
        scratch, out, best,
    ):  # fmt: skip
        end, far = np.uint64(len(indices)) - ONE, len(value) >= FAR
        for s in range(first, last):
            highest, chosen = -np.inf, np.uint64(0)
            for j in range(groups[s], groups[s + ONE]):
                i = rows[j]
                lowest = outside[min(i, np.uint64(len(outside)) - ONE)]
                while True:
                    state = start(radius[i], slack[i])
                    in_order, below, below_state = True, -np.inf, np.uint32(0)
                    for e in range(ptr[i], ptr[i + ONE]):
                        if far:
                            prefetch(value, np.uint64(indices[min(e + AHEAD, end)]))
                        t = indices[e]
                        z = discount * value[t]
                        if reward is not None:
                            z += reward[e]
                        if ordered:
                            in_order &= (z > below) | ((z == below) & (t >= below_state))
                            below, below_state = z, t
                        else:
                            lowest = min(lowest, z)
                        second = 0.0
                        if u is not None:
                            second = u[e]
                        state = step(state, z, p[e], second, radius[i], slack[i])
                    if in_order:
                        break
                    sort_row(ptr[i], ptr[i + ONE], indices, p, u, reward, value, discount, scratch)
                if ordered:
                    e = ptr[i]
                    z = discount * value[indices[e]]
                    if reward is not None:
                        z += reward[e]
                    lowest = min(lowest, z)
                x = row_reward[i] + finish(state, lowest, radius[i], slack[i])
                if x > highest:
                    highest, chosen = x, i
            out[s], best[s] = highest, chosen

    return sweep


def gathered(worst: Any, *, ordered: bool) -> Any:
    """Return the sweep over rows of a set that needs several passes over a row."""

    @inline
    def sweep(  # type: ignore[no-untyped-def]
        ptr, indices, p, u, reward, row_reward, radius, slack, memory, value, discount, outside, groups, rows, first, last,
        scratch, out, best,
    ):  # fmt: skip
        end, far = np.uint64(len(indices)) - ONE, len(value) >= FAR
        identity = np.arange(len(scratch))
        for s in range(first, last):
            highest, chosen = -np.inf, np.uint64(0)
            for j in range(groups[s], groups[s + ONE]):
                i = rows[j]
                a, b = ptr[i], ptr[i + ONE]
                z = scratch[: b - a]
                while True:
                    in_order, below, below_state = True, -np.inf, np.uint32(0)
                    for k in range(b - a):
                        e = a + k
                        if far:
                            prefetch(value, np.uint64(indices[min(e + AHEAD, end)]))
                        t = indices[e]
                        z_k = discount * value[t]
                        if reward is not None:
                            z_k += reward[e]
                        if ordered:
                            in_order &= (z_k > below) | ((z_k == below) & (t >= below_state))
                            below, below_state = z_k, t
                        z[k] = z_k
                    if in_order:
                        break
                    sort_row(a, b, indices, p, u, reward, value, discount, scratch)
                lowest = outside[min(i, np.uint64(len(outside)) - ONE)]
                second = z
                if u is not None:
                    second = u[a:b]
                x, memory[i] = worst(p[a:b], second, z, identity[: len(z)], lowest, radius[i], slack[i], memory[i])
                x += row_reward[i]
                if x > highest:
                    highest, chosen = x, i
            out[s], best[s] = highest, chosen

    return sweep


def shared(worst: Any) -> Any:
    """Return the sweep over full rows that see one z; ``order`` lists its entries in ascending order."""

    @inline
    def sweep(  # type: ignore[no-untyped-def]
        ptr, p, u, row_reward, radius, slack, memory, z, order, lowest, groups, rows, first, last, out, best
    ):
        final = np.uint64(len(rows)) - ONE
        for s in range(first, last):
            highest, chosen = -np.inf, np.uint64(0)
            for j in range(groups[s], groups[s + ONE]):
                i = rows[j]
                if len(order) > 0:  # where the next row is looked at first, out of the order in which it is read
                    prefetch(p, ptr[rows[min(j + ONE, final)]] + np.uint64(order[0]))
                a, b = ptr[i], ptr[i + ONE]
                second = z
                if u is not None:
                    second = u[a:b]
                x, memory[i] = worst(p[a:b], second, z, order, lowest, radius[i], slack[i], memory[i])
                x += row_reward[i]
                if x > highest:
                    highest, chosen = x, i
            out[s], best[s] = highest, chosen

    return sweep


@inline
def lowest_on_support(p, z, order):  # type: ignore[no-untyped-def]
    """Return the lowest z that the nominal row reaches, and its probability."""
    t = 0
    while p[order[t]] <= 0.0:
        t += 1
    lowest, mass = z[order[t]], 0.0
    while t < len(z) and z[order[t]] == lowest:
        mass += p[order[t]]
        t += 1
    return lowest, mass


@vectorised
def moments(p, z, centre):  # type: ignore[no-untyped-def]
    """Return E y and E y^2 of y = z - centre."""
    first = second = 0.0
    for i in range(len(p)):
        y = z[i] - centre
        first += p[i] * y
        second += p[i] * y * y
    return first, second


@inline
def sort_row(first, last, indices, p, u, reward, value, discount, scratch):  # type: ignore[no-untyped-def]
    """Bring a row's entries into ascending order of z, then of state: by insertion, which is fast where little has changed."""
    z = scratch[: last - first]
    for k in range(len(z)):
        z[k] = discount * value[indices[first + k]]
        if reward is not None:
            z[k] += reward[first + k]
    moves = 0
    for j in range(1, len(z)):
        e = first + j
        z_j, t_j, p_j = z[j], indices[e], p[e]
        u_j = reward_j = 0.0
        if u is not None:
            u_j = u[e]
        if reward is not None:
            reward_j = reward[e]
        k = j
        while k > 0 and (z[k - 1] > z_j or (z[k - 1] == z_j and indices[first + k - 1] > t_j)):
            below = first + k - 1
            z[k], indices[below + 1], p[below + 1] = z[k - 1], indices[below], p[below]
            if u is not None:
                u[below + 1] = u[below]
            if reward is not None:
                reward[below + 1] = reward[below]
            k -= 1
        z[k], indices[first + k], p[first + k] = z_j, t_j, p_j
        if u is not None:
            u[first + k] = u_j
        if reward is not None:
            reward[first + k] = reward_j
        moves += j - k
        if moves > 32 * len(z):
            _merge_row(first, last, indices, p, u, reward, z)
            return


@inline
def _merge_row(first, last, indices, p, u, reward, z):  # type: ignore[no-untyped-def]
    """The same for a long row in disorder. ``z`` holds the values of all entries, in whatever order they are."""
    by_state = np.argsort(indices[first:last])
    order = by_state[np.argsort(z[by_state], kind="mergesort")]
    indices[first:last] = indices[first:last][order]
    p[first:last] = p[first:last][order]
    if u is not None:
        u[first:last] = u[first:last][order]
    if reward is not None:
        reward[first:last] = reward[first:last][order]
