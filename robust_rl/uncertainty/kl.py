"""Kullback-Leibler ball:  U = { q : KL(q || p) = sum q log(q / p) <= sigma }, on the nominal support by nature.

The worst case tilts the nominal row, q_t proportional to p exp(-t z), with the t > 0 at which g(t) = KL(q_t || p) = sigma.
The function g increases, with g'(t) = t Var_{q_t}(z), from 0 to -log p(z = min z): a radius beyond that leaves all mass on
the minimum. Equivalently the value is

    max_{lambda >= 0}  -lambda log E_p exp(-z / lambda) - lambda sigma,        lambda = 1 / t,

which is minus the entropic value at risk of -z at level exp(-sigma). The multiplier is lambda. Newton's method, safeguarded by
bisection, stops at a relative error of 1e-13 in sigma; q is exact for the t reached, so the value is that of a member of the set.
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, exp_and_expm1, njit, vectorised
from robust_rl.uncertainty.base import NEGLIGIBLE, Array, RadiusSet
from robust_rl.uncertainty.layout import Layout
from robust_rl.uncertainty.sweeps import Sweeps, gathered, lowest_on_support, moments, shared

ITERATIONS = 200


@njit
def row(p, z, order, sigma, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    lowest, at_lowest, mean = np.inf, 0.0, 0.0
    for i in range(len(p)):
        if p[i] > 0:
            mean += p[i] * z[i]
            if z[i] < lowest:
                lowest, at_lowest = z[i], 0.0
            if z[i] == lowest:
                at_lowest += p[i]
    variance = 0.0
    for i in range(len(p)):
        variance += p[i] * (z[i] - mean) ** 2
    if sigma <= NEGLIGIBLE or variance == 0.0:
        q[:] = p
        return dot(q, z), math.inf if variance > 0.0 else 0.0
    if -math.log(at_lowest) <= sigma:
        for i in range(len(p)):
            q[i] = p[i] / at_lowest if z[i] == lowest else 0.0
        return lowest, 0.0
    t = _root(p, z, lowest, mean, sigma, math.sqrt(2 * sigma / variance), q)
    return dot(q, z), 1 / t


@njit
def _root(p, z, lowest, mean, sigma, t, q):  # type: ignore[no-untyped-def]
    """Solve KL(q_t || p) = sigma for t, from a first guess; leaves q_t in q."""
    low, high = 0.0, np.inf
    for _ in range(ITERATIONS):
        divergence, variance = _tilt(p, z, lowest, mean, t, q)
        error = divergence - sigma
        if abs(error) <= 1e-13 * sigma:
            return t
        if error > 0:
            high = t
        else:
            low = t
        slope = t * variance
        newton = t - error / slope if slope > 0.0 else np.inf
        if low < newton < high:
            t = newton
        else:
            t = 2 * t if high == np.inf else 0.5 * (low + high)
        if not low < t < high:
            break
    # the bracket is as narrow as numbers are: stay inside the set
    _tilt(p, z, lowest, mean, low, q)
    return low if low > 0.0 else t


@njit
def _tilt(p, z, lowest, mean, t, q):  # type: ignore[no-untyped-def]
    """Write q_t; return KL(q_t || p) and the variance of z under q_t."""
    total = tilted = 0.0
    for i in range(len(p)):
        q[i] = p[i] * math.exp(-t * (z[i] - lowest)) if p[i] > 0.0 else 0.0
        total += q[i]
    for i in range(len(p)):
        q[i] /= total
        tilted += q[i] * (z[i] - lowest)
    variance = 0.0
    for i in range(len(p)):
        variance += q[i] * (z[i] - lowest - tilted) ** 2
    if t * (mean - lowest) > 0.5:
        return -t * tilted - math.log(total), variance
    return _small_divergence(p, z, mean, t), variance


@njit
def _small_divergence(p, z, mean, t):  # type: ignore[no-untyped-def]
    """KL(q_t || p) from u = -t (z - E z), which doesn't cancel as t falls: E[u (e^u - 1)] / E e^u - log(1 + E[e^u - 1 - u])."""
    moment = excess = 0.0
    for i in range(len(p)):
        if p[i] > 0.0:
            u = -t * (z[i] - mean)
            moment += p[i] * u * math.expm1(u)
            if abs(u) > 0.05:
                excess += p[i] * (math.expm1(u) - u)
            else:
                series = 1 / 24 + u * (1 / 120 + u * (1 / 720 + u * (1 / 5040 + u / 40320)))
                excess += p[i] * u * u * (1 / 2 + u * (1 / 6 + u * series))
    return moment / (1.0 + excess) - math.log1p(excess)


@njit
def _worst(p, u, z, order, lowest, sigma, least, t):  # type: ignore[no-untyped-def]
    """Maximise the dual by Newton's method from the last sweep's t; ``least`` is exp(-sigma).

    With m the mean of z under q_t, the dual is m + (KL(q_t || p) - sigma) / t: a lower bound wherever it is stopped, and wrong
    by (KL - sigma)^2 / (2 t^3 Var) to second order, within a fifth as long as t moves by a tenth of 1 / range.
    """
    if sigma <= NEGLIGIBLE:
        return dot(p, z), 0.0
    lowest, at_lowest = lowest_on_support(p, z, order)
    if at_lowest >= least:
        return lowest, 0.0
    top = z[order[len(z) - 1]] - lowest
    if t <= 0.0:
        first, second = moments(p, z, lowest)
        variance = second - first * first
        t = math.sqrt(2.0 * sigma / variance) if variance > 0.0 else 1.0 / top
    low, high = 0.0, np.inf
    value = lowest
    for _ in range(ITERATIONS):
        total, loss, first, second = _tilted_moments(p, z, lowest, t)
        mean = first / total
        variance = max(second / total - mean * mean, 0.0)
        error = -t * mean - (math.log(total) if total < 0.5 else math.log1p(loss)) - sigma
        value = lowest + mean + error / t
        slope = t * variance
        step = -error / slope if slope > 0.0 else np.inf
        if error * error <= 1e-13 * top * t * t * slope and abs(step) * top <= 0.1:
            return value, t + step
        if error > 0.0:
            high = t
        else:
            low = t
        t += step
        if not low < t < high:
            t = 2.0 * low if high == np.inf else 0.5 * (low + high)
        if not low < t < high:
            break
    return value, 0.0


@vectorised
def _tilted_moments(p, z, lowest, t):  # type: ignore[no-untyped-def]
    """Sums of w, w - p, w y and w y^2 for y = z - lowest and w = p exp(-t y); for small t the second is lost in the first."""
    total = loss = first = second = 0.0
    for i in range(len(p)):
        y = z[i] - lowest
        y = y if y > 0.0 else 0.0  # states that p doesn't reach may lie lower; their weight is 0
        kept, change = exp_and_expm1(-t * y)
        w = p[i] * kept
        total += w
        loss += p[i] * change
        first += w * y
        second += w * y * y
    return total, loss, first, second


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


class KL(RadiusSet):
    """Ball ``KL(q || p) <= radius`` around each nominal row; q has the nominal support.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Kullback-Leibler divergence in nats.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative or not finite.

    Examples
    --------
    >>> worst = KL(0.1).worst_case([0.5, 0.5], [0.0, 1.0])
    >>> round(float(worst.value), 6), round(float((worst.q * np.log(worst.q / 0.5)).sum()), 6)
    (0.280205, 0.1)
    """

    name = "kl"
    norm = "Kullback-Leibler divergence in nats"
    row = row
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    sort = False
    error = 1e-12

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return p, the radii, and as slack the probability from which the lowest z can be given all mass."""
        return layout.p, None, radii, np.exp(-radii)
