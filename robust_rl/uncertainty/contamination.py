"""R-contamination:  U = { (1 - R) p + R q' : q' any distribution on the support }.

The worst q' sits on a lowest z, so the value is (1 - R) p.z + R min z: the nominal backup with discount (1 - R) gamma plus a
constant. The set lies inside the total-variation ball of the same radius. The multiplier p.z - min z is minus the derivative
of the value in R.
"""

from __future__ import annotations

import numpy as np

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.base import SupportedSet
from robust_rl.uncertainty.expectation import start, step
from robust_rl.uncertainty.sweeps import Sweeps, folded, shared


@njit
def _row(p, z, order, radius, lower, upper, q):  # type: ignore[no-untyped-def]
    lowest = np.argmin(z)
    for i in range(len(p)):
        q[i] = (1 - radius) * p[i]
    q[lowest] += radius
    return dot(q, z), dot(p, z) - z[lowest]


@njit
def _finish(expected, lowest, radius, slack):  # type: ignore[no-untyped-def]
    return (1 - radius) * expected + radius * lowest


@njit
def _full_row(p, u, z, order, lowest, radius, slack, memory):  # type: ignore[no-untyped-def]
    return _finish(dot(p, z), lowest, radius, slack), memory


_short_rows = folded(start, step, _finish, ordered=False)
_full_rows = shared(_full_row)


@njit
def short_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows."""
    _short_rows(*arguments)


@njit
def full_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows that share z."""
    _full_rows(*arguments)


class Contamination(SupportedSet):
    """With probability ``radius`` the next state is the adversary's choice, else it is drawn from the nominal row (Huber).

    Parameters
    ----------
    radius : float in [0, 1], or (S, A) array
        Probability that the adversary chooses.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        What the adversary may choose from; see :mod:`robust_rl.uncertainty.layout`.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is outside [0, 1] or the support isn't given.

    Examples
    --------
    >>> float(Contamination(0.25, support="free").worst_case([0.5, 0.5], [0.0, 4.0]).value)
    1.5
    """

    name = "contamination"
    norm = "probability that the adversary chooses"
    row = _row
    sweeps = Sweeps(short_rows, full_rows, ordered=False)
    sort = False
    largest = 1.0
