"""Gauss-Seidel: sweeps that use each new value at once.

The states are taken in blocks, and each block sees the newest values of all others. Sweeps run forth and back in turn: where
rewards are far away, news of them travels a whole direction in one sweep. Every block update is part of an application of T, so
the sweeps contract in the sup norm as T does; the certificate comes from the plain application that follows them.

Unlike T, such sweeps turn an error that is the same in all states into one that isn't, and the span sees it. So they start from
the middle of the bounds, as long as spreads fall by a tenth from one certificate to the next: the middle may be off by half the
gap, which the contraction need not make up for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robust_rl.solvers.acceleration import Array, Step
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.uncertainty.backup import Groups


class GaussSeidel:
    """Some Gauss-Seidel sweeps between two plain ones.

    Parameters
    ----------
    sweeps : int
    blocks : int
        Number of blocks, if there are so many states.
    """

    name = "gauss-seidel"

    def __init__(self, sweeps: int = 4, blocks: int = 16) -> None:
        self.sweeps, self.blocks = sweeps, blocks
        self._cut_groups: Groups | None = None
        self._parts: list[tuple[int, int, Groups]] = []
        self._spread = math.inf
        self._from_middle = True

    def check(self, backup: BellmanOperator) -> None:
        """Accept every problem."""

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return TV, or the middle of its bounds, after the sweeps."""
        if self._cut_groups is not step.groups:
            self._cut_groups, self._parts = step.groups, self._cut(step.groups)
        self._from_middle &= step.spread <= 0.9 * self._spread
        self._spread = step.spread
        start = step.applied + step.middle if self._from_middle else step.applied
        value = np.where(backup.model.terminal, 0.0, start)
        for k in range(self.sweeps):
            for first, last, groups in self._parts[:: 1 if k % 2 else -1]:
                value[first:last], _ = backup.sweep(value, groups)
        return value

    def arrays(self) -> dict[str, Any]:
        """Return the last spread, and whether sweeps still start from the middle."""
        return {"spread": np.array(self._spread), "from_middle": np.array(self._from_middle)}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what ``arrays`` returned."""
        self._spread, self._from_middle = float(arrays["spread"]), bool(arrays["from_middle"])

    def _cut(self, groups: Groups) -> list[tuple[int, int, Groups]]:
        states = len(groups.ptr) - 1
        size = max(1, -(-states // self.blocks))
        parts = []
        for first in range(0, states, size):
            ptr = groups.ptr[first : first + size + 1]
            parts.append((first, min(first + size, states), Groups(ptr - ptr[0], groups.rows[ptr[0] : ptr[-1]])))
        return parts
