"""The equilibrium of largest entropy: max -sum_a x(a) log x(a) over the distributions with G x <= delta.

It is unique, and symmetric where the game is. A primal-dual interior point method: Newton on

    log x + 1 + G' y + t 1 = 0,      G x + s = delta,      1 . x = 1,      y s = mu,      x, y, s > 0,              (1)

with mu falling to 0. Eliminating dy, ds and scaling by the root of x, dx = X^1/2 u,

    (I + X^1/2 G' S^-1 Y G X^1/2) u + X^1/2 1 dt = X^1/2 g,     g = -(log x + 1 + G' y + t 1) - G' S^-1 (mu - y s + Y (G x + s - delta))    (2)

whose matrix has eigenvalues of at least 1. delta = 1e-10 of each player's range: many games have equilibria but none with G x < 0,
and Newton's method needs an interior. So the regret of the answer is up to delta times the number of own actions, and the
entropy that of the slightly larger set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import dot, njit
from robust_rl._threads import run_blocks
from robust_rl.equilibria.checks import Array
from robust_rl.equilibria.gaps import num_deviations, write_incentives
from robust_rl.equilibria.programs import blocks, scale_payoffs
from robust_rl.equilibria.pure import dominant_action

DELTA = 1e-10
ITERATIONS = 300
CENTRED = 1e-13  # mu at the end


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
        interior_point(incentives, policies[k])


@njit
def interior_point(incentives, x):  # type: ignore[no-untyped-def]
    """Write the solution into ``x`` (n,)."""
    m, n = incentives.shape
    x[:] = 1.0 / n
    y, s, t = np.ones(m), np.empty(m), 0.0
    dx, dy, ds, residual = np.empty(n), np.empty(m), np.empty(m), np.empty(m)
    for d in range(m):
        s[d] = max(DELTA - dot(incentives[d], x), 0.1)
    matrix, root, right, ones = np.empty((n, n)), np.empty(n), np.empty(n), np.empty(n)
    stationary, transposed = np.empty(n), np.empty(n)
    for _ in range(ITERATIONS):
        mu, infeasible = dot(y, s) / m, 0.0
        for d in range(m):
            residual[d] = dot(incentives[d], x) + s[d] - DELTA
            infeasible = max(infeasible, abs(residual[d]))
        if mu < CENTRED and infeasible < 0.01 * DELTA:
            break
        centre = 0.1 * mu
        transposed[:] = 0.0
        for d in range(m):
            add(transposed, y[d] + (centre - y[d] * s[d] + y[d] * residual[d]) / s[d], incentives[d])
        for a in range(n):
            root[a] = np.sqrt(x[a])
            right[a] = -root[a] * (np.log(x[a]) + 1.0 + t + transposed[a])
            ones[a] = root[a]
        fill_matrix(matrix, incentives, root, y, s)
        factorise(matrix)
        solve_factorised(matrix, right)
        solve_factorised(matrix, ones)
        dt = (dot(root, right) - (1.0 - x.sum())) / dot(root, ones)
        for a in range(n):
            dx[a] = root[a] * (right[a] - dt * ones[a])
        for d in range(m):
            ds[d] = -residual[d] - dot(incentives[d], dx)
            dy[d] = (centre - y[d] * s[d] - y[d] * ds[d]) / s[d]
        length = min(1.0, 0.995 * longest(x, dx), 0.995 * longest(y, dy), 0.995 * longest(s, ds))
        add(x, length, dx)
        add(y, length, dy)
        add(s, length, ds)
        t += length * dt
    x /= x.sum()


@njit
def fill_matrix(matrix, incentives, root, y, s):  # type: ignore[no-untyped-def]
    """Lower half of the matrix of (2); the gains of CE are mostly zero, and those are left out."""
    n = len(root)
    matrix[:] = 0.0
    row = np.empty(n)
    for d in range(len(y)):
        scale = np.sqrt(y[d] / s[d])
        for a in range(n):
            row[a] = scale * incentives[d, a] * root[a]
        for a in range(n):
            if row[a] != 0.0:
                add(matrix[a, : a + 1], row[a], row[: a + 1])
    for a in range(n):
        matrix[a, a] += 1.0


@njit
def factorise(matrix):  # type: ignore[no-untyped-def]
    """Cholesky, in the lower half."""
    for a in range(len(matrix)):
        for b in range(a):
            matrix[a, b] = (matrix[a, b] - dot(matrix[a, :b], matrix[b, :b])) / matrix[b, b]
        matrix[a, a] = np.sqrt(max(matrix[a, a] - dot(matrix[a, :a], matrix[a, :a]), 1e-8))


@njit
def solve_factorised(matrix, right):  # type: ignore[no-untyped-def]
    """Solve in place."""
    n = len(right)
    for a in range(n):
        right[a] = (right[a] - dot(matrix[a, :a], right[:a])) / matrix[a, a]
    for a in range(n - 1, -1, -1):
        right[a] /= matrix[a, a]
        add(right[:a], -right[a], matrix[a, :a])


@njit
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
