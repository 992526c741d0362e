"""Reverse Kullback-Leibler (Burg) ball:  U = { q on the support : KL(p || q) = sum p log(p / q) <= sigma }.

With y = z - min z over the support, the worst case is q_i = l p_i / (y_i + e), l = 1 / sum p / (y + e), where e > 0 solves

    h(e) = sum p log(y + e) + log sum p / (y + e) = sigma,

h decreasing to 0. If p has no mass at the minimum, h(0) is finite; a larger sigma leaves q_i = l p_i / y_i with log l = sum p
log y - sigma, and the remaining mass on the minimum. The multiplier is l. The root is found in log e, where h is smooth over
many orders of magnitude. Equivalently the value is

    min z + max_{e >= 0}  exp( sum p log(y + e) - sigma ) - e,

a lower bound at any e, which is what the sweeps maximise.
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, log_minus_linear, njit, vectorised
from robust_rl.uncertainty.base import NEGLIGIBLE, SupportedSet
from robust_rl.uncertainty.sweeps import Sweeps, gathered, shared

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
            logs += p[i] * log_minus_linear(ratio)
            excess += p[i] * (ratio - 1.0) ** 2 / ratio
            inverse += p[i] / y
            square += p[i] / (y * y)
    return logs + math.log1p(excess), inverse, square


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


@njit
def _worst(p, u, z, order, lowest, sigma, slack, e):  # type: ignore[no-untyped-def]
    """Maximise the dual by Newton's method on h(e) = sigma in log e, from the last sweep's e; -1 stands for e = 0.

    With mean = E y, middle = mean + e, r = (y + e) / middle, whose mean is 1, and L = E[log r - (r - 1)], the dual is mean +
    middle (e^(L - sigma) - 1) and h = L + log(1 + E[(r - 1)^2 / r]): neither cancels as e grows. The dual's derivative in log e
    is e (e^(h - sigma) - 1), and twice what the last step could still gain is that times the step.
    """
    bottom, top = min(lowest, z[order[0]]), z[order[len(z) - 1]]
    mean = dot(p, z) - bottom
    if sigma <= NEGLIGIBLE or mean <= 1e-15 * (top - bottom):
        return bottom + mean, 0.0
    if e < 0.0 and _nothing_at(p, z, order, bottom):
        value, inside = _at_zero(p, z, bottom, mean, sigma)
        if inside:
            return value, -1.0
    if e <= 0.0:
        e = math.sqrt(max(_variance(p, z, bottom + mean), 1e-300) / (2.0 * sigma))
    x, low, high = min(max(math.log(e), -299.0), 299.0), -300.0, 300.0
    value, first = bottom, True
    for _ in range(ITERATIONS):
        e = math.exp(x)
        middle = mean + e
        logs, excess, square = _ratios(p, z, bottom, e, middle)
        divergence = logs + math.log1p(excess)
        if first and divergence < sigma and _nothing_at(p, z, order, bottom):  # then the root is lower, or e is 0
            at_zero, inside = _at_zero(p, z, bottom, mean, sigma)
            if inside:
                return at_zero, -1.0
        first = False
        value = bottom + mean + middle * math.expm1(logs - sigma)
        error = divergence - sigma
        if error > 0.0:
            low = x
        else:
            high = x
        slope = -e / middle * (square - excess * excess) / (1.0 + excess)
        step = -error / slope if slope < 0.0 else np.inf
        if abs(e * math.expm1(error) * step) <= 1e-13 * (top - bottom) and abs(step) <= 0.1:
            return value, math.exp(x + step)
        x = x + step if low < x + step < high else 0.5 * (low + high)
        if high - low <= 1e-15 * abs(x):
            break
    return value, 0.0


@njit
def _nothing_at(p, z, order, bottom):  # type: ignore[no-untyped-def]
    """Whether p gives the lowest states nothing."""
    t = 0
    while t < len(z) and z[order[t]] == bottom:
        if p[order[t]] > 0.0:
            return False
        t += 1
    return True


@njit
def _at_zero(p, z, bottom, mean, sigma):  # type: ignore[no-untyped-def]
    """The dual at e = 0, and whether it falls from there."""
    logs, excess, _ = _ratios(p, z, bottom, 0.0, mean)
    return bottom + mean * math.exp(logs - sigma), logs + math.log1p(excess) <= sigma


@vectorised
def _ratios(p, z, bottom, e, middle):  # type: ignore[no-untyped-def]
    """Sums of p (log r - (r - 1)), p (r - 1)^2 / r and p ((r - 1) / r)^2 for r = (z - bottom + e) / middle, where p > 0."""
    logs = excess = square = 0.0
    for i in range(len(p)):
        r = (z[i] - bottom + e) / middle if p[i] > 0.0 else 1.0
        change = (r - 1.0) / r
        logs += p[i] * log_minus_linear(r)
        excess += p[i] * (r - 1.0) * change
        square += p[i] * change * change
    return logs, excess, square


@vectorised
def _variance(p, z, mean):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(p)):
        total += p[i] * (z[i] - mean) ** 2
    return total


_short_rows = gathered(_worst, ordered=True)
_full_rows = shared(_worst)


@njit
def short_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows."""
    _short_rows(*arguments)


@njit
def full_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows that share z."""
    _full_rows(*arguments)


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
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    sort = False
    error = 1e-12
