"""Euclidean ball:  U = { q on the support : ||q - p||_2 <= kappa }.

Where no probability would turn negative the worst case is q = p - kappa (z - mean z) / ||z - mean z||, and the value p.z -
kappa ||z - mean z||. Else q is the projection of p - t z onto the simplex, whose distance from p grows with t: on the entries
that stay positive the distance is a quadratic in t with an exact root, which gives the next t, held within a bracket, until
the entries no longer change. The multiplier is kappa / t.
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import SupportedSet

ITERATIONS, LARGEST_STEP = 200, 1e16
NEGLIGIBLE = 1e-15  # a distance that probabilities don't resolve


@njit
def row(p, z, order, kappa, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    lowest = np.min(z)
    q[:] = p
    spread = _spread(z)
    if kappa <= NEGLIGIBLE or np.max(z) == lowest:
        return dot(q, z), 0.0 if np.max(z) == lowest else spread
    q -= (kappa / spread) * (z - np.mean(z))
    if np.min(q) >= 0.0:
        return dot(q, z), spread
    if _distance_to_face(p, z, lowest, q) <= kappa:
        return lowest, 0.0
    low, high, t = 0.0, np.inf, kappa / spread
    for _ in range(ITERATIONS):
        if _project(p, z, t, q) < kappa:
            low = t
        else:
            high = t
        root = _root(p, z, kappa, t, q)
        if abs(root - t) <= 1e-15 * t:
            break
        t = root if low < root < high else (2.0 * low if high == np.inf else 0.5 * (low + high))
        if t * (np.max(z) - lowest) > LARGEST_STEP:
            _distance_to_face(p, z, lowest, q)  # as good as the radius, by rounding
            return lowest, 0.0
        if not low < t < high:
            break
    _project(p, z, t, q)
    t = _on_active_entries(p, z, kappa, t, q)
    return dot(q, z), kappa / t


@njit
def _spread(z):  # type: ignore[no-untyped-def]
    mean = np.mean(z)
    return math.sqrt(np.sum((z - mean) ** 2))


@njit
def _distance_to_face(p, z, lowest, q):  # type: ignore[no-untyped-def]
    """Distance from p to the distributions on the minimum of z; leaves the nearest of them in q."""
    count, mass = 0, 0.0
    for i in range(len(p)):
        if z[i] == lowest:
            count += 1
            mass += p[i]
    square = 0.0
    for i in range(len(p)):
        q[i] = p[i] + (1.0 - mass) / count if z[i] == lowest else 0.0
        square += (q[i] - p[i]) ** 2
    return math.sqrt(square)


@njit
def _project(p, z, t, q):  # type: ignore[no-untyped-def]
    """Project p - t z onto the simplex, into q, and return its distance from p."""
    x = p - t * (z - np.min(z))
    total, level = 0.0, 0.0
    ascending = np.sort(x)
    for k in range(len(x)):
        highest = ascending[len(x) - 1 - k]
        total += highest
        candidate = (total - 1.0) / (k + 1)
        if highest <= candidate:
            break
        level = candidate
    square = 0.0
    for i in range(len(x)):
        q[i] = max(x[i] - level, 0.0)
        square += (q[i] - p[i]) ** 2
    return math.sqrt(square)


@njit
def _root(p, z, kappa, t, q):  # type: ignore[no-untyped-def]
    """Solve sum_active (a + t b_i)^2 + sum_idle p_i^2 = kappa^2 for t, where sum_active b_i = 0; the given t if there is none."""
    a, _, square, idle, count = _active(p, z, q)
    room = kappa * kappa - idle - count * a * a
    return math.sqrt(room / square) if square > 0.0 and room > 0.0 else t


@njit
def _on_active_entries(p, z, kappa, t, q):  # type: ignore[no-untyped-def]
    """Write the q of that root, and return it; keep the given one where rounding forbids it."""
    exact = _root(p, z, kappa, t, q)
    a, mean, _, _, _ = _active(p, z, q)
    for i in range(len(p)):
        if q[i] > 0.0 and p[i] + a - exact * (z[i] - mean) < 0.0:
            return t
    for i in range(len(p)):
        if q[i] > 0.0:
            q[i] = p[i] + a - exact * (z[i] - mean)
    return exact


@njit
def _active(p, z, q):  # type: ignore[no-untyped-def]
    """Shift a with which the entries with q > 0 sum to 1, their mean z, its squares about it, sum_idle p^2, their number."""
    count, mass, sum_z, idle = 0, 0.0, 0.0, 0.0
    for i in range(len(p)):
        if q[i] > 0.0:
            count += 1
            mass += p[i]
            sum_z += z[i]
        else:
            idle += p[i] * p[i]
    a, mean, square = (1.0 - mass) / count, sum_z / count, 0.0
    for i in range(len(p)):
        if q[i] > 0.0:
            square += (z[i] - mean) ** 2
    return a, mean, square, idle, count


class L2(SupportedSet):
    """Ball ``||q - p||_2 <= radius`` around each nominal row.

    Parameters
    ----------
    radius : float in [0, sqrt 2], or (S, A) array
        Euclidean distance.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        See :mod:`robust_rl.uncertainty.layout`. Free rows are written out in full, S entries each.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is outside [0, sqrt 2] or the support isn't given.

    Examples
    --------
    >>> worst = L2(0.2, support="free").worst_case([0.5, 0.5], [0.0, 2.0])
    >>> round(float(worst.value), 6)
    0.717157
    """

    name = "l2"
    norm = "Euclidean distance"
    row = row
    sort = False
    every_state = True
    largest = math.sqrt(2.0)
    error = 1e-12
