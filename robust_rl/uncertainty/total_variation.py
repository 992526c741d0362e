"""Total variation:  U = { q on the support : 1/2 ||q - p||_1 <= sigma }.

The worst case takes mass sigma away from the highest z downwards and puts it on a lowest one (Iyengar, 2005); with m = min z
it equals the dual  max_alpha  p.min(z, alpha) - sigma (alpha - m),  whose maximiser alpha* is the (1 - sigma)-quantile of z
under p, and

    value = sigma m + (1 - sigma) CVaR_{1-sigma}(z).

The multiplier is alpha* - m: minus the right derivative of the value in sigma. Among equal z the entries of lowest index keep
their mass the longest, and the first of the lowest receives what is moved. An L1 ball of radius kappa is total variation
kappa / 2.
"""

from __future__ import annotations

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import SupportedSet
from robust_rl.uncertainty.sweeps import Sweeps, folded, shared


@njit
def row(p, z, order, sigma, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    q[:] = p
    lowest = order[0]
    left = sigma
    alpha = z[lowest]
    for t in range(len(p) - 1, 0, -1):
        i = order[t]
        if p[i] > left:
            q[i] -= left
            q[lowest] += left
            alpha = z[i]
            break
        q[lowest] += p[i]
        q[i] = 0.0
        left -= p[i]
    return dot(q, z), alpha - z[lowest]


@njit
def _start(sigma, slack):  # type: ignore[no-untyped-def]
    return 0.0, 0.0, 0.0


@njit
def _step(state, z, p, u, sigma, slack):  # type: ignore[no-untyped-def]
    """Keep the lowest 1 - sigma of the mass."""
    value, below, kept = state
    below += p
    now = min(below, 1.0 - sigma)
    return value + (now - kept) * z, below, now


@njit
def _finish(state, lowest, sigma, slack):  # type: ignore[no-untyped-def]
    value, _, kept = state
    return value + (1.0 - kept) * lowest


@njit
def _full_row(p, u, z, order, lowest, sigma, slack, memory):  # type: ignore[no-untyped-def]
    """Take sigma off the top of the expectation: no more of the row is visited in order than what moves."""
    value, left, t = dot(p, z), sigma, len(z) - 1
    while t >= 0 and left > 0.0:
        i = order[t]
        moved = min(p[i], left)
        value -= moved * (z[i] - lowest)
        left -= moved
        t -= 1
    return value, memory


_short_rows = folded(_start, _step, _finish, ordered=True)
_full_rows = shared(_full_row)


@njit
def short_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows."""
    _short_rows(*arguments)


@njit
def full_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows that share z."""
    _full_rows(*arguments)


class TotalVariation(SupportedSet):
    """Ball of total variation ``1/2 ||q - p||_1 <= radius`` around each nominal row.

    Parameters
    ----------
    radius : float in [0, 1], or (S, A) array
        Total variation, half the L1 distance: the largest mass that may move.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        Where the mass may go. There is no default, since it changes the answer: see :mod:`robust_rl.uncertainty.layout`.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is outside [0, 1] or the support isn't given.

    Examples
    --------
    >>> worst = TotalVariation(0.2, support="free").worst_case([0.5, 0.5, 0.0], [1.0, 3.0, 0.0])
    >>> float(worst.value), worst.q
    (1.4, array([0.5, 0.3, 0.2]))
    """

    name = "tv"
    norm = "total variation, half the L1 distance"
    row = row
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    largest = 1.0
