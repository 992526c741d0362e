"""The equilibrium of largest entropy: max -sum_a x(a) log x(a) over the distributions with G x <= 0.

A primal-dual interior point method: Newton on

    log x + 1 + G' y + t 1 = 0,      G x + s = 0,      1 . x = 1,      y s = mu,      x, y, s > 0,                    (1)

with mu falling to 0. The constraints are linear, so that they hold to rounding after one full step.
"""

from __future__ import annotations

import numpy as np

from robust_rl.equilibria.checks import Array

ITERATIONS = 200


def max_entropy(incentives: Array) -> Array:
    """Return x (M,) for G (m, M)."""
    m, n = incentives.shape
    x, y, s, t = np.full(n, 1 / n), np.ones(m), np.ones(m), 0.0
    for _ in range(ITERATIONS):
        mu = y @ s / m
        stationary = np.log(x) + 1 + incentives.T @ y + t
        feasible = incentives @ x + s
        if mu < 1e-13 and abs(feasible).max() < 1e-13:
            break
        centre = 0.1 * mu
        # dx = -x (stationary + G' dy + dt);  ds = -feasible - G dx;  s dy + y ds = centre - y s
        weighted = incentives * x
        left = np.zeros((m + 1, m + 1))
        left[:m, :m] = weighted @ incentives.T + np.diag(s / y)
        left[:m, m] = left[m, :m] = weighted.sum(axis=1)
        left[m, m] = x.sum()
        right = np.append(feasible - weighted @ stationary + (centre - y * s) / y, x.sum() - 1 - x @ stationary)
        step = np.linalg.lstsq(left, right, rcond=None)[0]
        dy, dt = step[:m], step[m]
        dx = -x * (stationary + incentives.T @ dy + dt)
        ds = -feasible - incentives @ dx
        length = min(1.0, *(0.99 / max(1e-300, (-d / v).max()) for d, v in ((dx, x), (dy, y), (ds, s))))
        x, y, s, t = x + length * dx, y + length * dy, s + length * ds, t + length * dt
    return x / x.sum()
