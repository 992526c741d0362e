"""Robust policy iteration with exact evaluation.

For the greedy policy pi the adversary faces a minimisation MDP, solved by policy iteration on its side, which is Newton's method
on V = T_pi V: with P the kernel of pi that is worst at V,

    V <- V + (I - gamma P)^-1 (T_pi V - V),                                                                               (1)

from the value of the policy before. Written as a correction, a linear solver need only be as accurate as the next correction can
mend. Policies improve from one to the next, so with finitely many of them the iteration ends.

References: Howard (1960); Hoffman and Karp (1966) for one player's exact response; Nilim and El Ghaoui (2005).
"""

from __future__ import annotations

from robust_rl.solvers.acceleration import Array, Memoryless, Step, refuse_randomised
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.robust_evaluation import by_corrections

ROUNDS = 100


class PolicyIteration(Memoryless):
    """Eq. (1) for each greedy policy, until its value is known to a tenth of what the tolerance asks.

    Parameters
    ----------
    rounds : int
        At most so many corrections for one policy.
    """

    name = "policy iteration"

    def __init__(self, rounds: int = ROUNDS) -> None:
        self.rounds = rounds

    def check(self, backup: BellmanOperator) -> None:
        """Refuse sets whose best policies draw their actions."""
        refuse_randomised(backup, self.name)

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return the robust value of the greedy policy."""
        return by_corrections(backup, step.choice, step.applied, 0.1 * step.enough, rounds=self.rounds)
