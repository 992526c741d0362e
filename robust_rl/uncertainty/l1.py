"""L1 ball:  U = { q on the support : ||q - p||_1 <= kappa }, which is total variation of radius kappa / 2."""

from __future__ import annotations

from robust_rl._numba import njit
from robust_rl.uncertainty.base import Array, SupportedSet
from robust_rl.uncertainty.layout import Layout
from robust_rl.uncertainty.total_variation import TotalVariation
from robust_rl.uncertainty.total_variation import row as total_variation_row


@njit
def row(p, z, order, kappa, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    value, multiplier = total_variation_row(p, z, order, kappa / 2, lower, upper, q)
    return value, multiplier / 2


class L1(SupportedSet):
    """Ball ``||q - p||_1 <= radius`` around each nominal row.

    Parameters
    ----------
    radius : float in [0, 2], or (S, A) array
        L1 distance, twice the total variation.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        Where the mass may go; see :mod:`robust_rl.uncertainty.layout`.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is outside [0, 2] or the support isn't given.

    Examples
    --------
    >>> float(L1(0.4, support="free").worst_case([0.5, 0.5, 0.0], [1.0, 3.0, 0.0]).value)
    1.4
    """

    name = "l1"
    norm = "L1 distance, twice the total variation"
    row = row
    sweeps = TotalVariation.sweeps
    largest = 2.0

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return those of total variation."""
        return super().parameters(layout, radii / 2, bounds)
