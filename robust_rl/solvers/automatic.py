"""The choice of an algorithm, from facts that cost next to nothing.

=====================================================  ==========================================================
what is seen                                           what is done
=====================================================  ==========================================================
the set's best policies may draw their actions         Anderson acceleration: needs nothing but T
no chance, and at every step more states reach their   value iteration, as long as that goes on, and after 25 steps
final values                                           only if 25 more look enough: it ends exactly, after as many
                                                       steps as the longest of the shortest paths
else                                                   partial policy iteration, which looks at the rate of its
                                                       sweeps to choose between them and linear systems
=====================================================  ==========================================================

Measured in ``benchmarks/planners.md``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robust_rl.solvers.acceleration import Array, Step
from robust_rl.solvers.anderson import Anderson
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.partial_policy_iteration import PartialPolicyIteration

SOON = 25


class Automatic:
    """The table above. One solver's own, as every acceleration."""

    def __init__(self) -> None:
        self._inner: Anderson | PartialPolicyIteration = PartialPolicyIteration()
        self._certain = False
        self._steps, self._unsettled = 0, -1

    @property
    def name(self) -> str:
        """Algorithm that was taken, and why."""
        if isinstance(self._inner, Anderson):
            return f"{self._inner.name} (auto: the best policy may draw its actions)"
        if self._certain:
            return "value iteration (auto: no chance, and states settle one after the other)"
        return f"{self._inner.name} (auto: sweeps where they contract fast, linear systems where they don't)"

    def check(self, backup: BellmanOperator) -> None:
        """Choose for the problem, accepting every one."""
        if getattr(backup.uncertainty, "randomises", False):
            self._inner = Anderson()
        else:
            self._certain = len(backup.layout.p) <= len(backup.layout.rows) and not backup.layout.outside.size

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return what the chosen algorithm returns."""
        if self._certain:
            before, self._unsettled = self._unsettled, int(np.count_nonzero(abs(step.applied - step.value) > step.enough))
            settled, self._steps = before - self._unsettled, self._steps + 1
            self._certain = before < 0 or (settled > 0 and (self._steps <= SOON or self._unsettled <= SOON * settled))
        return step.applied if self._certain else self._inner.next_value(backup, step)

    def arrays(self) -> dict[str, Any]:
        """Return the state of the choice, and of what was chosen."""
        return {"choice": np.array([self._certain, self._steps, self._unsettled])} | self._inner.arrays()

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what ``arrays`` returned."""
        certain, self._steps, self._unsettled = map(int, arrays["choice"])
        self._certain = bool(certain)
        self._inner.restore(arrays)
