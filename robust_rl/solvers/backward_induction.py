"""Robust dynamic programming over a finite horizon, undiscounted.

    V_H = 0,    V_h(s) = max_a min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + V_{h+1}(s') ],   h = H-1, ..., 0              (1)

Exact, so the certificate's bounds differ by rounding alone. Terminal states keep value 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate
from robust_rl.solvers.criterion import check_criterion, check_model, describe_problem
from robust_rl.solvers.solution import Solution
from robust_rl.training import check_same_problem, load_arrays, save_arrays
from robust_rl.uncertainty import RectangularSet


class BackwardInduction:
    """Eq. (1) as a Trainable: one stage h a step, the last stage first.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RectangularSet or None
    horizon : int
        Number of decisions H, at least 1.
    device : str or torch.device
        Where the sweeps run; see :class:`BellmanOperator`.

    Raises
    ------
    InvalidArgumentError
        If the horizon isn't a positive integer.
    """

    method = "backward induction"

    def __init__(self, model: TabularMDP, uncertainty: RectangularSet | None, *, horizon: int, device: Any = "cpu") -> None:
        _, stages = check_criterion(None, horizon)
        assert stages is not None
        self.model, self.uncertainty, self.horizon = check_model(model), uncertainty, stages
        self.backup = BellmanOperator(model, uncertainty, 1.0, device=device)
        self.remaining = self.horizon
        self.value = np.zeros((self.horizon + 1, model.num_states))
        self.action_values = np.zeros((self.horizon, model.num_states, model.num_actions))

    @property
    def done(self) -> bool:
        """Whether stage 0 is solved."""
        return self.remaining == 0

    def step(self) -> Mapping[str, float]:
        """Solve the next earlier stage."""
        self.remaining -= 1
        h = self.remaining
        self.action_values[h] = self.backup.q_values(self.value[h + 1])  # eq. 1
        self.value[h] = self.action_values[h].max(axis=1)
        return {"solve/stage": float(h), "solve/value": float(self.model.start @ self.value[h])}

    def solution(self) -> Solution:
        """Return values, policies and worst cases of all stages. Raises InvalidArgumentError before the last stage is solved."""
        if not self.done:
            raise InvalidArgumentError(f"{self.remaining} of {self.horizon} stages are still to be solved; go on until done")
        worst = [self.backup.worst_case(self.value[h + 1]) for h in range(self.horizon)]
        return Solution(
            value=self.value[:-1].copy(),
            policy=self._policy(),
            action_values=self.action_values.copy(),
            kernel=[kernel for kernel, _ in worst],
            rewards=[rewards for _, rewards in worst],
            certificate=self._certificate(),
            uncertainty=self.uncertainty,
            discount=None,
            horizon=self.horizon,
            method=self.method,
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write the stages solved so far."""
        arrays = {"value": self.value, "action_values": self.action_values}
        save_arrays(directory / "backward_induction.safetensors", arrays, self._problem() | {"remaining": self.remaining})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / "backward_induction.safetensors")
        check_same_problem(problem, self._problem())
        self.value, self.action_values = arrays["value"], arrays["action_values"]
        self.remaining = int(problem["remaining"])

    def _policy(self) -> NDArray[Any]:
        if not self.backup.uncertainty.randomises:
            return np.asarray(self.action_values.argmax(axis=2))
        return np.stack([self.backup(self.value[h + 1])[1] for h in range(self.horizon)])

    def _certificate(self) -> Certificate:
        stages = np.arange(self.horizon, 0, -1)[:, None]
        eta = self.backup.rounding(self.value) * stages
        idle = np.broadcast_to(self.model.terminal, self.value[:-1].shape)
        return Certificate(np.where(idle, 0.0, self.value[:-1] - eta), np.where(idle, 0.0, self.value[:-1] + eta))

    def _problem(self) -> dict[str, Any]:
        return describe_problem(self.model, self.uncertainty) | {"horizon": self.horizon}
