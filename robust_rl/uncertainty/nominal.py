"""The set that holds the nominal row alone, so that the plain problem runs on the same sweep, to the same bits as radius zero."""

from __future__ import annotations

from typing import Any

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import RectangularSet
from robust_rl.uncertainty.expectation import EXPECTATION


@njit
def _row(p, z, order, radius, lower, upper, q):  # type: ignore[no-untyped-def]
    q[:] = p
    return dot(q, z), 0.0


class Nominal(RectangularSet):
    """U = {p}: what ``uncertainty=None`` stands for."""

    name = "none"
    row = _row
    sweeps = EXPECTATION
    sort = False

    def describe(self) -> dict[str, Any]:
        """Return no arguments: there are none."""
        return {}
