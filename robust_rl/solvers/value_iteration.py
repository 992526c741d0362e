"""Robust value iteration, discounted, plain or accelerated.

    V_{k+1} = A(V_k, T V_k),     (T V)(s) = max_a min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V(s') ]              (1)

Plain value iteration takes A(V, TV) = TV; T is a gamma-contraction (Iyengar, 2005). An acceleration says where to apply T next:
at the value of the greedy policy, at a combination of earlier iterates, and so on. Whatever it proposes, every step ends with
one application of T to all states, and its bounds, those of :mod:`robust_rl.solvers.certificate`, hold for any V. In long runs
T leaves out actions that it has proved not to be optimal: :mod:`robust_rl.solvers.elimination`.
The iteration stops when they are within ``tol`` of each other: span stopping, far earlier than the sup norm where the values of
all states drift alike.

With discount 1 the same iterations solve stochastic shortest paths whose every policy ends under every kernel of the set; the
bounds are those of :mod:`robust_rl.solvers.shortest_path`. They start from V_0 = -max|r| w, w the longest times, for which
T V_0 >= V_0: from there the values of greedy policies rise to the optimum, so that every acceleration converges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import dot
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.acceleration import Acceleration, Step
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate, SpanBounds
from robust_rl.solvers.criterion import check_criterion, check_model, describe_problem
from robust_rl.solvers.elimination import without_eliminated
from robust_rl.solvers.shortest_path import ShortestPathBounds, longest_time
from robust_rl.solvers.solution import Solution
from robust_rl.training import check_same_problem, load_arrays, save_arrays
from robust_rl.uncertainty import RectangularSet
from robust_rl.uncertainty.backup import Groups

ELIMINATE = 32
HISTORY = ("gap", "lower", "upper", "backups")
FILE = "value_iteration.safetensors"


class ValueIteration:
    """Eq. (1) as a Trainable: what the acceleration does, and one application of T, a step.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RectangularSet or None
        ``None`` solves the nominal problem.
    discount : float
        gamma in [0, 1].
    tol : float
        Stop when the certificate's bounds are at most this far apart, in the unit of the rewards.
    acceleration : Acceleration, optional
        A of eq. (1), made for this solver alone; None is plain value iteration.
    device : str or torch.device
        Where the sweeps run; see :class:`BellmanOperator`.

    Raises
    ------
    InvalidArgumentError
        If the discount is outside [0, 1], ``tol`` isn't positive, or discount is 1 and some policy may never end; the message
        names a state. If the acceleration doesn't work with the set.
    """

    def __init__(
        self,
        model: TabularMDP,
        uncertainty: RectangularSet | None,
        *,
        discount: float,
        tol: float = 1e-6,
        acceleration: Acceleration | None = None,
        device: Any = "cpu",
    ) -> None:
        self._set(check_model(model), uncertainty, discount, tol)
        self._begin(BellmanOperator(model, uncertainty, self.discount, device=device), acceleration)

    def _set(self, model: Any, uncertainty: RectangularSet | None, discount: float, tol: float) -> None:
        """Note the problem, once it is found to be one."""
        gamma, _ = check_criterion(discount, None)
        assert gamma is not None
        if not 0 < tol < math.inf:
            raise InvalidArgumentError(f"tol is {tol:g}; it must be positive and finite")
        self.model, self.uncertainty, self.discount, self.tol = model, uncertainty, gamma, float(tol)

    def _begin(self, backup: Any, acceleration: Acceleration | None) -> None:
        """Stand before the first step."""
        self.backup, self.acceleration = backup, acceleration
        if acceleration is not None:
            acceleration.check(self.backup)
        self._bounds, self._value = self._start()
        self._applied, self._choice = self._value, self.backup.no_choice()
        self._shifts: Any = (-math.inf, math.inf)
        self._step: Step | None = None
        self._groups: Any = self.backup.groups
        self._live_start = float(self.backup.live(self.model.start).sum())
        self._history: list[tuple[float, ...]] = []
        self._limit = math.inf

    @property
    def method(self) -> str:
        """Name of the algorithm; where it was chosen automatically, also why."""
        return "value iteration" if self.acceleration is None else self.acceleration.name

    @property
    def value(self) -> NDArray[np.float64]:
        """T V of the last step, (S,)."""
        return self._applied

    @property
    def policy(self) -> NDArray[np.intp]:
        """Actions (S,) that were greedy in the last step."""
        return self.backup.actions(self._choice)  # type: ignore[no-any-return]

    @property
    def certificate(self) -> Certificate:
        """Bounds from the last step."""
        live = ~self.model.terminal
        lower, upper = (np.where(live, self._applied + shift, 0.0) for shift in self._shifts)
        return Certificate(lower, upper)

    @property
    def gap(self) -> float:
        """Largest width of the certificate."""
        return self._history[-1][0] if self._history else (0.0 if self.model.terminal.all() else math.inf)

    @property
    def iterations(self) -> int:
        """Certificates made."""
        return len(self._history)

    @property
    def done(self) -> bool:
        """Whether the bounds are within ``tol``, or as close as rounding lets them come."""
        return bool(self.gap <= self.tol or self.iterations >= self._limit)

    @property
    def num_rows(self) -> int:
        """State-action pairs that may still be optimal."""
        return len(self._groups.rows)

    def step(self) -> Mapping[str, float]:
        """Let the acceleration say where, and apply T there."""
        if self._step is not None:
            self._value = self._applied if self.acceleration is None else self.acceleration.next_value(self.backup, self._step)
        self._applied, self._choice = self.backup.sweep(self._value, self._groups)  # eq. 1
        self._certify()
        if self._eliminates:
            self._eliminate(self._shifts[1] - self._shifts[0])
            self._measure()
        gap, lower, upper, backups = self._history[-1]
        return {"solve/gap": gap, "solve/lower": lower, "solve/upper": upper, "solve/backups": backups}

    def solution(self) -> Solution:
        """Return the present iterate with its certificate and the worst case against it."""
        bounds = self.certificate
        value = (bounds.lower + bounds.upper) / 2 if self._history else self._applied
        action_values = self._action_values(value)
        if self.done:
            self.backup.rows.release()  # a large model leaves no room for the rows' copy beside the worst kernel
        kernel, rewards = self.backup.worst_case(value)
        history = np.array(self._history).reshape(-1, len(HISTORY)).T.copy()
        return Solution(
            value=value,
            policy=self.policy,
            action_values=action_values,
            kernel=kernel,
            rewards=rewards,
            certificate=bounds,
            uncertainty=self.uncertainty,
            discount=self.discount,
            horizon=None,
            method=self.method,
            history=dict(zip(HISTORY, history, strict=True)),
        )

    def _action_values(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Q, and what root finders remember to what it was: to look at a solver changes nothing in it."""
        remembered = self.backup.rows.memory
        before = remembered.copy() if remembered.any() else None
        action_values = self.backup.q_values(value)
        if before is not None:
            remembered[:] = before
        return action_values  # type: ignore[no-any-return]

    def save_checkpoint(self, directory: Path) -> None:
        """Write the iterate, its history, and what the root finders and the acceleration remember."""
        arrays = {
            "value": self._value,
            "applied": self._applied,
            "choice": self._choice,
            "backups": np.array(self.backup.backups),
            "history": np.array(self._history).reshape(-1, len(HISTORY)),
        }
        if self.num_rows < len(self.backup.groups.rows):
            arrays["rows"] = self._groups.rows
        if self.backup.rows.memory.any():
            arrays["memory"] = self.backup.rows.memory
        if self.acceleration is not None:
            arrays |= {f"acceleration.{name}": array for name, array in self.acceleration.arrays().items()}
        save_arrays(directory / FILE, arrays, self._problem())

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / FILE)
        check_same_problem(problem, self._problem())
        self._value, self._applied, self._choice = arrays["value"], arrays["applied"], arrays["choice"]
        self._groups = self.backup.groups
        if "rows" in arrays:
            self._groups = Groups.by_state(arrays["rows"].astype(np.int64), self.model.num_states, self.model.num_actions)
        self.backup.rows.memory[:] = arrays.get("memory", 0.0)
        if self.acceleration is not None:
            self.acceleration.restore({name[13:]: array for name, array in arrays.items() if name.startswith("acceleration.")})
        self._history = [tuple(row) for row in arrays["history"].tolist()]
        if self._history:
            self.backup.backups = int(arrays["backups"])
            self._limit = self._steps_needed(self._history[0][0])
            self._measure()

    def _eliminate(self, width: Any) -> None:
        """Leave out actions that can't be optimal, by a certificate of this width."""
        self._groups = without_eliminated(self.backup, self._groups, self._value, self._applied, width)

    @property
    def _eliminates(self) -> bool:
        """Whether to look for actions to eliminate: after 32, 64, 128, ... steps, which costs the less the longer it takes."""
        k = self.iterations
        return k >= ELIMINATE and k & (k - 1) == 0 and not self.done and not getattr(self.backup.uncertainty, "randomises", False)

    def _start(self) -> tuple[Any, NDArray[np.float64]]:
        """Bounds and first value of the criterion."""
        if self.discount < 1:
            return SpanBounds(self.discount), np.zeros(self.model.num_states)
        time = longest_time(self.backup)
        return ShortestPathBounds(time), -self.backup.largest_reward * time

    def _certify(self) -> None:
        """Turn the last application of T into bounds, and note them."""
        gap, middle = self._measure(), dot(self.model.start, self._applied)
        lower, upper = (middle + self._from_start(shift) for shift in self._shifts)
        if not self._history:
            self._limit = self._steps_needed(gap)
        self._history.append((gap, lower, upper, float(self.backup.backups)))

    def _from_start(self, shift: Any) -> float:
        """Mean of a shift over the start distribution; it is 0 in terminal states."""
        return float(shift * self._live_start if np.ndim(shift) == 0 else dot(self.model.start, shift))

    def _measure(self) -> float:
        """Set shifts and step from V and TV; return the gap."""
        d = self._applied - self._value
        lowest, highest, eta = float(d.min()), float(d.max()), self.backup.rounding(self._value)
        self._shifts = self._bounds.shifts(lowest, highest, eta)
        gap, spread = self._bounds.gap(highest - lowest, eta), highest - lowest
        rounding = gap - self._bounds.factor * spread
        self._step = Step(
            value=self._value,
            applied=self._applied,
            choice=self._choice,
            groups=self._groups,
            middle=(self._shifts[0] + self._shifts[1]) / 2,
            spread=spread,
            residual=self._bounds.residual(d),
            modulus=self._bounds.modulus,
            enough=max(self.tol - rounding, rounding) / self._bounds.factor if self._bounds.factor else math.inf,
        )
        return gap if not self.model.terminal.all() else 0.0

    def _steps_needed(self, first_gap: float) -> float:
        """Steps after which exact arithmetic would have met ``tol``: beyond them only rounding keeps the gap open.

        From V_0 <= T V_0, to which others can be shifted, no acceleration falls behind plain value iteration in V* - V_k; the
        gap is that error within a factor 4 / (1 - modulus), and a rejected proposal costs a step.
        """
        if not self.tol < first_gap < math.inf:
            return 1 if first_gap <= self.tol else math.inf
        modulus = self._bounds.modulus
        return 2 + (2 * math.ceil(math.log(self.tol * (1 - modulus) / (4 * first_gap)) / math.log(modulus)) if modulus > 0 else 0)

    def _problem(self) -> dict[str, Any]:
        return describe_problem(self.model, self.uncertainty) | {
            "discount": self.discount,
            "acceleration": "none" if self.acceleration is None else type(self.acceleration).__name__,
        }
