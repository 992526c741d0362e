"""Lowest expectations over sets that no linear program describes, from their duals. Shares no code with the library."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import logsumexp, xlogy


def _maximum(function, low, high):
    """Maximum over x > 0 of a function unimodal in log x, by grids each 25 times finer; the function takes a column of x."""
    for _ in range(8):
        grid = np.linspace(low, high, 51)
        values = function(10.0 ** grid[:, None])
        best = int(np.argmax(values))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 50)]
    return float(values[best])


def kl(p, z, radius, allowed):
    """max over lambda of -lambda log E exp(-z / lambda) - lambda sigma, or min z at lambda = 0."""
    p, z = p[p > 0], z[p > 0]
    mean = p @ z
    if radius == 0:
        return mean
    dual = _maximum(lambda x: -x[:, 0] * (logsumexp(-(z - mean) / x, b=p, axis=1) + radius), -9, 8)
    return max(dual + mean, z.min())


def kl_divergence(q, p):
    """Return sum q log(q / p), infinite where q has mass that p hasn't."""
    if ((q > 0) & (p == 0)).any():
        return np.inf
    keep = q > 0
    return float((xlogy(q[keep], q[keep]) - xlogy(q[keep], p[keep])).sum())


def chi_square(p, z, radius, allowed):
    """max over alpha of E min(z, alpha) - sqrt(sigma Var min(z, alpha))."""
    p, z = p[p > 0], z[p > 0]

    def dual(alpha):
        clipped = np.minimum(z, alpha)
        mean = p @ clipped
        return mean - np.sqrt(radius * (p @ (clipped - mean) ** 2))

    # concave in alpha between neighbouring values of z: grids within each, finer and finer
    best = max(dual(edge) for edge in z)
    for low, high in pairwise(np.unique(z)):
        for _ in range(7):
            grid = np.linspace(low, high, 51)
            values = [dual(alpha) for alpha in grid]
            top = int(np.argmax(values))
            low, high = grid[max(top - 1, 0)], grid[min(top + 1, 50)]
        best = max(best, values[top])
    return best


def chi_square_divergence(q, p):
    """Return sum (q - p)^2 / p, infinite where q has mass that p hasn't."""
    if ((q > 0) & (p == 0)).any():
        return np.inf
    keep = p > 0
    return float(((q[keep] - p[keep]) ** 2 / p[keep]).sum())


def reverse_kl(p, z, radius, allowed):
    """max over e >= 0 of exp(E log(z - m + e) - sigma) - e, plus m, the lowest z on the support."""
    lowest = z[allowed].min()
    if radius == 0:
        return p @ z
    p, y = p[p > 0], z[p > 0] - lowest

    def dual(e):
        return np.exp(np.log(y + e) @ p - radius) - e[:, 0]

    at_zero = float(dual(np.zeros((1, 1)))[0]) if (y > 0).all() else 0.0
    return max(_maximum(dual, -12, 8), at_zero) + lowest


def l2(p, z, radius, allowed):
    """The problem itself, by a conic solver, which is good to 1e-7."""
    cvxpy = pytest.importorskip("cvxpy")
    q = cvxpy.Variable(int(allowed.sum()), nonneg=True)
    scale = 1 + abs(z).max()
    problem = cvxpy.Problem(cvxpy.Minimize(q @ (z[allowed] / scale)), [cvxpy.sum(q) == 1, cvxpy.norm(q - p[allowed]) <= radius])
    problem.solve(solver="CLARABEL")
    return problem.value * scale
