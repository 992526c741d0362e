"""Reverse Kullback-Leibler (Burg) ball:  U = { q on the support : KL(p || q) = sum p log(p / q) <= sigma }.

With y = z - min z over the support, the worst case is q_i = l p_i / (y_i + e), l = 1 / sum p / (y + e), where e > 0 solves

    h(e) = sum p log(y + e) + log sum p / (y + e) = sigma,

h decreasing to 0. If p has no mass at the minimum, h(0) is finite; a larger sigma leaves q_i = l p_i / y_i with log l = sum p
log y - sigma, and the remaining mass on the minimum. The multiplier is l. The root is found in log e, where h is smooth over
many orders of magnitude.
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import NEGLIGIBLE, SupportedSet

ITERATIONS = 200


@njit
def row(p, z, order, sigma, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    target = np.argmin(z)
    lowest, mean = z[target], dot(p, z)
    variance, at_lowest = 0.0, 0.0
    for i in range(len(p)):
        variance += p[i] * (z[i] - mean) ** 2
        if z[i] == lowest:
            at_lowest += p[i]
    q[:] = p
    if sigma <= NEGLIGIBLE or mean == lowest:
        return dot(q, z), math.inf if mean > lowest else 0.0
    if at_lowest == 0.0 and _h(p, z, lowest, 0.0)[0] <= sigma:
        scale = 0.0
        for i in range(len(p)):
            if p[i] > 0.0:
                scale += p[i] * math.log(z[i] - lowest)
        scale = math.exp(scale - sigma)
        rest = 1.0
        for i in range(len(p)):
            if p[i] > 0.0:
                q[i] = scale * p[i] / (z[i] - lowest)
                rest -= q[i]
        q[target] += max(rest, 0.0)
        return dot(q, z), scale
    e = _root(p, z, lowest, sigma, math.sqrt(max(variance, 1e-300) / (2 * sigma)))
    scale = 1.0 / _h(p, z, lowest, e)[1]
    total = 0.0
    for i in range(len(p)):
        q[i] = scale * p[i] / (z[i] - lowest + e)
        total += q[i]
    for i in range(len(p)):
        q[i] /= total
    return dot(q, z), scale


@njit
def _h(p, z, lowest, e):  # type: ignore[no-untyped-def]
    """Return h(e), sum p / (y + e) and sum p / (y + e)^2 over the nominal support.

    With u = (y - E y) / (E y + e), whose mean is 0, h = E[log(1 + u) - u] + log(1 + E[u^2 / (1 + u)]): no cancelling as e grows.
    """
    middle = e
    for i in range(len(p)):
        middle += p[i] * (z[i] - lowest)
    logs = excess = inverse = square = 0.0
    for i in range(len(p)):
        if p[i] > 0.0:
            y = z[i] - lowest + e
            ratio = y / middle
            logs += p[i] * _log_minus_linear(ratio)
            excess += p[i] * (ratio - 1.0) ** 2 / ratio
            inverse += p[i] / y
            square += p[i] / (y * y)
    return logs + math.log1p(excess), inverse, square


@njit
def _log_minus_linear(ratio):  # type: ignore[no-untyped-def]
    """log(1 + u) - u for u = ratio - 1, by its series where that is small."""
    u = ratio - 1.0
    if abs(u) > 0.01:
        return math.log(ratio) - u
    series = 1 / 4 - u * (1 / 5 - u * (1 / 6 - u * (1 / 7 - u / 8)))
    return -u * u * (1 / 2 - u * (1 / 3 - u * series))


@njit
def _root(p, z, lowest, sigma, e):  # type: ignore[no-untyped-def]
    """Solve h(e) = sigma by Newton's method in x = log e, within a bracket.

    dh/dx = e (sum p / (y + e) - sum p / (y + e)^2 / sum p / (y + e)).
    """
    x, low, high = math.log(e), -300.0, 300.0  # squares of e stay within floating point
    x = min(max(x, low + 1.0), high - 1.0)
    for _ in range(ITERATIONS):
        value, inverse, square = _h(p, z, lowest, math.exp(x))
        error = value - sigma
        if abs(error) <= 1e-13 * sigma or high - low <= 1e-15 * abs(x):
            break
        if error > 0.0:
            low = x
        else:
            high = x
        slope = math.exp(x) * (inverse - square / inverse)
        newton = x - error / slope if slope < 0.0 else np.inf
        x = newton if newton > low and newton < high else 0.5 * (low + high)
    return math.exp(x)


class ReverseKL(SupportedSet):
    """Ball ``KL(p || q) <= radius`` around each nominal row, also known by Burg's entropy.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Kullback-Leibler divergence of the nominal row from q, in nats.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        Where q may put mass that p doesn't; see :mod:`robust_rl.uncertainty.layout`.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative or not finite, or the support isn't given.

    Examples
    --------
    >>> worst = ReverseKL(0.1, support="nominal").worst_case([0.5, 0.5], [0.0, 1.0])
    >>> round(float(worst.value), 6), round(float((0.5 * np.log(0.5 / worst.q)).sum()), 6)
    (0.287121, 0.1)
    """

    name = "reverse-kl"
    norm = "Kullback-Leibler divergence of p from q, in nats"
    row = row
    sort = False
    error = 1e-12
