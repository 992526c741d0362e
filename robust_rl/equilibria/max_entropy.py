"""The equilibrium of largest entropy: max -sum_a x(a) log x(a) over the distributions with G x <= delta.

It is unique, and symmetric where the game is. Its dual has a variable a deviation, and x follows from it:

    min over y >= 0 of  log sum_a exp(-(G' y)_a) + delta sum_d y_d,        x(y) = softmax(-G' y).                        (1)

A primal-dual Newton method on the barrier problem, (1) minus mu sum_d log y_d, whose gradient is g and where s -> mu / y,

    ( G (diag x - x x') G' + diag(s / y) ) dy = -g,        g = delta - G x - mu / y,                                 (2)

solved after scaling by (y / s)^1/2, which makes all eigenvalues at least 1; with a line search on the barrier function, which
is convex; and mu falls towards CENTRED, superlinearly, as soon as a problem is solved to ten times its mu. On the way delta is at
least mu: in a game without interior y would be of the size mu / delta.

At the end G x = delta - mu / y to rounding, so that a deviation gains at most delta = 2e-11 of the player's range, and a
modification of all own actions (CE) at most that many times delta. Many games have equilibria but none with G x < 0, and then (1)
has no minimum with delta = 0. The entropy is that of the slightly larger set.

======  ==========  ================================================
symbol  here        meaning, shape
======  ==========  ================================================
G       incentives  (m, n), gains of deviations
x       x           (n,)
y, s    y, s        multipliers and slacks of the deviations, (m,)
======  ==========  ================================================

Reference for the step and the rule for mu: Wächter and Biegler (2006).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import dot, njit, vectorised
from robust_rl._threads import run_blocks
from robust_rl.equilibria.checks import Array
from robust_rl.equilibria.gaps import num_deviations, write_incentives
from robust_rl.equilibria.programs import blocks, scale_payoffs
from robust_rl.equilibria.pure import dominant_action

DELTA = 2e-11
CENTRED = 1e-11  # mu at the end; the entropy is then within m mu
ITERATIONS = 500
ARMIJO = 1e-4


def max_entropy(payoffs: Array, num_actions: NDArray[np.intp], correlated: bool) -> Array:
    """Policies (K, M) for payoffs (K, n, M): CE where ``correlated``, else CCE."""
    policies, m = np.empty((len(payoffs), payoffs.shape[2])), num_deviations(num_actions, correlated)

    def block(first: int, last: int) -> None:
        solve_games(payoffs[first:last], num_actions, correlated, m, policies[first:last])

    run_blocks(block, blocks(len(payoffs)))
    return policies


@njit
def solve_games(payoffs, num_actions, correlated, m, policies):  # type: ignore[no-untyped-def]
    """Solve games one after another in the same memory."""
    scaled, incentives = np.empty(payoffs.shape[1:]), np.empty((m, payoffs.shape[2]))
    for k in range(len(payoffs)):
        pure = dominant_action(payoffs[k], num_actions)
        if pure >= 0:
            policies[k] = 0.0
            policies[k, pure] = 1.0
            continue
        scale_payoffs(payoffs[k], scaled)
        write_incentives(scaled, num_actions, correlated, incentives)
        barrier_newton(incentives, policies[k])


@njit
def barrier_newton(incentives, x):  # type: ignore[no-untyped-def]
    """Write the solution into ``x`` (n,)."""
    m, n = incentives.shape
    y, s, mu = np.ones(m), np.full(m, 0.1), 0.1
    gains, gradient, dy, trial = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    matrix, centred = np.empty((m, m)), np.empty((m, n))
    delta = max(DELTA, mu)
    value = barrier(incentives, y, mu, delta, x)
    for _ in range(ITERATIONS):
        while True:
            error = 0.0
            for d in range(m):
                gains[d] = dot(incentives[d], x)
                gradient[d] = delta - gains[d] - mu / y[d]
                error = max(error, abs(gradient[d]) * y[d])
            if error > (10.0 if mu > CENTRED else 1e-2) * mu:
                break
            if mu <= CENTRED:
                return
            mu = max(CENTRED, min(0.2 * mu, mu**1.5))
            delta = max(DELTA, mu)
            value = barrier(incentives, y, mu, delta, x)
        newton_step(incentives, x, gains, y, s, gradient, matrix, centred, dy)
        slope, length = dot(gradient, dy), min(1.0, 0.995 * longest(y, dy))
        while length > 1e-10:
            for d in range(m):
                trial[d] = y[d] + length * dy[d]
            new = barrier(incentives, trial, mu, delta, x)
            if new <= value + ARMIJO * length * slope + 1e-14 * (1.0 + abs(value)):
                break
            length *= 0.5
        for d in range(m):  # ds = mu / y - s - (s / y) dy, and then near mu / y
            s[d] += min(1.0, length) * (mu / y[d] - s[d] - s[d] / y[d] * dy[d])
            s[d] = min(max(s[d], 1e-2 * mu / trial[d]), 1e2 * mu / trial[d])
            y[d] = trial[d]
        value = new


@njit
def barrier(incentives, y, mu, delta, x):  # type: ignore[no-untyped-def]
    """Value of the barrier problem at y; writes x(y)."""
    x[:] = 0.0
    total = 0.0
    for d in range(len(y)):
        add(x, -y[d], incentives[d])
        total += delta * y[d] - mu * np.log(y[d])
    most, mass = x.max(), 0.0
    for a in range(len(x)):
        x[a] = np.exp(x[a] - most)
        mass += x[a]
    for a in range(len(x)):
        x[a] /= mass
    return total + most + np.log(mass)


@njit
def newton_step(incentives, x, gains, y, s, gradient, matrix, centred, dy):  # type: ignore[no-untyped-def]
    """Solve (2): with B = (y / s)^1/2 (G - G x 1') diag(x)^1/2 its matrix, scaled, is I + B B'."""
    m, n = incentives.shape
    for d in range(m):
        scale = np.sqrt(y[d] / s[d])
        for a in range(n):
            centred[d, a] = scale * np.sqrt(x[a]) * (incentives[d, a] - gains[d])
        dy[d] = -scale * gradient[d]
    for d in range(m):
        for e in range(d + 1):
            matrix[d, e] = dot(centred[d], centred[e])
        matrix[d, d] += 1.0
    factorise(matrix)
    solve_factorised(matrix, dy)
    for d in range(m):
        dy[d] *= np.sqrt(y[d] / s[d])


@njit
def factorise(matrix):  # type: ignore[no-untyped-def]
    """Cholesky, in the lower half."""
    for d in range(len(matrix)):
        for e in range(d):
            matrix[d, e] = (matrix[d, e] - dot(matrix[d, :e], matrix[e, :e])) / matrix[e, e]
        matrix[d, d] = np.sqrt(max(matrix[d, d] - dot(matrix[d, :d], matrix[d, :d]), 1e-8))


@njit
def solve_factorised(matrix, right):  # type: ignore[no-untyped-def]
    """Solve in place."""
    for d in range(len(right)):
        right[d] = (right[d] - dot(matrix[d, :d], right[:d])) / matrix[d, d]
    for d in range(len(right) - 1, -1, -1):
        right[d] /= matrix[d, d]
        add(right[:d], -right[d], matrix[d, :d])


@vectorised
def add(target, factor, source):  # type: ignore[no-untyped-def]
    """``target += factor * source``."""
    for c in range(len(target)):
        target[c] += factor * source[c]


@njit
def longest(v, dv):  # type: ignore[no-untyped-def]
    """Largest step at which v + step dv stays non-negative."""
    step = 1e300
    for c in range(len(v)):
        if dv[c] < 0.0:
            step = min(step, -v[c] / dv[c])
    return step
