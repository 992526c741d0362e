"""Robust value iteration, discounted.

    V_{k+1} = T V_k,     (T V)(s) = max_a min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V(s') ]                      (1)

T is a gamma-contraction (Iyengar, 2005). Every step ends with the bounds of :mod:`robust_rl.solvers.certificate`, and the
iteration stops when they are within ``tol`` of each other: span stopping, far earlier than the sup norm where the values of
all states drift alike.

With discount 1 the same iteration solves stochastic shortest paths whose every policy ends under every kernel of the set; its
bounds are those of :mod:`robust_rl.solvers.shortest_path`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate, span_certificate
from robust_rl.solvers.criterion import check_criterion, check_model, check_same_problem, describe_problem
from robust_rl.solvers.shortest_path import longest_time, shortest_path_certificate
from robust_rl.solvers.solution import Solution
from robust_rl.training import load_arrays, save_arrays
from robust_rl.uncertainty import RectangularSet

HISTORY = ("gap", "lower", "upper")


class ValueIteration:
    """Eq. (1) as a Trainable: one sweep over all states a step.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RectangularSet or None
        ``None`` solves the nominal problem.
    discount : float
        gamma in [0, 1].
    tol : float
        Stop when the certificate's bounds are at most this far apart, in the unit of the rewards.
    device : str or torch.device
        Where the sweeps run; see :class:`BellmanOperator`.

    Raises
    ------
    InvalidArgumentError
        If the discount is outside [0, 1], ``tol`` isn't positive, or discount is 1 and some policy may never end; the message
        names a state.
    """

    method = "value iteration"

    def __init__(
        self,
        model: TabularMDP,
        uncertainty: RectangularSet | None,
        *,
        discount: float,
        tol: float = 1e-6,
        device: Any = "cpu",
    ) -> None:
        gamma, _ = check_criterion(discount, None)
        assert gamma is not None
        if not 0 < tol < math.inf:
            raise InvalidArgumentError(f"tol is {tol:g}; it must be positive and finite")
        self.model, self.uncertainty, self.discount, self.tol = check_model(model), uncertainty, gamma, float(tol)
        self.backup = BellmanOperator(model, uncertainty, self.discount, device=device)
        self._time = longest_time(self.backup) if discount == 1 else None
        self.value = np.zeros(model.num_states)
        self.policy: NDArray[Any] = np.zeros(model.num_states, dtype=np.intp)
        infinite = np.where(model.terminal, 0.0, np.inf)
        self.certificate = Certificate(-infinite, infinite)
        self._history: list[tuple[float, float, float]] = []
        self._limit = math.inf

    @property
    def iterations(self) -> int:
        """Sweeps done."""
        return len(self._history)

    @property
    def done(self) -> bool:
        """Whether the bounds are within ``tol``, or as close as rounding lets them come."""
        return bool(self.certificate.gap <= self.tol or self.iterations >= self._limit)

    def step(self) -> Mapping[str, float]:
        """Apply T once."""
        value = self.value
        self.value, self.policy = self.backup(value)  # eq. 1
        self.certificate = self._certify(value, self.value)
        lower, upper = self.model.start @ self.certificate.lower, self.model.start @ self.certificate.upper
        if not self._history:
            self._limit = self._sweeps_needed(self.certificate.gap)
        self._history.append((self.certificate.gap, float(lower), float(upper)))
        return {"solve/gap": self.certificate.gap, "solve/lower": float(lower), "solve/upper": float(upper)}

    def solution(self) -> Solution:
        """Return the present iterate with its certificate and the worst case against it."""
        value = (self.certificate.lower + self.certificate.upper) / 2 if self._history else self.value
        kernel, rewards = self.backup.worst_case(value)
        return Solution(
            value=value,
            policy=self.policy,
            action_values=self.backup.q_values(value),
            kernel=kernel,
            rewards=rewards,
            certificate=self.certificate,
            uncertainty=self.uncertainty,
            discount=self.discount,
            horizon=None,
            method=self.method,
            history=dict(zip(HISTORY, np.array(self._history).reshape(-1, 3).T.copy(), strict=True)),
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write the iterate and its history."""
        arrays = {
            "value": self.value,
            "policy": self.policy,
            "lower": self.certificate.lower,
            "upper": self.certificate.upper,
            "history": np.array(self._history).reshape(-1, 3),
        }
        save_arrays(directory / "value_iteration.safetensors", arrays, self._problem())

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / "value_iteration.safetensors")
        check_same_problem(problem, self._problem())
        self.value, self.policy = arrays["value"], arrays["policy"]
        self.certificate = Certificate(arrays["lower"], arrays["upper"])
        self._history = [tuple(row) for row in arrays["history"].tolist()]
        if self._history:
            self._limit = self._sweeps_needed(self._history[0][0])

    def _certify(self, value: NDArray[np.float64], new_value: NDArray[np.float64]) -> Certificate:
        if self._time is not None:
            return shortest_path_certificate(value, new_value, self._time, self.backup.rounding(value), self.model.terminal)
        return span_certificate(value, new_value, self.discount, self.backup.rounding(value), self.model.terminal)

    def _sweeps_needed(self, first_gap: float) -> float:
        """Sweeps after which exact arithmetic would have met ``tol``: beyond them only rounding keeps the gap open."""
        if not self.tol < first_gap < math.inf:
            return 1 if first_gap <= self.tol else math.inf
        # discount 1 contracts in a norm weighted by the longest times, so the weights enter once more
        rate, weight = (self.discount, 1.0) if self._time is None else (1 - 1 / self._time.max(), float(self._time.max()))
        return 2 + (math.ceil(math.log(self.tol / (2 * weight * first_gap)) / math.log(rate)) if rate > 0 else 0)

    def _problem(self) -> dict[str, Any]:
        return describe_problem(self.model, self.uncertainty) | {"discount": self.discount}
