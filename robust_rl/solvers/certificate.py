"""Bounds on the optimal robust value that hold whatever the solver did before.

For the robust Bellman operator T, monotone with T(V + c) = TV + gamma c, and d = TV - V,

    TV + gamma/(1-gamma) min d  <=  V*  <=  TV + gamma/(1-gamma) max d,

and the policy that is greedy at V has robust value at least the lower bound. Terminal states, whose value is known to be 0,
belong in the minimum and maximum. Floating-point error of a backup is at most eta = (row length + 8) eps max|z|; the bounds
are widened by eta / (1 - gamma).

A bound is TV plus a shift, the same for every state that isn't terminal. Only the shifts are computed at every step, from two
numbers; arrays are made when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """Proved bounds, ``lower <= optimal robust value <= upper``, each shaped like the value."""

    lower: Array
    upper: Array

    @property
    def gap(self) -> float:
        """Largest width of the bounds."""
        return float((self.upper - self.lower).max(initial=0.0))


class SpanBounds:
    """The bounds above, from the range of d = TV - V.

    Attributes
    ----------
    factor : float
        The gap is ``factor * (max d - min d)``, and ``2 * blur * eta`` for rounding.
    blur : float
    modulus : float
        What plain value iteration reduces :meth:`residual` by, at least.
    """

    def __init__(self, discount: float) -> None:
        self.factor, self.blur, self.modulus = discount / (1 - discount), 1 / (1 - discount), discount

    def shifts(self, lowest: float, highest: float, eta: float) -> tuple[float, float]:
        """Return what to add to TV for the lower and the upper bound, where min d and max d are given."""
        return self.factor * lowest - eta * self.blur, self.factor * highest + eta * self.blur

    def gap(self, spread: float, eta: float) -> float:
        """Return the largest width of the bounds, for ``spread = max d - min d``."""
        return self.factor * spread + 2 * eta * self.blur

    def residual(self, d: Array) -> float:
        """Return the size of d that measures progress: its span, in which T is a contraction."""
        return float(d.max() - d.min())
