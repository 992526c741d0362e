"""Conditional value at risk:  U = { q : 0 <= q <= p / alpha, sum q = 1 }.

The worst case is the mean of the worst alpha of the mass, CVaR_alpha(z). A Bellman backup with this set is *nested* CVaR, the
risk measure applied step by step; the CVaR of the return as a whole is another problem, which needs the budget in the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from robust_rl._numba import dot, njit
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import RadiusSet
from robust_rl.uncertainty.interval import raise_from_below
from robust_rl.uncertainty.sweeps import Sweeps, folded, shared


@njit
def row(p, z, order, alpha, lower, upper, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    threshold = raise_from_below(z, order, np.zeros(len(p)), np.minimum(p / alpha, 1.0), q)
    value = dot(q, z)
    # in alpha the value grows: d/d alpha = (z at the quantile - value) / alpha
    return value, -(z[order[threshold]] - value) / alpha


@njit
def _start(alpha, slack):  # type: ignore[no-untyped-def]
    return 0.0, alpha


@njit
def _step(state, z, p, u, alpha, slack):  # type: ignore[no-untyped-def]
    value, left = state
    taken = min(p, left)
    return value + taken * z, left - taken


@njit
def _finish(state, lowest, alpha, slack):  # type: ignore[no-untyped-def]
    value, left = state
    # what rounding leaves over when the level is 1
    return value / (alpha - left)


@njit
def _full_row(p, u, z, order, lowest, alpha, slack, memory):  # type: ignore[no-untyped-def]
    """From whichever end has less mass to go through."""
    value, n = 0.0, len(z)
    if alpha < 0.5:
        left = alpha
        for t in range(n):
            k = order[t]
            taken = min(p[k], left)
            value += taken * z[k]
            left -= taken
            if left <= 0.0:
                break
        return value / (alpha - left), memory
    left = 1.0 - alpha
    for t in range(n - 1, -1, -1):
        if left <= 0.0:
            break
        k = order[t]
        taken = min(p[k], left)
        value -= taken * z[k]
        left -= taken
    return (dot(p, z) + value) / alpha, memory


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


class CVaR(RadiusSet):
    """Nested conditional value at risk: the mean of the worst ``level`` of each row's mass.

    Parameters
    ----------
    level : float in (0, 1], or (S, A) array
        Fraction of the mass that counts; 1 is the nominal row, towards 0 the worst successor.

    Raises
    ------
    InvalidUncertaintyError
        If the level is outside (0, 1].

    Examples
    --------
    >>> float(CVaR(0.5).worst_case([0.25, 0.25, 0.5], [0.0, 2.0, 4.0]).value)
    1.0
    """

    name = "cvar"
    norm = "fraction of the mass that counts"
    row = row
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    largest = 1.0
    point = 1.0
    argument = "level"

    def __init__(self, level: ArrayLike) -> None:
        super().__init__(level)
        if np.any(np.equal(self.radius, 0)):
            raise InvalidUncertaintyError("CVaR: level 0 is outside (0, 1] (fraction of the mass that counts)")

    def describe(self) -> dict[str, Any]:
        """Return the level."""
        return {"level": self.radius}
