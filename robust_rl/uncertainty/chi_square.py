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

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import NEGLIGIBLE, RadiusSet


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
    error = 1e-12
