"""Chi-square ball:  U = { q : sum (q - p)^2 / p <= sigma }, on the nominal support by nature.

The worst case is q_i = c p_i (alpha - y_i)_+ with y = z - min z on the support. Over the entries below alpha let A = sum p, B
= sum p y, C = sum p y^2; the constraint then gives

    alpha = ( B + sqrt( (A C - B^2) / (sigma A - (1 - A)) ) ) / A,        c = 1 / (alpha A - B),

which holds for the one set of lowest entries that has alpha above its own highest and not above the next. When nothing is
clipped, A = 1 and the value is E z - sqrt(sigma Var z). A radius of at least 1/p(z = min z) - 1 leaves all mass on the
minimum. The multiplier is 1 / (2 c).
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, njit, vectorised
from robust_rl.uncertainty.base import NEGLIGIBLE, RadiusSet
from robust_rl.uncertainty.sweeps import Sweeps, gathered, lowest_on_support, moments, shared

ITERATIONS = 100


@njit
def row(p, z, order, sigma, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    lowest = np.inf
    for i in range(len(p)):
        if p[i] > 0.0:
            lowest = min(lowest, z[i])
    at_lowest, mean, variance = 0.0, 0.0, 0.0
    for i in range(len(p)):
        mean += p[i] * (z[i] - lowest)
        at_lowest += p[i] if z[i] == lowest else 0.0
    for i in range(len(p)):
        variance += p[i] * (z[i] - lowest - mean) ** 2
    q[:] = p
    if sigma <= NEGLIGIBLE or variance == 0.0:
        return dot(q, z), math.inf if variance > 0.0 else 0.0
    alpha = 0.0 if 1.0 / at_lowest - 1.0 <= sigma else _threshold(p, z, order, sigma, lowest, mean, variance)
    if alpha <= 0.0:  # the radius allows it, or does so up to rounding
        for i in range(len(p)):
            q[i] = p[i] / at_lowest if z[i] == lowest else 0.0
        return lowest, 0.0
    # dropping entries by subtraction leaves rounding; the sums over those kept give it back
    a, f1, f2 = _kept(p, z, lowest, alpha)
    room = sigma * a - (1.0 - a)
    if room > 0.0 and 1.0 - a > 1e-6:
        alpha = max(alpha + math.sqrt(max(a * f2 - f1 * f1, 0.0) / room) / a - f1 / a, 0.5 * alpha)
    total = 0.0
    for i in range(len(p)):
        q[i] = p[i] * max(alpha - (z[i] - lowest), 0.0)
        total += q[i]
    for i in range(len(p)):
        q[i] /= total
    return dot(q, z), total / 2


@njit
def _threshold(p, z, order, sigma, lowest, mean, variance):  # type: ignore[no-untyped-def]
    """Drop the highest entries one by one until alpha is above all that are kept."""
    dropped, a, b, c = 0.0, 1.0, mean, variance + mean * mean
    alpha = mean + math.sqrt(variance / sigma)
    above = np.inf
    for t in range(len(p) - 1, -1, -1):
        i = order[t]
        if p[i] == 0.0:
            continue
        y = z[i] - lowest
        if alpha >= y:
            return min(alpha, above)
        dropped += p[i]
        a -= p[i]
        b -= p[i] * y
        c -= p[i] * y * y
        above = y
        room = sigma * a - dropped
        alpha = (b + math.sqrt(max(a * c - b * b, 0.0) / room)) / a if room > 0.0 and a > 0.0 else -np.inf
    return above


@njit
def _worst(p, u, z, order, lowest, sigma, slack, alpha):  # type: ignore[no-untyped-def]
    """Maximise the dual  alpha - sqrt((1 + sigma) E (alpha - y)_+^2), whose value is a lower bound wherever it is stopped.

    Each step solves for the entries that the last alpha keeps; the error left is of second order in the step.
    """
    if sigma <= NEGLIGIBLE:
        return dot(p, z), 0.0
    lowest, at_lowest = lowest_on_support(p, z, order)
    if at_lowest * (1.0 + sigma) >= 1.0:
        return lowest, 0.0
    top = z[order[len(z) - 1]] - lowest
    if alpha <= 0.0:
        mean, variance = _mean_and_variance(p, z, lowest)
        alpha = mean + math.sqrt(variance / sigma)
        if alpha >= top:
            return lowest + mean - math.sqrt(sigma * variance), 0.0
    low, high = 0.0, np.inf
    for _ in range(ITERATIONS):
        a, f1, f2 = _kept(p, z, lowest, alpha)
        root = math.sqrt((1.0 + sigma) * f2)
        slope = 1.0 - (1.0 + sigma) * f1 / root if root > 0.0 else 1.0
        if slope > 0.0:
            low = alpha
        else:
            high = alpha
        room = sigma * a - (1.0 - a)
        step = math.sqrt(max(a * f2 - f1 * f1, 0.0) / room) / a - f1 / a if room > 0.0 else np.inf
        curvature = (1.0 + sigma) * (a - f1 * f1 / f2) / root if f2 > 0.0 else np.inf
        if curvature * step * step <= 1e-13 * top and abs(step) <= 1e-3 * top:
            return lowest + alpha - root, alpha + step
        alpha += step
        if not low < alpha < high:
            alpha = 2.0 * low + 1e-3 * top if high == np.inf else 0.5 * (low + high)
        if not low < alpha < high:
            break
    return lowest + alpha - root, 0.0


@vectorised
def _kept(p, z, lowest, alpha):  # type: ignore[no-untyped-def]
    """Sums of p, p w and p w^2 over the entries with w = alpha - y > 0."""
    a = f1 = f2 = 0.0
    for i in range(len(p)):
        w = max(alpha - (z[i] - lowest), 0.0)
        a += p[i] if w > 0.0 else 0.0
        f1 += p[i] * w
        f2 += p[i] * w * w
    return a, f1, f2


@njit
def _mean_and_variance(p, z, lowest):  # type: ignore[no-untyped-def]
    """Of y = z - lowest, in one pass unless that cancels."""
    mean, second = moments(p, z, lowest)
    variance = second - mean * mean
    if variance < 1e-4 * second:
        variance = moments(p, z, lowest + mean)[1]
    return mean, variance


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


class ChiSquare(RadiusSet):
    """Ball ``sum (q - p)^2 / p <= radius`` around each nominal row; q has the nominal support.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Chi-square divergence.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative or not finite.

    Examples
    --------
    >>> float(ChiSquare(0.25).worst_case([0.5, 0.5], [0.0, 1.0]).value)
    0.25
    """

    name = "chi2"
    norm = "chi-square divergence"
    row = row
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    error = 1e-12
