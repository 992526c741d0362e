"""The questions of :mod:`robust_rl.uncertainty.shared_budget` for any ball with a row function.

v_a(x) and its slope, minus the multiplier, are asked for wherever a root finder wants them. "Level" is Newton's method in u,
and for each u and action another in x, both inside brackets that bisection narrows where Newton's step leaves them. "Split"
looks for the price at which the actions together spend the budget: bisection in the price, and in x for each price; where
v_a has pieces of one slope, what each action spends at the price is an interval, in which the budget is met by interpolation.
"""

from __future__ import annotations

import numpy as np
from numba import types

from robust_rl._numba import njit
from robust_rl.uncertainty.kernels import ROW, lowest_unlisted

ITERATIONS, HALVINGS = 100, 60
CLOSE = 1e-14  # how well v_a(x) = u is solved, relative to the size of z

_read = types.Array(types.float64, 1, "C", readonly=True)
_write = types.float64[::1]
_long = types.Array(types.int64, 1, "C", readonly=True)
_int = types.Array(types.int32, 1, "C", readonly=True)
STATES = types.void(
    types.FunctionType(ROW), _long, _long, _int, _read, _read, _read, _read, types.int64, _read, _read, types.float64, _long,
    types.boolean, _read, _long, _long, types.int64, types.int64, _write, _write, _write,
)  # fmt: skip


@njit
def states(  # type: ignore[no-untyped-def]
    row, ptr, first_state, indices, p, reward, row_reward, outside, width, budget, value, discount, ranks,
    level, policy, groups, rows, first, last, out, weight, spent,
):  # fmt: skip
    """Answer "level", or else "split" for a policy of (n,) probabilities, for groups ``first`` to ``last``."""
    most = 0
    for s in range(first, last):
        most = max(most, groups[s + 1] - groups[s])
    z, probability = np.empty((most, width + 1)), np.empty((most, width + 1))
    order, length = np.empty((most, width + 1), np.int64), np.empty(most, np.int64)
    w, used, q = np.empty(most), np.empty(most), np.empty(width + 1)
    for s in range(first, last):
        mine = rows[groups[s] : groups[s + 1]]
        count = len(mine)
        if count == 0:
            continue
        for j in range(count):
            i = mine[j]
            length[j] = _assemble(
                ptr[i], ptr[i + 1], first_state[i], indices, p, reward, row_reward[i], outside, i, value, discount, ranks,
                z[j], probability[j],
            )  # fmt: skip
            order[j, : length[j]] = np.argsort(z[j, : length[j]], kind="mergesort")
        kappa = budget[mine[0]]
        if level:
            out[s] = _level(row, count, probability, z, order, length, kappa, q, w, used)
        else:
            for j in range(count):
                w[j] = policy[mine[j]]
            _split(row, count, probability, z, order, length, kappa, w, q, used)
        for j in range(count):
            weight[mine[j]], spent[mine[j]] = w[j], used[j]


@njit
def _assemble(a, b, start, indices, p, reward, row_reward, outside, i, value, discount, ranks, z, probability):  # type: ignore[no-untyped-def]
    """Write a row's z, rewards included, and p; return its length."""
    n = b - a
    for k in range(n):
        z[k] = row_reward + discount * value[indices[start + k]]
        if reward.size:
            z[k] += reward[a + k]
        probability[k] = p[a + k]
    if outside.size:
        state = lowest_unlisted(ranks, indices[start : start + n])
        if state >= 0:
            z[n] = row_reward + discount * value[state] + (outside[i] if reward.size else 0.0)
            probability[n] = 0.0
            n += 1
    return n


@njit
def _worst(row, j, x, probability, z, order, length, q):  # type: ignore[no-untyped-def]
    n = length[j]
    none = q[:0]
    return row(probability[j, :n], z[j, :n], order[j, :n], x, none, none, q[:n])


@njit
def _level(row, count, probability, z, order, length, budget, q, weight, spent):  # type: ignore[no-untyped-def]
    size, high, low, attains = 0.0, -np.inf, -np.inf, 0
    expected = np.empty(count)
    for j in range(count):
        for k in range(length[j]):
            size = max(size, abs(z[j, k]))
        expected[j], _ = _worst(row, j, 0.0, probability, z, order, length, q)
        weight[j] = 0.0
        high = max(high, expected[j])
    for j in range(count):
        spent[j] = budget
        if expected[j] > low:
            least, _ = _worst(row, j, budget, probability, z, order, length, q)
            if least > low:
                low, attains = least, j
    u, first = low, True
    for _ in range(ITERATIONS):
        over, rate = -budget, 0.0
        for j in range(count):
            weight[j] = 0.0
            if expected[j] <= u:
                spent[j] = 0.0
                continue
            spent[j], price = _radius_at(row, j, u, spent[j], budget, size, probability, z, order, length, q)
            weight[j] = 1.0 / max(price, 1e-300)
            over += spent[j]
            rate += weight[j]
        if first and over <= 1e-15 * budget:
            break
        first = False
        if over > 0.0:
            low = u
        else:
            high = u
        step = over / rate if rate > 0.0 else 0.0
        if abs(step) <= 0.1 * CLOSE * size:
            break
        u += step
        if not low < u < high:
            u = 0.5 * (low + high)
            if not low < u < high:
                break
    if first or not rate > 0.0:
        weight[:count] = 0.0
        weight[attains] = 1.0
    else:
        weight[:count] /= rate
    return u


@njit
def _radius_at(row, j, u, x, budget, size, probability, z, order, length, q):  # type: ignore[no-untyped-def]
    """Return the least x with v(x) <= u, from a first guess, and the multiplier there."""
    low, high = 0.0, budget
    value, price = _worst(row, j, x, probability, z, order, length, q)
    for _ in range(ITERATIONS):
        # at the row's minimum the price is 0, and so less than what brought it there
        if abs(value - u) <= CLOSE * size and price > 0.0:
            break
        if value > u:
            low = x
        else:
            high = x
        x = x + (value - u) / price if price > 0.0 else low
        if not low < x < high:
            x = 0.5 * (low + high) if low > 0.0 else 0.125 * high
            if not low < x < high or high - low <= 1e-16 * high:
                break
        value, price = _worst(row, j, x, probability, z, order, length, q)
    return x, price


@njit
def _split(row, count, probability, z, order, length, budget, policy, q, spent):  # type: ignore[no-untyped-def]
    at_low, at_middle = np.zeros(count), np.zeros(count)
    spent[:count] = 0.0
    low, high, total = 0.0, 0.0, 0.0
    for j in range(count):
        if policy[j] > 0.0 and budget > 0.0:
            _, price = _worst(row, j, budget / count, probability, z, order, length, q)
            high = max(high, policy[j] * price)  # above it no action spends as much as an equal share
            at_low[j] = _bought(row, j, 0.0, budget, policy[j], probability, z, order, length, q)
            total += at_low[j]
    if total <= budget:
        spent[:count] = at_low
        return
    for j in range(count):
        spent[j] = _bought(row, j, high, budget, policy[j], probability, z, order, length, q)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        total = 0.0
        for j in range(count):
            at_middle[j] = _bought(row, j, middle, budget, policy[j], probability, z, order, length, q)
            total += at_middle[j]
        if total >= budget:
            low = middle
            at_low[:] = at_middle
        else:
            high = middle
            spent[:count] = at_middle
    _fill(count, at_low, budget, spent)


@njit
def _bought(row, j, price, budget, chance, probability, z, order, length, q):  # type: ignore[no-untyped-def]
    """Return the x up to which v falls, as seen through the policy, by more than the price."""
    if chance <= 0.0:
        return 0.0
    low, high = 0.0, budget
    for _ in range(HALVINGS):
        x = 0.5 * (low + high)
        if not low < x < high:
            break
        _, multiplier = _worst(row, j, x, probability, z, order, length, q)
        if chance * multiplier > price:
            low = x
        else:
            high = x
    return high


@njit
def _fill(count, more, budget, spent):  # type: ignore[no-untyped-def]
    """Go from what is spent just above the price towards what is spent just below it, until the budget is met."""
    total, room = 0.0, 0.0
    for j in range(count):
        total += spent[j]
        room += max(more[j] - spent[j], 0.0)
    share = min(max(budget - total, 0.0) / room, 1.0) if room > 0.0 else 0.0
    for j in range(count):
        spent[j] += share * max(more[j] - spent[j], 0.0)
