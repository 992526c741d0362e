"""The sweep that every (s,a)-rectangular set shares.

For each row i = (s, a) it gathers  z(s') = r(s,a,s') + gamma V(s'),  orders z where the set asks for it, and calls the set's
row function

    row(p, z, order, radius, lower, upper, q) -> (value, multiplier)

which writes the worst case into q. ``order`` lists the entries of z from lowest to highest, equal ones by index; ``lower``
and ``upper`` are bounds on q for the sets that have them. The row function is passed as a typed pointer, which numba can
cache on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from robust_rl._numba import compiled, njit
from robust_rl.uncertainty.layout import EMPTY, Layout

_read = types.Array(types.float64, 1, "C", readonly=True)
_write = types.float64[::1]
_long = types.Array(types.int64, 1, "C", readonly=True)
_int = types.Array(types.int32, 1, "C", readonly=True)
ROW = types.UniTuple(types.float64, 2)(_read, _read, _long, types.float64, _read, _read, _write)
SWEEP = types.void(
    types.FunctionType(ROW), _long, _long, _int, _read, _read, _read, _read, _long,
    _read, types.float64, _read, _read, _read, _long, types.boolean, types.int64, types.int64,
    _write, _write, _write, types.int64[::1], _write,
)  # fmt: skip


def sweep(
    row: Any,
    layout: Layout,
    value: NDArray[np.float64],
    discount: float,
    radius: NDArray[np.float64],
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    rows: NDArray[np.int64],
    *,
    sort: bool,
    kernel: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Apply a set's row function to the given rows.

    Returns
    -------
    values, multipliers : (n,) arrays, 0 for rows that weren't asked for, which so take no memory
    q : one entry each of the layout, empty unless ``kernel``
    outside_state, outside_mass : (n,) where free rows put mass on a state that they don't list
    """
    count = len(layout.row_reward)
    values, multipliers = np.zeros(count), np.zeros(count)
    q = np.zeros(len(layout.p) if kernel else 0)
    has_outside = kernel and layout.outside.size
    outside_state, outside_mass = np.zeros(count if has_outside else 0, np.int64), np.zeros(count if has_outside else 0)
    ranks = (
        np.argsort(value, kind="stable").astype(np.int64)
        if layout.outside.size or (sort and layout.shares_order)
        else np.zeros(0, np.int64)
    )
    compiled(_sweep, SWEEP)(
        compiled(row, ROW), layout.ptr, layout.first, layout.indices, layout.p, layout.reward, layout.row_reward, layout.outside,
        np.ascontiguousarray(rows, dtype=np.int64), np.ascontiguousarray(value), float(discount),
        radius, bounds[0], bounds[1], ranks, sort, layout.width, 1 if layout.shares_order else 0,
        values, multipliers, q, outside_state, outside_mass,
    )  # fmt: skip
    return values, multipliers, q, outside_state, outside_mass


@njit
def _sweep(  # type: ignore[no-untyped-def]
    row, ptr, first, indices, p, reward, row_reward, outside,
    rows, value, discount, radius, lower, upper, ranks, sort, width, shared,
    values, multipliers, q, outside_state, outside_mass,
):  # fmt: skip
    z = np.empty(width + 1)
    order = np.arange(width + 1)
    p_row = np.empty(width + 1)
    q_row = np.empty(width + 1)
    if shared:
        for j in range(width):
            z[j] = discount * value[j]
        if sort:
            order[:width] = ranks
    for i in rows:
        a, b = ptr[i], ptr[i + 1]
        k = b - a
        if not shared:
            for j in range(k):
                z[j] = discount * value[indices[first[i] + j]]
            if reward.size:
                for j in range(k):
                    z[j] += reward[a + j]
        nominal = p[a:b]
        if outside.size:
            state = lowest_unlisted(ranks, indices[first[i] : first[i] + k])
            if state >= 0:
                # r(s,a) is added to the row's value below, so only r(s,a,s') rewards enter z
                z[k] = discount * value[state] + (outside[i] if reward.size else 0.0)
                p_row[:k] = nominal
                p_row[k] = 0.0
                nominal = p_row[: k + 1]
                k += 1
        if sort and not shared:
            _argsort(z, order, k)
        worst, multiplier = row(nominal, z[:k], order[:k], radius[i], lower[a:b], upper[a:b], q_row[:k])
        values[i] = row_reward[i] + worst
        multipliers[i] = multiplier
        if q.size:
            q[a:b] = q_row[: b - a]
            if outside_mass.size and k > b - a:
                outside_state[i] = state
                outside_mass[i] = q_row[k - 1]


@njit
def lowest_unlisted(ranks, listed):  # type: ignore[no-untyped-def]
    """Lowest-valued state that a sorted list doesn't contain, or -1; looks at no more than len(listed) + 1 states."""
    for state in ranks:
        if listed.size == 0:
            return state
        at = np.searchsorted(listed, state)
        if at == listed.size or listed[at] != state:
            return state
    return -1


@njit
def _argsort(z, order, k):  # type: ignore[no-untyped-def]
    """Stable ascending order of z[:k]. Short rows, the common case, by insertion."""
    if k > 32:
        order[:k] = np.argsort(z[:k], kind="mergesort")
        return
    for j in range(k):
        t = j
        while t > 0 and z[order[t - 1]] > z[j]:
            order[t] = order[t - 1]
            t -= 1
        order[t] = j


def no_bounds() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of a set that has none."""
    return EMPTY, EMPTY
