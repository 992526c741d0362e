"""Correlated and coarse correlated equilibria of many games by linear programs, and zero-sum games, one after another.

Payoffs are centred and divided by their range first: each player's for its gains, all players' alike for the objective.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit
from robust_rl._threads import num_threads, run_blocks
from robust_rl.equilibria import highs
from robust_rl.equilibria.checks import Array
from robust_rl.equilibria.gaps import num_deviations, regret, write_incentives
from robust_rl.equilibria.max_min import dual_simplex, read_solution
from robust_rl.equilibria.pure import dominant_action, pure_regrets

ANY, UTILITARIAN, MAXIMIN = 0, 1, 2
RULES = {None: ANY, "utilitarian": UTILITARIAN, "maximin": MAXIMIN}
ACCURATE = 1e-10  # of the payoffs' range: the regret, and the two sides of the optimum; what is worse goes to HiGHS


def correlated_equilibria(payoffs: Array, num_actions: NDArray[np.intp], correlated: bool, selection: str | None) -> Array:
    """Policies (K, M) for payoffs (K, n, M): CE where ``correlated``, else CCE."""
    rule, policies = RULES[selection], np.empty((len(payoffs), payoffs.shape[2]))
    m = num_deviations(num_actions, correlated)
    solved = np.empty(len(payoffs), dtype=np.bool_)

    def block(first: int, last: int) -> None:
        part = slice(first, last)
        solve_games(payoffs[part], num_actions, correlated, rule, m, policies[part], solved[part])

    run_blocks(block, blocks(len(payoffs)))
    for k in np.flatnonzero(~solved):
        scaled, objectives = np.empty_like(payoffs[k]), np.empty((len(num_actions), payoffs.shape[2]))
        incentives = np.empty((m, payoffs.shape[2]))
        scale_payoffs(payoffs[k], scaled)
        write_incentives(scaled, num_actions, correlated, incentives)
        count = write_objectives(payoffs[k], scaled, num_actions, rule, objectives)
        policies[k] = highs.max_min(objectives[:count], incentives)[0]
    return policies


def matrix_games(payoffs: Array) -> tuple[Array, Array, Array]:
    """Values (K,) and optimal strategies (K, A) and (K, B) of (K, A, B)."""
    count, rows, columns = payoffs.shape
    values, x, y = np.empty(count), np.empty((count, rows)), np.empty((count, columns))
    solved = np.empty(count, dtype=np.bool_)

    def block(first: int, last: int) -> None:
        part = slice(first, last)
        solve_matrices(payoffs[part], values[part], x[part], y[part], solved[part])

    run_blocks(block, blocks(count))
    for k in np.flatnonzero(~solved):
        scaled = payoffs[k].T - payoffs[k].min()
        x[k], y[k] = highs.max_min(scaled / (scaled.max() or 1.0), np.empty((0, rows)))
        values[k] = x[k] @ payoffs[k] @ y[k]
    return values, x, y


def blocks(count: int) -> list[int]:
    """Bounds of equal parts, one a thread; one part where there are few games."""
    parts = num_threads() if count >= 64 else 1
    return [count * part // parts for part in range(parts + 1)]


@njit
def padded(width):  # type: ignore[no-untyped-def]
    """The next multiple of four."""
    return (width + 3) // 4 * 4


@njit
def ranges(payoffs):  # type: ignore[no-untyped-def]
    """The largest range of a player's payoffs in each game: (K, n, M) -> (K,)."""
    widest = np.zeros(len(payoffs))
    for k in range(len(payoffs)):
        for i in range(payoffs.shape[1]):
            low, high = payoffs[k, i, 0], payoffs[k, i, 0]
            for a in range(1, payoffs.shape[2]):
                low, high = min(low, payoffs[k, i, a]), max(high, payoffs[k, i, a])
            widest[k] = max(widest[k], high - low)
    return widest


@njit
def scale_payoffs(payoff, scaled):  # type: ignore[no-untyped-def]
    """Write each player's payoffs, brought to [0, 1]; return the largest range of a player."""
    widest = 0.0
    for i in range(len(payoff)):
        low, high = payoff[i, 0], payoff[i, 0]
        for a in range(1, payoff.shape[1]):
            low, high = min(low, payoff[i, a]), max(high, payoff[i, a])
        span = high - low
        widest = max(widest, span)
        divisor = span if span > 0.0 else 1.0
        for a in range(payoff.shape[1]):
            scaled[i, a] = (payoff[i, a] - low) / divisor
    return widest


@njit
def write_objectives(payoff, scaled, num_actions, rule, objectives):  # type: ignore[no-untyped-def]
    """Write the rows P of a selection rule, divided by their range; return how many there are."""
    n, joint = payoff.shape
    if rule == ANY:
        pure_regrets(scaled, num_actions, objectives[0])
        objectives[0] *= -1.0
        return 1
    low, high = np.inf, -np.inf
    if rule == UTILITARIAN:
        objectives[0] = 0.0
        for i in range(n):
            lowest = payoff[i].min()
            for a in range(joint):
                objectives[0, a] += payoff[i, a] - lowest
    else:
        for i in range(n):
            for a in range(joint):
                objectives[i, a] = payoff[i, a]
    count = n if rule == MAXIMIN else 1
    for i in range(count):
        low, high = min(low, objectives[i].min()), max(high, objectives[i].max())
    span = high - low if high > low else 1.0
    for i in range(count):
        for a in range(joint):
            objectives[i, a] = (objectives[i, a] - low) / span
    return count


@njit
def solve_games(payoffs, num_actions, correlated, rule, m, policies, solved):  # type: ignore[no-untyped-def]
    """Solve games one after another in the same memory; ``solved`` says where the answer is accurate."""
    n, joint = payoffs.shape[1:]
    scaled, objectives, incentives = np.empty((n, joint)), np.empty((n, joint)), np.empty((m, joint))
    tableau = np.zeros((n + m + 1, padded(joint + 1)))
    basic, nonbasic = np.empty(n + m, dtype=np.intp), np.empty(joint, dtype=np.intp)
    primal, dual = np.empty(joint + n + m), np.empty(joint + n + m)
    gains = np.empty((num_actions.max(), num_actions.max()))
    for k in range(len(payoffs)):
        pure = -1
        if rule == ANY:
            a = pure_regrets(payoffs[k], num_actions, objectives[0])
            if objectives[0, a] == 0.0:
                pure = a
        else:
            pure = dominant_action(payoffs[k], num_actions)
        if pure >= 0:
            policies[k], solved[k] = 0.0, True
            policies[k, pure] = 1.0
            continue
        scale_payoffs(payoffs[k], scaled)
        write_incentives(scaled, num_actions, correlated, incentives)
        count = write_objectives(payoffs[k], scaled, num_actions, rule, objectives)
        part = objectives[:count]
        solved[k] = dual_simplex(part, incentives, tableau, basic, nonbasic)
        if solved[k]:
            lower, upper = read_solution(part, incentives, tableau, basic, nonbasic, policies[k], primal, dual)
            worst = regret(scaled, policies[k], num_actions, correlated, gains)
            solved[k] = worst <= ACCURATE and (rule == ANY or abs(upper - lower) <= ACCURATE)


@njit
def solve_matrices(payoffs, values, x, y, solved):  # type: ignore[no-untyped-def]
    """Solve matrix games one after another in the same memory."""
    rows, columns = payoffs.shape[1:]
    objectives, incentives = np.empty((columns, rows)), np.empty((0, rows))
    tableau = np.zeros((columns + 1, padded(rows + 1)))
    basic, nonbasic = np.empty(columns, dtype=np.intp), np.empty(rows, dtype=np.intp)
    primal, dual = np.empty(rows + columns), np.empty(rows + columns)
    for k in range(len(payoffs)):
        if rows == columns == 2:
            values[k], solved[k] = solve_two_by_two(payoffs[k], x[k], y[k]), True
            continue
        low, high = payoffs[k, 0, 0], payoffs[k, 0, 0]
        for a in range(rows):
            for b in range(columns):
                low, high = min(low, payoffs[k, a, b]), max(high, payoffs[k, a, b])
        span = high - low if high > low else 1.0
        inverse = 1.0 / span
        for a in range(rows):
            for b in range(columns):
                objectives[b, a] = (payoffs[k, a, b] - low) * inverse
        solved[k] = dual_simplex(objectives, incentives, tableau, basic, nonbasic)
        if solved[k]:
            lower, upper = read_solution(objectives, incentives, tableau, basic, nonbasic, x[k], primal, dual)
            y[k] = dual[rows:]
            values[k], solved[k] = low + lower * span, abs(upper - lower) <= 1e-12


@njit
def solve_two_by_two(payoff, x, y):  # type: ignore[no-untyped-def]
    """Write optimal strategies, a saddle point or else those that leave the other side indifferent; return the value."""
    floors = min(payoff[0, 0], payoff[0, 1]), min(payoff[1, 0], payoff[1, 1])
    ceilings = max(payoff[0, 0], payoff[1, 0]), max(payoff[0, 1], payoff[1, 1])
    if max(floors) == min(ceilings):
        x[0], y[0] = 1.0 if floors[0] >= floors[1] else 0.0, 1.0 if ceilings[0] <= ceilings[1] else 0.0
    else:  # differences along rows have opposite signs, and so have those along columns: no sum below cancels
        upper, lower = payoff[0, 0] - payoff[0, 1], payoff[1, 1] - payoff[1, 0]
        left, right = payoff[0, 0] - payoff[1, 0], payoff[1, 1] - payoff[0, 1]
        x[0], y[0] = lower / (upper + lower), right / (left + right)
    x[1], y[1] = 1.0 - x[0], 1.0 - y[0]
    first, second = y[0] * payoff[0, 0] + y[1] * payoff[0, 1], y[0] * payoff[1, 0] + y[1] * payoff[1, 1]
    return x[0] * first + x[1] * second
