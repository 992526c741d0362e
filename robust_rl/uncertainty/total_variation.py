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
    largest = 1.0
