"""Euclidean ball:  U = { q on the support : ||q - p||_2 <= kappa }.

Where no probability would turn negative the worst case is q = p - kappa (z - mean z) / ||z - mean z||, and the value p.z -
kappa ||z - mean z||. Else q is the projection of p - t z onto the simplex, whose distance from p grows with t: on the entries
that stay positive the distance is a quadratic in t with an exact root, which gives the next t, held within a bracket, until
the entries no longer change. The multiplier is kappa / t.

Sweeps need the value alone. With q_i = max(p_i - t (z_i - nu), 0) it is the highest, over t > 0 and nu, of

    q.z + nu (1 - sum q) + (||q - p||^2 - kappa^2) / (2 t),

a lower bound at any t and nu, whose maximum has sum q = 1 and ||q - p|| = kappa. For the entries that are positive at the last t
and nu both equations are solved at once.
"""

from __future__ import annotations

import math

import numpy as np

from robust_rl._numba import dot, njit, vectorised
from robust_rl.uncertainty.base import SupportedSet
from robust_rl.uncertainty.sweeps import Sweeps, gathered, shared

ITERATIONS, LARGEST_STEP, NEWTON = 200, 1e16, 30
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


@njit
def _worst(p, u, z, order, lowest, kappa, slack, t):  # type: ignore[no-untyped-def]
    """Solve for nu and the last sweep's t by Newton's method; where that doesn't settle, by the bracket of :func:`row`."""
    bottom = z[order[0]]
    top = z[order[len(z) - 1]] - bottom
    if kappa <= NEGLIGIBLE or top == 0.0:
        return dot(p, z), 0.0
    if _reaches_face(p, z, order, kappa):
        return bottom, 0.0
    nu = _total(z, bottom) / len(z)
    if t <= 0.0:
        t = kappa / math.sqrt(_squares(z, bottom + nu))
    for _ in range(NEWTON):
        count, mass, linear, square, cross, idle = _positive_part(p, z, bottom + nu, t)
        excess, beyond = mass - t * linear - 1.0, t * t * square + idle - kappa * kappa
        if count == 0.0:
            break
        mean, spread = linear / count, square - linear * linear / count
        room = kappa * kappa - idle - (1.0 - mass) ** 2 / count
        if not (room > 0.0 and spread > 0.0):
            break
        next_t = math.sqrt(room / spread)
        shift = mean + (1.0 - mass) / (next_t * count)
        gain = abs(excess * shift) + abs(beyond * (next_t - t)) / (2.0 * t * t)
        if gain <= 1e-13 * top and abs(next_t - t) <= 1e-2 * t:
            return bottom + nu + cross - t * square + beyond / (2.0 * t), next_t
        nu, t = nu + shift, next_t
    return row(p, z, order, kappa, p, p, np.empty(len(p)))[0], 0.0


@njit
def _reaches_face(p, z, order, kappa):  # type: ignore[no-untyped-def]
    """Whether the ball holds a distribution on the minimum of z."""
    count, mass, there = 0, 0.0, 0.0
    while count < len(z) and z[order[count]] == z[order[0]]:
        there += p[order[count]] ** 2
        mass += p[order[count]]
        count += 1
    moved = (1.0 - mass) ** 2 / count
    return moved <= kappa * kappa and moved + dot(p, p) - there <= kappa * kappa


@vectorised
def _total(z, bottom):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(z)):
        total += z[i] - bottom
    return total


@vectorised
def _squares(z, mean):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(z)):
        total += (z[i] - mean) ** 2
    return total


@vectorised
def _positive_part(p, z, nu, t):  # type: ignore[no-untyped-def]
    """Over the entries with p - t w > 0, w = z - nu: their number, and sums of p, w, w^2 and p w; of p^2 over the others."""
    count = mass = linear = square = cross = idle = 0.0
    for i in range(len(p)):
        w = z[i] - nu
        on = p[i] - t * w > 0.0
        mine, x = (p[i] if on else 0.0), (w if on else 0.0)
        count += 1.0 if on else 0.0
        mass += mine
        linear += x
        square += x * x
        cross += mine * x
        idle += (p[i] - mine) * p[i]
    return count, mass, linear, square, cross, idle


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
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    sort = False
    every_state = True
    largest = math.sqrt(2.0)
    error = 1e-12
