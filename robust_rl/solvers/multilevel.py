"""Estimates of a worst case from draws, for sets whose worst case is not linear in the nominal row.

The worst case v(p_n) over the empirical row p_n of n draws is biased for n finite. Multilevel Monte Carlo removes the bias at
a finite mean cost: with a random level N, P(N = l) = p_l, and b 2^(N+1) draws,

    estimate = v(p_b) + Delta_N / p_N,      Delta_l = v(all) - ( v(odd draws) + v(even draws) ) / 2,                      (1)

where v(p_b) uses the first b draws. E Delta_l = E v(p_{b 2^(l+1)}) - E v(p_{b 2^l}), so the sum telescopes to v(p_infinity),
the worst case itself. Levels are geometric, p_l = psi (1 - psi)^l. The mean cost is finite for psi > 1/2 and the variance for
psi < 3/4 where E Delta_l^2 falls like 4^-l; psi = 1 - 2^(-3/2) balances the two. At a kink of v (a set whose worst case jumps
from one state to another exactly at p) E Delta_l^2 falls only like 2^-l and the variance of (1) is infinite, so by default
levels end at L = ``max_level``: p_l is then renormalised, cost and variance are bounded, and the mean is that of the plug-in
estimate from b 2^(L+1) draws.

The base b is 1 in the robust Q-learning of Wang, Zou and Wang (UAI 2024, PMLR 244). A larger one costs as many draws as
averaging that many estimates, but keeps the weight 1 / p_N off the noisy lowest levels (Blanchet, Glynn and Pei, 2019).

Contamination and the nominal set are linear in p: v(p_b) is unbiased, and no correction is drawn.

A row of the empirical problem holds the states drawn, and of the other states that the support allows only the worst, or all
for sets that use more than it. This module is the only one that calls a set's row function outside of the exact sweep.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from robust_rl._numba import compiled, njit
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.uncertainty import Contamination, Nominal, RectangularSet
from robust_rl.uncertainty.kernels import ROW

PSI = 1 - 2**-1.5
UNLIMITED = 40  # a level that no run reaches: 0.35^40 = 1e-18

_value, _values, _table = types.float64, types.float64[::1], types.float64[:, ::1]
_number, _numbers, _numbers_table = types.int64, types.int64[::1], types.int64[:, ::1]
_flags, _flag_table, _states = types.boolean[::1], types.boolean[:, ::1], types.int32[::1]
# discount to weights: the last arguments of both kernels
_CONTEXT = (
    _value, _values, _table, _table, _flag_table, _flag_table, _number, _flags, _number, _number, _values
)  # fmt: skip
_SWEEPS = types.float64(
    types.FunctionType(ROW), _table, _table, _numbers, _numbers, _states, _numbers_table, _numbers_table, _flags, *_CONTEXT
)  # fmt: skip
_REPEAT = types.void(types.FunctionType(ROW), _values, _number, _states, _numbers, _numbers, _values, _number, *_CONTEXT)

# which states an adversary may use beside those drawn
ONLY_DRAWN, EVERY_STATE, MASKED, SEEN_FROM_ROW, SEEN_FROM_STATE = range(5)


class Multilevel:
    """Eq. (1) for one set: how many draws, in which proportions, and which kernel.

    Parameters
    ----------
    uncertainty : RectangularSet or None
    base : int
        b, draws of the lowest level, which need not be a power of 2. For sets linear in p all draws.
    max_level : int or None
        L, the highest level; ``None`` for the unbiased estimate, whose cost has no bound.

    Raises
    ------
    InvalidUncertaintyError
        If the set's bounds are made from nominal probabilities, which nobody knows here.
    InvalidArgumentError
        If base or max_level is out of range.
    """

    def __init__(self, uncertainty: RectangularSet | None, *, base: int = 8, max_level: int | None = 10) -> None:
        self.uncertainty = Nominal() if uncertainty is None else uncertainty
        if not isinstance(self.uncertainty, RectangularSet):
            raise InvalidUncertaintyError(
                f'{uncertainty!r} is not an uncertainty set; give one such as TotalVariation(0.1, support="free")'
            )
        if type(self.uncertainty).bounds is not RectangularSet.bounds:
            raise InvalidUncertaintyError(
                f"{self.uncertainty!r} bounds each probability of a known row, so it can't be learned from draws; "
                "use another set, or plan on a model"
            )
        self.linear = isinstance(self.uncertainty, Contamination | Nominal)
        self.base = base
        self.max_level = UNLIMITED if max_level is None else max_level
        if not isinstance(self.base, int) or self.base < 1:
            raise InvalidArgumentError(f"the draws of an estimate are {base!r}; they must be a positive integer")
        if not isinstance(self.max_level, int) or not 0 <= self.max_level <= UNLIMITED:
            raise InvalidArgumentError(f"max_level is {max_level!r}; it must be None or an integer from 0 to {UNLIMITED}")
        kept = np.arange(self.max_level + 1)
        share = PSI * (1 - PSI) ** kept
        self.weights = share.sum() / share  # 1 / p_l

    @property
    def mean_draws(self) -> float:
        """Expected number of draws of one estimate."""
        return float(self.base if self.linear else (self.draws(np.arange(self.max_level + 1)) / self.weights).sum())

    def levels(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Draw levels N; -1, no correction, for linear sets."""
        if self.linear:
            return np.full(shape, -1, dtype=np.int64)
        covered = 1 - (1 - PSI) ** (self.max_level + 1)
        level = np.log1p(-covered * rng.random(shape)) / math.log(1 - PSI)
        return np.minimum(level.astype(np.int64), self.max_level)

    def draws(self, levels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many draws the estimates of these levels need."""
        return self.base * 2 ** (levels + 1)

    def kernel(self) -> Any:
        """Return the set's row function as kernels take it."""
        return compiled(type(self.uncertainty).row, ROW)

    def flags(self) -> NDArray[np.bool_]:
        """Return what a row of this set needs: z sorted, all allowed states listed."""
        return np.array([self.uncertainty.sort, self.uncertainty.every_state])


def sweeps(
    multilevel: Multilevel,
    action_values: NDArray[np.float64],
    average: NDArray[np.float64],
    visits: NDArray[np.int64],
    rows: NDArray[np.int64],
    draws: NDArray[np.int32],
    first: NDArray[np.int64],
    levels: NDArray[np.int64],
    terminal: NDArray[np.bool_],
    discount: float,
    radius: NDArray[np.float64],
    knowledge: Any,
) -> float:
    """Update Q and its ``average``, (S, A), and ``visits``, (S*A,), in place, one estimate a row and sweep.

    Parameters
    ----------
    rows : (m,) the rows s*A + a to update
    draws : next states; those of row ``rows[t]`` in sweep k begin at ``first[k, t]``
    levels : (sweeps, m)
    knowledge : Knowledge
        What is known of supports and rewards; it grows.

    Returns
    -------
    float
        Mean of |target - Q| over all updates.
    """
    error = compiled(_sweeps, _SWEEPS)(
        multilevel.kernel(), action_values, average, visits, rows, draws, first, levels, terminal,
        discount, radius, knowledge.own, knowledge.pay, knowledge.seen, knowledge.allowed, knowledge.mode,
        multilevel.flags(), multilevel.base, action_values.shape[1], multilevel.weights,
    )  # fmt: skip
    return float(error)


def estimates(
    multilevel: Multilevel,
    value: NDArray[np.float64],
    row: int,
    draws: NDArray[np.int32],
    levels: NDArray[np.int64],
    discount: float,
    radius: NDArray[np.float64],
    knowledge: Any,
) -> NDArray[np.float64]:
    """Return one estimate of a row's worst case for each level, (n,), at a fixed value; ``draws`` lie one after the other."""
    result = np.empty(len(levels))
    first = np.append(0, np.cumsum(multilevel.draws(levels))[:-1])
    actions = len(radius) // len(value)
    compiled(_repeat, _REPEAT)(
        multilevel.kernel(), result, row, draws, first, levels, value, int(np.argmin(value)), discount, radius,
        knowledge.own, knowledge.pay, knowledge.seen, knowledge.allowed, knowledge.mode, multilevel.flags(), multilevel.base,
        actions, multilevel.weights,
    )  # fmt: skip
    return result


@njit
def _sweeps(  # type: ignore[no-untyped-def]
    row, action_values, average, visits, rows, draws, first, levels, terminal,
    discount, radius, own, pay, seen, allowed, mode, flags, base, actions, weights,
):  # fmt: skip
    states = action_values.shape[0]
    value = np.empty(states)
    slot = np.full(states, -1)
    work = np.empty((6, states))
    entries, order = np.empty(states, np.int64), np.empty(states, np.int64)
    error = 0.0
    for k in range(levels.shape[0]):
        lowest = 0
        for s in range(states):
            value[s] = 0.0 if terminal[s] else np.max(action_values[s])
            if value[s] < value[lowest]:
                lowest = s
        for t in range(len(rows)):
            i = rows[t]
            worst = _estimate(
                row, i, draws, first[k, t], levels[k, t], slot, work, entries, order,
                value, lowest, discount, radius, own, pay, seen, allowed, mode, flags, base, actions, weights,
            )  # fmt: skip
            error += abs(update(action_values, average, visits, i // actions, i % actions, worst, discount))
    return error / max(levels.size, 1)


@njit
def update(action_values, average, visits, state, action, target, discount):  # type: ignore[no-untyped-def]
    """Move Q towards a target by the rescaled linear step, and the average towards Q; return target - Q.

    The average weighs iterate k like k^3: w_k = 4 / (k + 3), k = 1, 2, ...
    """
    row = state * action_values.shape[1] + action
    difference = target - action_values[state, action]
    action_values[state, action] += difference / (1.0 + (1.0 - discount) * visits[row])
    average[state, action] += (action_values[state, action] - average[state, action]) * 4.0 / (visits[row] + 4.0)
    visits[row] += 1
    return difference


@njit
def _repeat(  # type: ignore[no-untyped-def]
    row, result, i, draws, first, levels,
    value, lowest, discount, radius, own, pay, seen, allowed, mode, flags, base, actions, weights,
):  # fmt: skip
    states = len(value)
    slot = np.full(states, -1)
    work = np.empty((6, states))
    entries, order = np.empty(states, np.int64), np.empty(states, np.int64)
    for k in range(len(levels)):
        result[k] = _estimate(
            row, i, draws, first[k], levels[k], slot, work, entries, order,
            value, lowest, discount, radius, own, pay, seen, allowed, mode, flags, base, actions, weights,
        )  # fmt: skip


@njit
def _estimate(  # type: ignore[no-untyped-def]
    row, i, draws, first, level, slot, work, entries, order,
    value, lowest, discount, radius, own, pay, seen, allowed, mode, flags, base, actions, weights,
):  # fmt: skip
    """Eq. (1) for row i from ``draws[first:]``; ``slot`` is -1 everywhere before and after."""
    last = first + (base << (level + 1))
    count = 0
    for e in range(first, last):
        state = draws[e]
        if slot[state] < 0:
            slot[state], entries[count] = count, state
            count += 1
            if seen.size and not seen[i, state]:
                _see(i, state, own, pay, seen, allowed, mode, actions)
    count = _add_allowed(i, value, lowest, discount, pay, allowed, mode, flags[1], slot, entries, count)
    z, p, odd, even, q = work[0, :count], work[1, :count], work[2, :count], work[3, :count], work[4, :count]
    for j in range(count):
        state = entries[j]
        z[j] = discount * value[state] + (pay[i, state] if pay.shape[1] > 1 else pay[i, 0])
    if flags[0]:
        _argsort(z, order)
    none = work[5, :0]
    ranks = order[:count]
    _shares(draws, first, first + base, 1, slot, p)
    result = _worst(row, p, z, ranks, radius[i], none, q)
    if level >= 0:
        _shares(draws, first, last, 2, slot, even)
        _shares(draws, first + 1, last, 2, slot, odd)
        for j in range(count):
            p[j] = 0.5 * (even[j] + odd[j])
        halves = _worst(row, even, z, ranks, radius[i], none, q) + _worst(row, odd, z, ranks, radius[i], none, q)
        delta = _worst(row, p, z, ranks, radius[i], none, q) - 0.5 * halves
        result += delta * weights[level]
    for j in range(count):
        slot[entries[j]] = -1
    return result


@njit
def _worst(row, p, z, order, radius, none, q):  # type: ignore[no-untyped-def]
    """Lowest expectation of z: the one place that knows how a set's row function is called."""
    return row(p, z, order, radius, none, none, q)[0]


@njit
def _add_allowed(i, value, lowest, discount, pay, allowed, mode, every_state, slot, entries, count):  # type: ignore[no-untyped-def]
    """Append the allowed states that weren't drawn, or only the worst of them; return the new count."""
    if mode == ONLY_DRAWN:
        return count
    if mode == EVERY_STATE and pay.shape[1] == 1 and not every_state:
        worst = lowest
    else:
        worst, least = -1, np.inf
        for state in range(len(value)):
            if mode != EVERY_STATE and not allowed[i, state]:
                continue
            z = discount * value[state] + (pay[i, state] if pay.shape[1] > 1 else 0.0)
            if z < least:
                worst, least = state, z
            if every_state and slot[state] < 0:
                slot[state], entries[count] = count, state
                count += 1
    if slot[worst] < 0:
        slot[worst], entries[count] = count, worst
        count += 1
    return count


@njit
def _see(i, state, own, pay, seen, allowed, mode, actions):  # type: ignore[no-untyped-def]
    """Note that row i reaches a state: supports may grow, and what the state's other actions pay for moving there changes."""
    seen[i, state] = True
    begin = i // actions * actions
    if mode == SEEN_FROM_ROW:
        allowed[i, state] = True
    elif mode == SEEN_FROM_STATE:
        allowed[begin : begin + actions, state] = True
    if own.size:
        least = np.inf
        for j in range(begin, begin + actions):
            if seen[j, state]:
                least = min(least, own[j, state])
        for j in range(begin, begin + actions):
            pay[j, state] = own[j, state] if seen[j, state] else least


@njit
def _shares(draws, first, last, stride, slot, p):  # type: ignore[no-untyped-def]
    """Write the shares of the entries among every stride-th draw into p."""
    p[:] = 0.0
    share = 1.0 / ((last - first + stride - 1) // stride)
    for e in range(first, last, stride):
        p[slot[draws[e]]] += 1.0
    for j in range(len(p)):
        p[j] *= share


@njit
def _argsort(z, order):  # type: ignore[no-untyped-def]
    """Ascending order by Shell's method with Ciura's gaps: rows are short, and NumPy's sorts take seconds to compile."""
    for j in range(len(z)):
        order[j] = j
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for j in range(gap, len(z)):
            moving, t = order[j], j
            while t >= gap and z[order[t - gap]] > z[moving]:
                order[t] = order[t - gap]
                t -= gap
            order[t] = moving
