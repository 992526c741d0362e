"""Discounted zero-sum games with one common adversary: robust Shapley iteration, a contraction.

    (T V)(s) = max_x min_y sum_{a,b} x(a) y(b) Q(s, a, b),
    Q(s, a, b) = r_1(s, a, b) + gamma min_{q in U(s,a,b)} sum_s' q(s') V(s')                                               (1)

r_2 = -r_1, and a single adversary works against player 1, whatever that does to player 2: the stage games stay zero-sum, T is
monotone with T(V + c) = TV + gamma c, and V* is its fixed point. (This is not the game in which each agent has an adversary of
its own, for which no iteration is known to contract: see :mod:`robust_rl.solvers.dr_nvi`.)

A stage game is solved to the exact worth of its strategies: with lo = min_b (x Q)(b) <= T V <= up = max_a (Q y)(a),

    lo + gamma/(1-gamma) min(lo - V)  <=  V*  <=  up + gamma/(1-gamma) max(up - V),                                        (2)

whatever the matrix-game solver's error. The lower bound is also what x guarantees against every y and every kernel, the upper
one what y does. Floating-point error of a backup widens both, as in :mod:`robust_rl.solvers.certificate`.

======  ==========  ============================================
symbol  here        meaning, shape
======  ==========  ============================================
V       value       of player 1, (S,)
x, y    policies    of the players, (S, A1) and (S, A2)
Q       q           (S, A1, A2)
U       operator    the common adversary's set
======  ==========  ============================================

Reference: Shapley (1953) for the nominal game.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.equilibria import zero_sum
from robust_rl.errors import ConvergenceWarning, InvalidArgumentError
from robust_rl.models import MarkovGame, TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate, SpanBounds
from robust_rl.solvers.criterion import check_criterion, describe_problem
from robust_rl.solvers.game_backup import check_game
from robust_rl.training import Trainer, check_same_problem, load_arrays, save_arrays
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]
FILE = "zero_sum.safetensors"


@dataclass(frozen=True)
class ZeroSumSolution:
    """Optimal strategies of a discounted zero-sum game with a common adversary.

    ============  ======================================================================================
    value         (S,) player 1's: middle of the certificate; player 2's is its negative
    policies      (S, A1) and (S, A2) probabilities, guaranteed what the certificate's bounds say
    kernel        worst case against player 1 at the value, CSR (S*A1*A2, S)
    certificate   proved bounds on the value
    uncertainty   the adversary's set, or None
    discount      gamma
    history       "gap" of each step
    ============  ======================================================================================
    """

    value: Array
    policies: tuple[Array, Array]
    kernel: Any
    certificate: Certificate
    uncertainty: RectangularSet | None
    discount: float
    history: dict[str, Array]

    @property
    def policy(self) -> Array:
        """(S, A1, A2) product of the two."""
        return np.asarray(self.policies[0][:, :, None] * self.policies[1][:, None, :])


class ZeroSumIteration:
    """Eq. (1) as a Trainable: one application of T a step. Arguments and errors as of :func:`solve_zero_sum`."""

    def __init__(self, game: MarkovGame, uncertainty: RectangularSet | None, *, discount: float, tol: float = 1e-6) -> None:
        gamma, _ = check_criterion(discount, None)
        if gamma is None or gamma >= 1:
            raise InvalidArgumentError(f"discount is {discount!r}; a discounted game needs one below 1")
        if not 0 < tol < math.inf:
            raise InvalidArgumentError(f"tol is {tol:g}; it must be positive and finite")
        _check_zero_sum(check_game(game))
        if uncertainty is not None and getattr(uncertainty, "randomises", False):
            raise InvalidArgumentError(
                f"{uncertainty!r} shares a budget among actions; the set must be rectangular in joint actions"
            )
        self.game, self.uncertainty, self.discount, self.tol = game, uncertainty, gamma, float(tol)
        rewards = game.rewards[0].reshape(game.num_states, -1)
        self.model = TabularMDP(game.kernel(), rewards, start=game.start, terminal=game.terminal)
        self.operator = BellmanOperator(self.model, uncertainty, gamma)
        self._bounds = SpanBounds(gamma)
        self.value = np.zeros(game.num_states)
        self.policies = tuple(np.full((game.num_states, count), 1 / count) for count in game.num_actions)
        self.certificate = Certificate(np.full(game.num_states, -np.inf), np.full(game.num_states, np.inf))
        self._history: list[float] = []

    @property
    def done(self) -> bool:
        """Whether the bounds are within ``tol``, or as close as rounding lets them come."""
        if not self._history:
            return False
        return self._history[-1] <= self.tol or self._stalled

    @property
    def _stalled(self) -> bool:
        """Whether plain iteration, a contraction, should have met ``tol`` long ago: only rounding keeps the gap open."""
        first = self._history[0]
        needed = math.log(self.tol / first) / math.log(self.discount) if self.discount > 0 and first > self.tol else 0.0
        return len(self._history) > 2 * needed + 2

    def step(self) -> Mapping[str, float]:
        """Apply T once."""
        q = self.operator.q_values(self.value).reshape(self.game.num_states, *self.game.num_actions)
        applied, x, y = zero_sum(q)  # eq. 1
        lower, upper = np.einsum("sa,sab->sb", x, q).min(axis=1), np.einsum("sab,sb->sa", q, y).max(axis=1)
        eta = self.operator.rounding(self.value)
        down, _ = self._bounds.shifts(float((lower - self.value).min()), 0.0, eta)
        _, up = self._bounds.shifts(0.0, float((upper - self.value).max()), eta)
        live = ~self.game.terminal
        self.certificate = Certificate(np.where(live, lower + down, 0.0), np.where(live, upper + up, 0.0))  # eq. 2
        self.value, self.policies = applied, (x, y)
        self._history.append(self.certificate.gap)
        start = self.game.start
        return {
            "solve/gap": self.certificate.gap,
            "solve/lower": float(start @ self.certificate.lower),
            "solve/upper": float(start @ self.certificate.upper),
        }

    def solution(self) -> ZeroSumSolution:
        """Return the present strategies with their certificate and the worst kernel."""
        value = (self.certificate.lower + self.certificate.upper) / 2 if self._history else self.value
        kernel, _ = self.operator.worst_case(value)
        x, y = self.policies
        return ZeroSumSolution(
            value, (x, y), kernel, self.certificate, self.uncertainty, self.discount, {"gap": np.array(self._history)}
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write value, strategies, bounds and history."""
        arrays = {
            "value": self.value, "x": self.policies[0], "y": self.policies[1], "lower": self.certificate.lower,
            "upper": self.certificate.upper, "history": np.array(self._history), "memory": self.operator.rows.memory,
        }  # fmt: skip
        save_arrays(directory / FILE, arrays, self._problem())

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / FILE)
        check_same_problem(problem, self._problem())
        self.value, self.policies = arrays["value"], (arrays["x"], arrays["y"])
        self.certificate = Certificate(arrays["lower"], arrays["upper"])
        self._history, self.operator.rows.memory[:] = arrays["history"].tolist(), arrays["memory"]

    def _problem(self) -> dict[str, Any]:
        return describe_problem(self.model, self.uncertainty) | {"discount": self.discount, "game": repr(self.game)}


def solve_zero_sum(
    game: MarkovGame,
    uncertainty: RectangularSet | None,
    *,
    discount: float,
    tol: float = 1e-6,
    max_iterations: int | None = None,
) -> ZeroSumSolution:
    """Solve a discounted zero-sum game in which one common adversary works against player 1.

    Parameters
    ----------
    game : MarkovGame
        Of two agents whose rewards sum to zero, without a horizon.
    uncertainty : RectangularSet or None
        Where the adversary may move the transition probabilities; one set, for there is one adversary.
    discount : float
        gamma in [0, 1).
    tol : float
        Largest allowed width of the certificate, in the unit of the rewards.
    max_iterations : int, optional
        At most so many applications of T; a ConvergenceWarning says if they weren't enough.

    Returns
    -------
    ZeroSumSolution

    Raises
    ------
    InvalidArgumentError
        If the game has other than two agents, stages of its own, or rewards that don't sum to zero (the message names where); if
        an argument is out of range.
    InvalidUncertaintyError
        If the set doesn't fit the game.
    """
    solver = ZeroSumIteration(game, uncertainty, discount=discount, tol=tol)
    Trainer(None, max_steps=max_iterations, progress=False).fit(solver)
    solution = solver.solution()
    if not solution.certificate.gap <= tol:
        warnings.warn(
            f"robust Shapley iteration stopped with the value known to {solution.certificate.gap:.3g}, not to tol={tol:g}; allow "
            "more iterations, or a larger tol if rounding is the limit",
            ConvergenceWarning,
            stacklevel=2,
        )
    return solution


def _check_zero_sum(game: MarkovGame) -> None:
    if game.num_agents != 2:
        raise InvalidArgumentError(f"{game!r} has {game.num_agents} agents; a zero-sum game has 2")
    if game.horizon is not None:
        raise InvalidArgumentError(
            f"{game!r} has a horizon, and solve_zero_sum is for discounted games; leave it out, "
            "game.replace(horizon=None), or use DRNVI"
        )
    total = game.rewards.sum(axis=0).reshape(game.num_states, -1)
    wrong = (abs(total) > 1e-9 * abs(game.rewards).max(initial=1.0)) & ~game.terminal[:, None]
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidArgumentError(
            f"the rewards at ({game.row_name(row)}) sum to {total.flat[row]:.6g}; those of a zero-sum game sum to 0 everywhere"
        )
