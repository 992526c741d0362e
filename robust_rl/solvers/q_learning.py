"""Robust Q-learning from a simulator: no transition probability is ever read.

    Q(s, a)  <-  Q(s, a) + alpha_k ( estimate - Q(s, a) ),
    E estimate = min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V(s') ]                                            (1)

with V = max_a Q. Every sweep updates all pairs (s, a) at once, each from draws of its own (synchronous Q-learning). Estimates:

- contamination is linear in the nominal row: (1 - R) [ r + gamma V(s') ] + R min over the support, unbiased from one draw (Wang
  and Zou, 2021), and averaged over ``draws`` of them;
- all other sets: truncated multilevel Monte Carlo, :mod:`robust_rl.solvers.multilevel` (Wang, Zou and Wang, UAI 2024).

Step sizes are rescaled linear, alpha_k = 1 / (1 + (1 - gamma) k) (Wainwright, 2019, "Stochastic approximation with
cone-contractive operators"): large enough for the slowest direction, along which eq. 1 contracts by gamma only. In the fast
directions they leave noise of the size of sqrt(1 / ((1 - gamma) k)) where 1 / sqrt(k) is possible, so what is returned is
not the last iterate but the polynomial-decay average (Shamir and Zhang, 2013), in which iterate k weighs like k^3. Two errors
fall more slowly than noise and have a sign: that of a start value far off, and the overestimation by max_a where actions nearly
tie. Both grow with 1 / (1 - gamma).

Planning on the empirical model needs far fewer draws. Q-learning is for simulators with many states whose rows nobody wants to
hold, and for comparison.

======  ==============  ==========================================================
symbol  here            meaning, shape
======  ==============  ==========================================================
Q       action_values   (S, A); -inf where an action is unavailable
        average         (S, A); what is returned
k       visits          updates of each row s*A + a, (S*A,)
======  ==============  ==========================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.models.generative import GenerativeModel, TabularSimulator, as_simulator, available_actions, terminal_states
from robust_rl.solvers.criterion import check_criterion, describe_problem, digest
from robust_rl.solvers.knowledge import Knowledge
from robust_rl.solvers.learned import LearnedValues
from robust_rl.solvers.multilevel import Multilevel, sweeps
from robust_rl.training import check_same_problem, generator_state, load_arrays, restore_generator, save_arrays
from robust_rl.uncertainty import RectangularSet

CHUNK = 2_000_000  # draws held at once, 8 MB
FILE = "q_learning.safetensors"


class QLearning:
    """Synchronous robust Q-learning as a Trainable: one step is ``sweeps_per_step`` updates of every row.

    Parameters
    ----------
    simulator : TabularMDP or GenerativeModel
        Only asked for draws and rewards.
    uncertainty : RectangularSet or None
        ``None`` is plain Q-learning.
    discount : float
        gamma in [0, 1).
    seed : int
    draws : int
        Draws averaged in an estimate; with multilevel Monte Carlo, those of its lowest level.
    max_level : int or None
        Highest level; estimates have the mean of a plug-in estimate from ``draws * 2^(max_level + 1)`` draws. ``None``: unbiased.
    initial_value : float
        What every state that isn't terminal is worth before anything is learned. The error of a start far off falls only like
        1 / ((1 - gamma) k).
    sweeps_per_step : int
    max_sweeps : int, optional
        Done after so many; without it, never.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        If an argument is out of range, the simulator lacks something, or the set can't be learned from draws.
    """

    method = "robust Q-learning"

    def __init__(
        self,
        simulator: TabularMDP | GenerativeModel,
        uncertainty: RectangularSet | None,
        *,
        discount: float,
        seed: int = 0,
        draws: int = 8,
        max_level: int | None = 10,
        initial_value: float = 0.0,
        sweeps_per_step: int = 1000,
        max_sweeps: int | None = None,
    ) -> None:
        self.discount = check_discount(discount)
        check_positive(sweeps_per_step=sweeps_per_step, max_sweeps=max_sweeps)
        self.simulator = as_simulator(simulator)
        self.uncertainty, self.multilevel = uncertainty, Multilevel(uncertainty, base=draws, max_level=max_level)
        shape = (self.simulator.num_states, self.simulator.num_actions)
        self.sweeps_per_step, self.max_sweeps = sweeps_per_step, max_sweeps
        self.terminal, mask = terminal_states(self.simulator).copy(), available_actions(self.simulator)
        self._radii = self.multilevel.uncertainty.radii(shape).copy()
        self._rows = np.flatnonzero((mask & ~self.terminal[:, None]).ravel())
        self.knowledge = Knowledge(self.simulator, self.multilevel.uncertainty)
        self.action_values = np.where(mask, check_finite(initial_value), -np.inf)
        self.action_values[self.terminal] = 0.0
        self.average = self.action_values.copy()
        self.visits = np.zeros(mask.size, dtype=np.int64)
        self.rng = np.random.default_rng(seed)
        self.sweeps = self.draws = 0

    @property
    def done(self) -> bool:
        """Whether ``max_sweeps`` are done."""
        return self.max_sweeps is not None and self.sweeps >= self.max_sweeps

    @property
    def updates(self) -> int:
        """Updates of single entries of Q so far."""
        return self.sweeps * len(self._rows)

    def step(self) -> Mapping[str, float]:
        """Make ``sweeps_per_step`` sweeps, or those left."""
        left = self.sweeps_per_step if self.max_sweeps is None else min(self.sweeps_per_step, self.max_sweeps - self.sweeps)
        chunk = max(1, int(CHUNK / (self.multilevel.mean_draws * max(len(self._rows), 1))))
        total, error = left, 0.0
        while left:
            now = min(chunk, left)
            error += self._sweep(now) * now
            left -= now
        self.knowledge.check(self.multilevel.uncertainty)
        return {
            "train/updates": float(self.updates),
            "train/draws": float(self.draws),
            "train/error": error / total,
            "train/value": self._start_value(),
        }

    def solution(self) -> LearnedValues:
        """Return what has been learned so far."""
        return LearnedValues(
            self.average.copy(), self.terminal, self.uncertainty, self.discount, self.method, self.updates, self.draws
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write Q, counts, what was seen, and the generator."""
        arrays = {
            "action_values": self.action_values, "average": self.average, "visits": self.visits, "seen": self.knowledge.seen,
        }  # fmt: skip
        state = {"sweeps": self.sweeps, "draws": self.draws, "generator": generator_state(self.rng)}
        save_arrays(directory / FILE, arrays, self._problem() | state)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem())
        self.action_values, self.average, self.visits = (arrays[name] for name in ("action_values", "average", "visits"))
        self.knowledge.restore(arrays["seen"])
        self.sweeps, self.draws, self.rng = state["sweeps"], state["draws"], restore_generator(state["generator"])

    def _sweep(self, count: int) -> float:
        """Make so many sweeps from draws that are taken beforehand, which is possible since they don't depend on Q."""
        levels = self.multilevel.levels(self.rng, (count, len(self._rows)))
        needed = self.multilevel.draws(levels)
        # the draws of a row lie together, sweep after sweep
        ends = np.cumsum(needed.T).reshape(needed.T.shape).T
        totals = needed.sum(axis=0)
        actions = self.simulator.num_actions
        drawn = [self._draw(*divmod(int(i), actions), int(n)) for i, n in zip(self._rows, totals, strict=True)]
        self.draws, self.sweeps = self.draws + int(totals.sum()), self.sweeps + count
        return sweeps(
            self.multilevel, self.action_values, self.average, self.visits, self._rows, np.concatenate(drawn, dtype=np.int32),
            np.ascontiguousarray(ends - needed), levels, self.terminal, self.discount, self._radii, self.knowledge,
        )  # fmt: skip

    def _draw(self, state: int, action: int, n: int) -> NDArray[Any]:
        drawn = np.asarray(self.simulator.sample(state, action, n, self.rng))
        if drawn.shape != (n,) or drawn.dtype.kind not in "iu":
            raise InvalidArgumentError(
                f"sample({state}, {action}, {n}, rng) returned {drawn.dtype} of shape {drawn.shape}; expected {n} integers"
            )
        if drawn.min() < 0 or drawn.max() >= self.simulator.num_states:
            raise InvalidArgumentError(
                f"sample({state}, {action}, ...) returned a state outside 0..{self.simulator.num_states - 1}"
            )
        return drawn

    def _start_value(self) -> float:
        start = getattr(self.simulator, "start", None)
        value = np.where(self.terminal, 0.0, self.average.max(axis=1))
        return float(value.mean() if start is None else start @ value)

    def _problem(self) -> dict[str, Any]:
        return _describe(self.simulator, self.multilevel.uncertainty) | {
            "discount": self.discount,
            "draws of an estimate": self.multilevel.base,
            "max_level": self.multilevel.max_level,
            "sweeps_per_step": self.sweeps_per_step,
        }


def check_discount(discount: object) -> float:
    """Return a discount below 1, or raise InvalidArgumentError: step sizes are made from it."""
    gamma, _ = check_criterion(discount, None)
    assert gamma is not None
    if gamma == 1:
        raise InvalidArgumentError("discount is 1; Q-learning needs one below 1, since its step sizes depend on it")
    return gamma


def check_finite(initial_value: object) -> float:
    """Return a start value, or raise InvalidArgumentError."""
    if not isinstance(initial_value, Real) or not math.isfinite(float(initial_value)):
        raise InvalidArgumentError(f"initial_value is {initial_value!r}; it must be a finite number")
    return float(initial_value)


def check_positive(**numbers: int | None) -> None:
    """Raise InvalidArgumentError unless each number is a positive integer, or None for no limit."""
    for name, number in numbers.items():
        if number is not None and (not isinstance(number, int) or number < 1):
            raise InvalidArgumentError(f"{name} is {number!r}; it must be a positive integer")


def _describe(simulator: GenerativeModel, uncertainty: RectangularSet) -> dict[str, Any]:
    if isinstance(simulator, TabularSimulator):
        return describe_problem(simulator.model, uncertainty)
    return {
        "uncertainty": repr(uncertainty),
        "simulator": type(simulator).__qualname__,
        "rewards": digest([np.asarray(simulator.rewards)]),
        "uncertainty's arrays": digest(list(uncertainty.describe().values())),
    }
