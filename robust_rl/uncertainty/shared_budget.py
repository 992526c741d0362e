"""How an adversary spends one budget on all actions of a state, where moving mass is what costs: total variation, L1.

For each action a of a state let v_a(x) be its worst case under radius x: convex and falling. Two questions, of one state each:

========  ==========================================================================================================
level     the Bellman value, the smallest u with sum_a xi_a(u) <= kappa, where xi_a(u) is the least x with v_a(x) <= u;
          what is spent on each action, xi_a(u); and the optimal policy, proportional to 1 / |v_a'(xi_a)|
split     against a given policy pi: the x_a that minimise sum_a pi_a v_a(x_a) with sum_a x_a <= kappa
========  ==========================================================================================================

For total variation, here, v_a is piecewise linear: mass leaves the highest z first. Its *curve* is a list of knots, with x and
v at the end of each piece and the piece's slope; both questions are then answered exactly.

As sum_a xi_a is convex and falling in u, Newton's method from the left never overshoots. It starts at u = max_a v_a(kappa),
below which no policy can be pushed; if the budget lasts there, the action that attains it is optimal alone.
"""

from __future__ import annotations

import numba
import numpy as np

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.sweeps import ONE, sort_row

inline = numba.njit(nogil=True)


@inline
def _trim(p, z, order, lowest, expected, budget, x, v, slope, at):  # type: ignore[no-untyped-def]
    """Write a total-variation curve up to the whole budget from position ``at``; return its end."""
    left = budget
    t = len(z) - 1
    while t >= 0 and left > 0.0:
        i = order[t]
        drop = z[i] - lowest
        if drop <= 0.0:
            break
        if p[i] > 0.0:
            moved = p[i] if p[i] < left else left
            left -= moved
            expected -= moved * drop
            x[at], v[at], slope[at] = budget - left, expected, drop
            at += 1
        t -= 1
    return at


@inline
def _level(count, expected, begin, end, x, v, slope, budget, piece, weight, spent):  # type: ignore[no-untyped-def]
    """Answer "level" from curves; leaves weights and what is spent in the last two, and returns u."""
    u, attains = -np.inf, 0
    for j in range(count):
        lowest = v[end[j] - 1] if end[j] > begin[j] else expected[j]
        if lowest > u:
            u, attains = lowest, j
        piece[j] = end[j] - 1
    first = True
    while True:
        over, rate = -budget, 0.0
        for j in range(count):
            weight[j] = spent[j] = 0.0
            if expected[j] <= u or begin[j] == end[j]:
                continue
            t = piece[j]
            while t > begin[j] and v[t - 1] <= u:
                t -= 1
            piece[j] = t
            weight[j] = 1.0 / slope[t]
            spent[j] = x[t] - (u - v[t]) / slope[t]
            over += spent[j]
            rate += weight[j]
        if first and over <= 0.0:
            break
        first = False
        if over <= 0.0 or not u + over / rate > u:
            break
        u += over / rate
    if first:
        weight[:count] = 0.0
        weight[attains] = 1.0
    else:
        weight[:count] /= rate
    return u


@inline
def _greedy(count, policy, begin, end, x, slope, budget, piece, spent):  # type: ignore[no-untyped-def]
    """Answer "split" from curves: the steepest pieces first, as seen through the policy."""
    left = budget
    for j in range(count):
        piece[j] = begin[j]
        spent[j] = 0.0
    while left > 0.0:
        steepest, chosen = 0.0, -1
        for j in range(count):
            if piece[j] < end[j] and policy[j] * slope[piece[j]] > steepest:
                steepest, chosen = policy[j] * slope[piece[j]], j
        if chosen < 0:
            return
        taken = min(x[piece[chosen]] - spent[chosen], left)
        spent[chosen] += taken
        left -= taken
        piece[chosen] += 1


@njit
def full_rows(ptr, p, row_reward, budget, z, order, lowest, policy, groups, rows, first, last, out, weight, spent):  # type: ignore[no-untyped-def]
    """Total variation, rows that share z, groups ``first`` to ``last``: one value a group, one weight and one radius a row.

    With a policy, (n,) probabilities, this answers "split" and leaves ``out`` alone; with an empty one, "level".
    """
    most = _largest_group(groups, first, last)
    x, v, slope = np.empty(most * len(z)), np.empty(most * len(z)), np.empty(most * len(z))
    expected, w, used = np.empty(most), np.empty(most), np.empty(most)
    begin, end, piece = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    for s in range(first, last):
        count = _count(groups, s)
        if count == 0:
            continue
        top = 0
        for j in range(count):
            i = rows[groups[s] + np.uint64(j)]
            expected[j] = dot(p[ptr[i] : ptr[i + ONE]], z) + row_reward[i]
            begin[j] = end[j] = 0
            if expected[j] > expected[top]:
                top = j
        at, enough, kappa = 0, -np.inf, budget[rows[groups[s]]]
        for k in range(count):
            # the highest first: an action no higher than what that one keeps is never worth a penny to the adversary
            j = (top + k) % count
            i = rows[groups[s] + np.uint64(j)]
            if expected[j] <= enough and not policy.size:
                continue
            begin[j] = at
            at = _trim(p[ptr[i] : ptr[i + ONE]], z, order, lowest, expected[j], kappa, x, v, slope, at)
            end[j] = at
            enough = max(enough, v[at - 1] if at > begin[j] else expected[j])
        if not policy.size:
            out[s] = _level(count, expected, begin, end, x, v, slope, kappa, piece, w, used)
        else:
            for j in range(count):
                w[j] = policy[rows[groups[s] + np.uint64(j)]]
            _greedy(count, w, begin, end, x, slope, kappa, piece, used)
        for j in range(count):
            i = rows[groups[s] + np.uint64(j)]
            weight[i], spent[i] = w[j], used[j]


@njit
def short_rows(  # type: ignore[no-untyped-def]
    ptr, indices, p, reward, row_reward, budget, value, discount, outside, policy, groups, rows, first, last, out, weight, spent
):
    """The same for rows with entries of their own, which are brought into the order of z on the way."""
    most, width = _largest_group(groups, first, last), _longest_row(ptr)
    x, v, slope = np.empty(most * width), np.empty(most * width), np.empty(most * width)
    expected, w, used = np.empty(most), np.empty(most), np.empty(most)
    begin, end, piece = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    z_of, lowest, ascending = np.empty((most, width)), np.empty(most), np.arange(width)
    for s in range(first, last):
        count, at, top = _count(groups, s), 0, 0
        if count == 0:
            continue
        for j in range(count):
            i = rows[groups[s] + np.uint64(j)]
            a, b = ptr[i], ptr[i + ONE]
            z = z_of[j, : b - a]
            while not _gather(a, b, indices, reward, value, discount, z):
                sort_row(a, b, indices, p, None, reward, value, discount, z)
            lowest[j] = min(outside[min(i, np.uint64(len(outside)) - ONE)], z[0])
            expected[j] = dot(p[a:b], z) + row_reward[i]
            begin[j] = end[j] = 0
            if expected[j] > expected[top]:
                top = j
        enough, kappa = -np.inf, budget[rows[groups[s]]]
        for k in range(count):
            j = (top + k) % count
            i = rows[groups[s] + np.uint64(j)]
            if expected[j] <= enough and not policy.size:
                continue
            a, b = ptr[i], ptr[i + ONE]
            begin[j] = at
            at = _trim(p[a:b], z_of[j, : b - a], ascending, lowest[j], expected[j], kappa, x, v, slope, at)
            end[j] = at
            enough = max(enough, v[at - 1] if at > begin[j] else expected[j])
        if not policy.size:
            out[s] = _level(count, expected, begin, end, x, v, slope, kappa, piece, w, used)
        else:
            for j in range(count):
                w[j] = policy[rows[groups[s] + np.uint64(j)]]
            _greedy(count, w, begin, end, x, slope, kappa, piece, used)
        for j in range(count):
            i = rows[groups[s] + np.uint64(j)]
            weight[i], spent[i] = w[j], used[j]


@inline
def _gather(first, last, indices, reward, value, discount, z):  # type: ignore[no-untyped-def]
    """Read a row's z and say whether it is in order: of z, then of state."""
    in_order, below, below_state = True, -np.inf, np.uint32(0)
    for k in range(last - first):
        t = indices[first + k]
        z_k = discount * value[t]
        if reward is not None:
            z_k += reward[first + k]
        in_order &= (z_k > below) | ((z_k == below) & (t >= below_state))
        below, below_state = z_k, t
        z[k] = z_k
    return in_order


@inline
def _count(ptr, i):  # type: ignore[no-untyped-def]
    """Number of entries of the i-th part, signed."""
    return np.int64(ptr[i + ONE] - ptr[i])


@inline
def _largest_group(groups, first, last):  # type: ignore[no-untyped-def]
    most = 0
    for s in range(first, last):
        most = max(most, _count(groups, s))
    return most


@inline
def _longest_row(ptr):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(len(ptr) - 1):
        longest = max(longest, _count(ptr, np.uint64(i)))
    return longest
