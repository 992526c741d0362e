"""Partial policy iteration: evaluate each policy only as well as the next improvement can use.

Policy k is evaluated, as :mod:`robust_rl.solvers.robust_evaluation` says, until values spread in a sweep of T_pi by at most

    eps_{k+1} = min(gamma^c eps_k, share * spread of T V_k - V_k),     c > 1                                              (1)

The first bound makes errors shrink faster than the values converge, so that the iteration converges at least as fast as value
iteration; the second follows the iteration where that is faster. Sweeps whose rate shows that they won't be done soon give way
to linear systems.

References: Ho, Petrik and Wiesemann (2021), for the first bound; the second is this library's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robust_rl.solvers.acceleration import Array, Step, refuse_randomised
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.robust_evaluation import by_sweeps

SWEEPS = 10_000


class PartialPolicyIteration:
    """Eq. (1).

    Parameters
    ----------
    power : float
        c.
    share : float
        Part of the present spread that an evaluation may leave.
    """

    name = "partial policy iteration"

    def __init__(self, power: float = 2.0, share: float = 0.02) -> None:
        self.power, self.share = power, share
        self.accuracy = math.inf

    def check(self, backup: BellmanOperator) -> None:
        """Refuse sets whose best policies draw their actions."""
        refuse_randomised(backup, self.name)

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return the greedy policy's value to within eq. (1)."""
        self.accuracy = min(step.modulus**self.power * self.accuracy, self.share * step.spread)
        enough = max(self.accuracy, 0.1 * step.enough)
        return by_sweeps(backup, step.choice, step.applied, enough, sweeps=SWEEPS, correct_slow=True)

    def arrays(self) -> dict[str, Any]:
        """Return eps_k."""
        return {"accuracy": np.array(self.accuracy)}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over eps_k."""
        self.accuracy = float(arrays["accuracy"])
