"""Anderson acceleration of value iteration, safeguarded.

With residuals d_i = T V_i - V_i, and their differences and those of T V_i over the last few iterates,

    V_{k+1} = T V_k - sum_j c_j (T V_j - T V_{j-1}),    c minimising | d_k - sum_j c_j (d_j - d_{j-1}) |_2                (1)

where what d has the same in all states is left out if no state ends: the certificate doesn't see it. T is not smooth, and
eq. (1) alone may fail to converge. A proposal whose residual is larger than plain value iteration's is sure to be (the last
residual times T's modulus) is dropped together with the memory, and the plain step is taken instead: one application of T is
lost. Plain steps follow before the next try, twice as many after each failure.

References: Anderson (1965); Walker and Ni (2011) for the form of eq. (1); Geist and Scherrer (2018) for MDPs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robust_rl._numba import dot
from robust_rl.solvers.acceleration import Array, Step
from robust_rl.solvers.bellman import BellmanOperator

LONGEST_PAUSE = 64


class Anderson:
    """Eq. (1) with the safeguard.

    Parameters
    ----------
    memory : int
        Differences to combine.
    """

    name = "anderson acceleration"

    def __init__(self, memory: int = 5) -> None:
        self.memory = memory
        self._pause, self._rest, self._allowed = 1, 0, math.inf
        self._last: tuple[Array, ...] = ()
        self._changes: list[tuple[Array, ...]] = []
        self._gram = np.zeros((0, 0))

    def check(self, backup: BellmanOperator) -> None:
        """Accept every problem: nothing but T is used."""

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return eq. (1), or the plain step where that is due."""
        if step.residual > self._allowed:
            plain = self._last[1]
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._rest, self._allowed, self._last, self._changes, self._gram = self._pause, math.inf, (), [], np.zeros((0, 0))
            return plain
        if self._allowed < math.inf:
            self._pause = max(1, self._pause // 2)
        d = step.applied - step.value
        if not backup.model.terminal.any():
            d -= d.mean()
        self._remember(d, step.applied)
        self._rest -= 1
        self._allowed = math.inf if self._rest >= 0 or not self._changes else step.modulus * step.residual
        return step.applied if self._allowed == math.inf else self._combine()

    def arrays(self) -> dict[str, Any]:
        """Return past differences, and the residual that the next one must not exceed."""
        numbers = np.array([self._allowed, self._pause, self._rest])
        arrays = {"numbers": numbers, "gram": self._gram, "last": np.array(self._last)}
        return arrays | {"changes": np.array(self._changes)}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what ``arrays`` returned."""
        self._allowed, self._pause, self._rest = float(arrays["numbers"][0]), *map(int, arrays["numbers"][1:])
        self._gram, self._last = arrays["gram"], tuple(arrays["last"])
        self._changes = [tuple(pair) for pair in arrays["changes"]]

    def _remember(self, d: Array, applied: Array) -> None:
        """Note the differences from the last step, and their inner products."""
        if self._last:
            self._changes.append((d - self._last[0], applied - self._last[1]))
            products = np.array([dot(change, self._changes[-1][0]) for change, _ in self._changes])
            self._gram = np.block([[self._gram, products[:-1, None]], [products]])
        if len(self._changes) > self.memory:
            del self._changes[0]
            self._gram = self._gram[1:, 1:].copy()
        self._last = (d, applied)

    def _combine(self) -> Array:
        """Eq. (1), by normal equations with columns scaled to length 1."""
        d, applied = self._last
        against = np.array([dot(change, d) for change, _ in self._changes])
        scale = 1 / np.sqrt(np.maximum(np.diag(self._gram), np.finfo(float).tiny))
        weights = scale * np.linalg.lstsq(self._gram * np.outer(scale, scale), against * scale, rcond=1e-12)[0]
        value = applied.copy()
        for weight, (_, change) in zip(weights, self._changes, strict=True):
            value -= weight * change
        return value
