"""Bounds on the optimal robust value that hold whatever the solver did before.

For the robust Bellman operator T, monotone with T(V + c) = TV + gamma c, and d = TV - V,

    TV + gamma/(1-gamma) min d  <=  V*  <=  TV + gamma/(1-gamma) max d,

and the policy that is greedy at V has robust value at least the lower bound. Terminal states, whose value is known to be 0,
belong in the minimum and maximum. Floating-point error of a backup is at most eta = (row length + 8) eps max|z|; the bounds
are widened by eta / (1 - gamma).
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


def span_certificate(
    value: Array, new_value: Array, discount: float, rounding: float, terminal: NDArray[np.bool_]
) -> Certificate:
    """Return the bounds above from one application ``new_value = T value``, both (S,), computed to within ``rounding``."""
    d, eta = new_value - value, rounding
    factor = discount / (1 - discount)
    lower = new_value + factor * d.min() - eta / (1 - discount)
    upper = new_value + factor * d.max() + eta / (1 - discount)
    return Certificate(np.where(terminal, 0.0, lower), np.where(terminal, 0.0, upper))
