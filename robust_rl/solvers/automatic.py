"""The choice of an algorithm, from facts that cost next to nothing.

=====================================================  ==========================================================
what is seen                                           what is done
=====================================================  ==========================================================
the set's best policies may draw their actions         Anderson acceleration: needs nothing but T
no chance, and at every step more states reach their   value iteration, as long as that goes on, and after 25 steps
final values                                           only if 25 more look enough: it ends exactly, after as many
                                                       steps as the longest of the shortest paths
a large model of few actions, where a sweep of one     value iteration, as long as spreads shrink to .6 or less at
policy costs more than half of one of all, memory      every step
being the limit
else                                                   partial policy iteration, which looks at the rate of its
                                                       sweeps to choose between them and linear systems
=====================================================  ==========================================================

Measured in ``benchmarks/planners.md``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robust_rl.solvers.acceleration import Array, Step
from robust_rl.solvers.anderson import Anderson
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.partial_policy_iteration import PartialPolicyIteration

SETTLING, MIXING = "no chance, and states settle one after the other", "few actions, and values mix fast"
SOON = 25
LARGE, FEW, FAST = 500_000, 4, 0.6


class Automatic:
    """The table above. One solver's own, as every acceleration."""

    def __init__(self) -> None:
        self._inner: Anderson | PartialPolicyIteration = PartialPolicyIteration()
        self._plain = ""
        self._steps, self._before = 0, math.inf

    @property
    def name(self) -> str:
        """Algorithm that was taken, and why."""
        if isinstance(self._inner, Anderson):
            return f"{self._inner.name} (auto: the best policy may draw its actions)"
        if self._plain:
            return f"value iteration (auto: {self._plain})"
        return f"{self._inner.name} (auto: sweeps where they contract fast, linear systems where they don't)"

    def check(self, backup: BellmanOperator) -> None:
        """Choose for the problem, accepting every one."""
        layout = backup.layout
        if getattr(backup.uncertainty, "randomises", False):
            self._inner = Anderson()
        elif len(layout.p) <= len(layout.rows) and not layout.outside.size:
            self._plain = SETTLING
        elif len(layout.p) >= LARGE and len(layout.rows) <= FEW * layout.num_states:
            self._plain = MIXING

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return what the chosen algorithm returns."""
        if self._plain and not self._still_plain(step):
            self._plain = ""
        return step.applied if self._plain else self._inner.next_value(backup, step)

    def arrays(self) -> dict[str, Any]:
        """Return the state of the choice, and of what was chosen."""
        return {"choice": np.array([bool(self._plain), self._steps, self._before])} | self._inner.arrays()

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what ``arrays`` returned."""
        plain, self._steps, self._before = bool(arrays["choice"][0]), int(arrays["choice"][1]), float(arrays["choice"][2])
        self._plain = self._plain if plain else ""
        self._inner.restore(arrays)

    def _still_plain(self, step: Step) -> bool:
        """Whether plain steps go on as they were chosen for."""
        self._steps += 1
        if self._plain == MIXING:
            left, enough = step.spread, self._before * FAST
        else:
            left = float(np.count_nonzero(abs(step.applied - step.value) > step.enough))
            enough = self._before - max(1, 0 if self._steps <= SOON else left / SOON)
        self._before = left
        return left <= enough
