"""Robust modified policy iteration: improve the policy, then evaluate it by a few sweeps.

    V_{k+1} = T_pi^m (T V_k),    pi greedy at V_k                                                                         (1)

A sweep of T_pi costs one row a state where T costs one for every action.

References: Puterman and Shin (1978); Kaufman and Schaefer (2013) for robust models.
"""

from __future__ import annotations

from robust_rl.solvers.acceleration import Array, Memoryless, Step, refuse_randomised
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.robust_evaluation import by_sweeps


class ModifiedPolicyIteration(Memoryless):
    """Eq. (1).

    Parameters
    ----------
    sweeps : int
        m, a bound: sweeps end where the policy is known as well as the tolerance asks.
    """

    name = "modified policy iteration"

    def __init__(self, sweeps: int = 10) -> None:
        self.sweeps = sweeps

    def check(self, backup: BellmanOperator) -> None:
        """Refuse sets whose best policies draw their actions."""
        refuse_randomised(backup, self.name)

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return eq. (1)."""
        return by_sweeps(backup, step.choice, step.applied, 0.1 * step.enough, sweeps=self.sweeps)
