"""VPO on contextual bandits, as steps: pessimism on logged pairs, or optimism in rounds of duels.

    offline   D = N pairs drawn from pi_ref;  a step is some optimiser steps on D
    online    a step is a round: draw x ~ rho and y1, y2 ~ pi_{t-1}, let them duel, add the pair to D, fit pi_t to D

The two responses of a duel may coincide. Such a pair is kept; its gradient is zero.

One learner holds any number of independent runs, each with its bandit, seed, alpha and beta: experiments over seeds are one call.
Runs of one seed see the same pairs offline, and the same draws of chance online, whatever their alpha.

=========  ================  ====================================================================
symbol     here              meaning, shape
=========  ================  ====================================================================
theta      ``theta``         logits, (B, X, K) for B runs
D          ``wins``          counts of pairs, winner before loser, (B, X, K, K)
alpha      ``alpha``         in the sum form of the loss, (B,)
pi_cal     ``calibration``   the reference, the chosen or the rejected responses so far, or given
J* - J     suboptimality     distance of pi_t from the best value, (B,); the regret sums that of the policies that duelled
=========  ================  ====================================================================

Source: arXiv:2405.19320; the settings are this library's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.alignment import loss as vpo
from robust_rl.alignment import tabular
from robust_rl.alignment.bandit_checks import (
    Calibration,
    Optimiser,
    Schedule,
    calibration_shares,
    check_choices,
    check_numbers,
    check_runs,
    pair_indices,
)
from robust_rl.alignment.loss import Mode
from robust_rl.alignment.optimisers import Moments, adamw, bounded_minimum
from robust_rl.alignment.tabular import Array
from robust_rl.envs import PreferenceBandit
from robust_rl.envs.games import duel_v0
from robust_rl.errors import InvalidArgumentError
from robust_rl.solvers.criterion import digest
from robust_rl.training import check_same_problem, generator_state, load_arrays, restore_generator, save_arrays

FILE = "bandit.safetensors"
OFFLINE_STEPS = 50
"""Steps of offline AdamW, of ``steps_per_round`` updates each: 1,000 updates."""


class BanditLearner:
    """Runs of VPO side by side: a :class:`~robust_rl.training.Trainable`, done after its rounds.

    Parameters
    ----------
    bandits : sequence of PreferenceBandit
        One a run, all of one shape (X, K).
    seeds : sequence of int
        One a run.
    mode : "offline" or "online"
    alpha, beta : float or (B,) array_like
        Strength of the value term, in the sum form of the loss, and weight of the KL term. ``alpha=0`` is DPO.
    calibration : "reference", "chosen", "rejected" or (X, K) array_like
        What the value term averages over, exactly: pi_ref; the preferred or the other responses so far; or a distribution over
        responses for each context.
    optimiser : "adamw" or "bounded"
        See :mod:`robust_rl.alignment.optimisers`. Offline, AdamW goes on from step to step; online each round begins a new one.
    pairs : int
        N, offline.
    rounds : int, optional
        Steps until done. Default: offline 50 with AdamW and 1 with the bounded solver; online 500.
    schedule : "constant" or "sqrt"
        ``"sqrt"`` multiplies alpha by the square root of the number of pairs so far.
    learning_rate, weight_decay, steps_per_round
        Of AdamW.
    bound : float
        Of the bounded solver: ``|theta| <= bound``.
    reward_bound : float, optional
        R of the bounded solver instead: ``|beta (theta - theta_ref)| <= R``, rewards as bounded as the true ones are known to be.
    data : (contexts, winners, losers), optional
        Logged pairs, index arrays (N,), for every run, instead of drawn ones; offline.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range or contradicts another.

    Examples
    --------
    >>> learner = BanditLearner([PreferenceBandit(seed=s) for s in (0, 0)], [1, 1], mode="offline", alpha=[0, 10], beta=0.1)
    >>> while not learner.done:
    ...     numbers = learner.step()
    >>> dpo, vpo = learner.calibration_logps()  # pessimism keeps what the reference would say likely
    >>> print(vpo > dpo)
    True
    """

    def __init__(
        self,
        bandits: Sequence[PreferenceBandit],
        seeds: Sequence[int],
        *,
        mode: Mode,
        alpha: ArrayLike,
        beta: ArrayLike,
        calibration: Calibration | ArrayLike = "reference",
        optimiser: Optimiser = "adamw",
        pairs: int = 20,
        rounds: int | None = None,
        schedule: Schedule = "constant",
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        steps_per_round: int = 20,
        bound: float = 10.0,
        reward_bound: float | None = None,
        data: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    ) -> None:
        self.bandits, self.seeds = list(bandits), [int(seed) for seed in seeds]
        check_runs(self.bandits, self.seeds)
        runs = len(self.bandits)
        self.alpha, self.beta = (np.broadcast_to(np.asarray(x, dtype=float), runs).copy() for x in (alpha, beta))
        for a, b in zip(self.alpha, self.beta, strict=True):
            vpo.check(float(b), float(a), mode)
        check_choices(optimiser=optimiser, schedule=schedule)
        check_numbers(pairs, rounds, learning_rate, weight_decay, steps_per_round, bound, reward_bound)
        self.mode, self.optimiser, self.schedule, self.bound = mode, optimiser, schedule, float(bound)
        self.reward_bound = reward_bound
        self.learning_rate, self.weight_decay, self.steps_per_round = learning_rate, weight_decay, steps_per_round
        default = 500 if mode == "online" else OFFLINE_STEPS if optimiser == "adamw" else 1
        self.max_rounds = default if rounds is None else rounds
        self.rewards, self.reference = (np.stack([getattr(b, name) for b in self.bandits]) for name in ("rewards", "reference"))
        self.weights = np.stack([b.weights for b in self.bandits])
        self._calibration = calibration_shares(calibration, self.reference, self.weights)
        self.theta, self.rounds = self.reference.copy(), 0
        self.moments = Moments.zeros(self.theta.shape)
        # beside a bandit drawn from the same seed, its labels must be chance of their own
        self.rngs = [np.random.default_rng([seed, 1]) for seed in self.seeds]
        self.history = np.zeros((0, runs))
        self.regret = np.zeros(runs)
        shape = (runs, *self.rewards.shape[1:], self.rewards.shape[2])
        self._duels: list[Any] = []
        if mode == "online":
            if data is not None:
                raise InvalidArgumentError("data is for mode='offline'; online the pairs come from duels")
            self.wins = np.zeros(shape)
            self._duels = [duel_v0.parallel_env(rewards=b.rewards, weights=b.weights) for b in self.bandits]
        else:
            self.wins = np.stack([self._logged(run, pairs, data) for run in range(runs)])
        self._best = tabular.best_value(self.rewards, self.reference, self.weights, self._each(self.beta))
        self.start_suboptimality = self.suboptimality()

    @property
    def done(self) -> bool:
        """Whether all rounds are done."""
        return self.rounds >= self.max_rounds

    def step(self) -> Mapping[str, float]:
        """Do one round; return means over the runs."""
        changed = np.ones(len(self.bandits), dtype=bool)
        if self.mode == "online":
            self.regret += self.suboptimality()
            told = [self._duel(run) for run in range(len(self.bandits))]
            # a response that met itself says nothing, and leaves the minimum where it is
            if self.rounds and self.schedule == "constant" and not isinstance(self._calibration, str):
                changed = np.array(told)
            self.moments = Moments.zeros(self.theta.shape)
        self.rounds += 1
        if self.optimiser == "adamw":
            self._descend()
        else:
            self._minimise(changed)
        gaps = self.suboptimality()
        self.history = np.vstack([self.history, gaps])
        return self._numbers(gaps)

    def suboptimality(self) -> Array:
        """Return J*(r) - J(r, pi) of each run's policy, (B,)."""
        return np.asarray(
            self._best - tabular.value(self.theta, self.rewards, self.reference, self.weights, self._each(self.beta))
        )

    def calibration(self) -> Array:
        """Return rho(x) pi_cal(y|x), (B, X, K), with the pairs so far."""
        if not isinstance(self._calibration, str):
            return self._calibration
        counts = self.wins.sum(axis=3 if self._calibration == "chosen" else 2)
        return np.asarray(counts / counts.sum(axis=(1, 2), keepdims=True))

    def calibration_logps(self) -> Array:
        """Return E_cal log pi of each run, (B,)."""
        return np.asarray((self.calibration() * tabular.log_softmax(self.theta)).sum(axis=(1, 2)))

    def save_checkpoint(self, directory: Path) -> None:
        """Write logits, pairs, the optimiser's memory, the history and the generators."""
        arrays = {"theta": self.theta, "wins": self.wins, "history": self.history, "regret": self.regret}
        arrays |= {"first_moment": self.moments.first, "second_moment": self.moments.second}
        state = {"rounds": self.rounds, "moment_steps": self.moments.steps, "generators": [generator_state(r) for r in self.rngs]}
        save_arrays(directory / FILE, arrays, self._problem() | state)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem())
        self.theta, self.wins, self.history, self.regret = (arrays[name] for name in ("theta", "wins", "history", "regret"))
        self.moments = Moments(arrays["first_moment"], arrays["second_moment"], state["moment_steps"])
        self.rounds, self.rngs = state["rounds"], [restore_generator(one) for one in state["generators"]]

    def _each(self, numbers: Array) -> Array:
        return numbers[:, None, None]

    def _alpha(self) -> Array:
        scale = np.sqrt(self.wins.sum(axis=(1, 2, 3))) if self.schedule == "sqrt" else 1.0
        return np.asarray(self.alpha * scale)

    def _logged(self, run: int, pairs: int, data: tuple[ArrayLike, ArrayLike, ArrayLike] | None) -> Array:
        bandit, rng = self.bandits[run], self.rngs[run]
        contexts, arms = bandit.rewards.shape
        if data is not None:
            return tabular.count_pairs((contexts, arms), *pair_indices(data, contexts, arms))
        x = rng.choice(contexts, size=pairs, p=bandit.weights)
        first, second = _draw(bandit.reference[x], rng.random((2, pairs)))
        won = bandit.compare(x, first, second, rng)
        return tabular.count_pairs((contexts, arms), x, np.where(won, first, second), np.where(won, second, first))

    def _duel(self, run: int) -> bool:
        """Play a round of ``duel_v0`` with the present policy on both sides, and add the pair; return whether they differ."""
        duel, rng = self._duels[run], self.rngs[run]
        duel.np_random = rng  # one generator a run, so that a checkpoint holds all of its chance
        x = int(duel.reset()[0]["player_0"])
        first, second = (int(y) for y in _draw(self.theta[run, [x]], rng.random((2, 1)))[:, 0])
        rewards = duel.step({"player_0": first, "player_1": second})[1]
        winner, loser = (first, second) if rewards["player_0"] > rewards["player_1"] else (second, first)
        self.wins[run, x, winner, loser] += 1
        return winner != loser

    def _descend(self) -> None:
        fixed = (self.reference, self.wins, self.calibration())
        alpha, beta = self._each(self._alpha()), self._each(self.beta)
        for _ in range(self.steps_per_round):
            slope = tabular.gradient(self.theta, *fixed, beta=beta, alpha=alpha, mode=self.mode)
            self.theta = adamw(self.theta, slope, self.moments, rate=self.learning_rate, decay=self.weight_decay)

    def _minimise(self, changed: NDArray[np.bool_]) -> None:
        """Minimise the loss of the runs in which it changed."""
        calibration, alpha = self.calibration(), self._alpha()
        for run in np.flatnonzero(changed):
            reference, beta, reward = self.reference[run], float(self.beta[run]), self.reward_bound
            convex = self.mode == "offline" or alpha[run] == 0
            starts = [self.theta[run]] if convex else [self.theta[run], reference]
            self.theta[run] = bounded_minimum(
                starts, reference, self.wins[run], calibration[run],
                beta=beta, alpha=float(alpha[run]), mode=self.mode,
                bound=self.bound if reward is None else reward / beta, around=0.0 if reward is None else reference,
            )  # fmt: skip

    def _numbers(self, gaps: Array) -> dict[str, float]:
        calibration = self.calibration()
        logps = self.calibration_logps()
        gain = logps - (calibration * tabular.log_softmax(self.reference)).sum(axis=(1, 2))
        numbers = {
            "train/loss": self._mean_loss(calibration),
            "vpo/suboptimality": float(gaps.mean()),
            "vpo/calibration_logps": float(logps.mean()),
            "vpo/value": float((-self.beta * gain).mean()),
        }
        return numbers | ({"vpo/regret": float(self.regret.mean())} if self.mode == "online" else {})

    def _mean_loss(self, calibration: Array) -> float:
        """Return the mean of the runs' losses, each group of one alpha and beta at a time."""
        settings, group = np.unique(np.stack([self._alpha(), self.beta]), axis=1, return_inverse=True)
        total = 0.0
        for k, (alpha, beta) in enumerate(settings.T):
            arrays = (array[group.ravel() == k] for array in (self.theta, self.reference, self.wins, calibration))
            total += tabular.loss(*arrays, beta=float(beta), alpha=float(alpha), mode=self.mode)
        return total / len(self.bandits)

    def _problem(self) -> dict[str, Any]:
        given = [] if isinstance(self._calibration, str) else [self._calibration]
        return {
            "mode": self.mode,
            "bandits": digest([self.rewards, self.reference, self.weights, *given]),
            "seeds": digest(list(self.seeds)),
            "alpha": self.alpha.tolist(),
            "beta": self.beta.tolist(),
            "calibration": self._calibration if isinstance(self._calibration, str) else "a distribution",
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "settings": [self.learning_rate, self.weight_decay, self.steps_per_round, self.bound, self.reward_bound],
            "pairs": digest([self.wins]) if self.mode == "offline" else "from duels",
        }


def _draw(logits: Array, uniform: Array) -> NDArray[np.intp]:
    """Return arms drawn from softmax(logits), (n, K), by inversion of uniform numbers (m, n)."""
    cumulative = np.exp(tabular.log_softmax(logits)).cumsum(axis=-1)
    return np.asarray((cumulative > uniform[..., None] * cumulative[:, -1:]).argmax(axis=-1))
