"""Train a robust deep policy from its environment's id, and find out what it is worth when the world shifts."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium

from robust_rl import envs
from robust_rl.errors import InvalidArgumentError, NoTableError, nearest
from robust_rl.models import TabularMDP
from robust_rl.rllib._compat import ray
from robust_rl.rllib.export import export_policy
from robust_rl.rllib.grid import grid_evaluation
from robust_rl.rllib.learner import RLlibLearner
from robust_rl.rllib.network_policy import NetworkPolicy
from robust_rl.rllib.registration import is_finite, register_envs
from robust_rl.rllib.robust_dqn import RobustDQNConfig
from robust_rl.rllib.robust_ppo import RobustPPOConfig
from robust_rl.rllib.tabulated import policy_table
from robust_rl.solvers import policy_value, solve
from robust_rl.table import Estimate, Table
from robust_rl.training import RunDirectory, Trainer
from robust_rl.uncertainty import RectangularSet

ALGORITHMS: dict[str, Callable[[], Any]] = {"dqn": RobustDQNConfig, "ppo": RobustPPOConfig}
LEAST_REWARDS = {
    "Acrobot-v1": -1.0, "CartPole-v1": 0.0, "MountainCar-v0": -1.0, "MountainCarContinuous-v0": -0.1,
    "Pendulum-v1": -(math.pi**2 + 0.1 * 8**2 + 0.001 * 2**2),
}  # fmt: skip
"""Of environments without a table, from their documentation."""


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    ===========  ==========================================================================================================
    policy       NetworkPolicy
    tables       one a shift, one column a value: mean return with a 95 % interval; none if the training was interrupted
    exact        for an environment with a table: exact values of the greedy policy and of optimal ones; else None
    steps        environment steps sampled
    interrupted  whether a signal ended the training
    ===========  ==========================================================================================================
    """

    policy: NetworkPolicy
    tables: Mapping[str, Table]
    exact: Table | None
    steps: int
    interrupted: bool

    def __str__(self) -> str:
        tables = [*self.tables.values(), *([] if self.exact is None else [self.exact])]
        return "\n".join([f"{self.steps:,} steps", *map(str, tables)])

    def summary(self) -> dict[str, Any]:
        """Return JSON values."""
        exact = None if self.exact is None else self.exact.to_dict()
        return {"steps": self.steps, "shifts": {name: table.to_dict() for name, table in self.tables.items()}, "exact": exact}


class DeepTraining:
    """Training with RLlib, and evaluation of the policy under shifts; everything is checked here, before anything starts.

    Parameters
    ----------
    env_id : str
        As :func:`robust_rl.rllib.register_envs` knows, or another Gymnasium id.
    algorithm : {"dqn", "ppo"}
    uncertainty : RectangularSet or None
        What the algorithm takes, see its configuration; None is RLlib's own algorithm.
    steps : int
        Environment steps, rounded up to whole iterations of RLlib.
    shifts : mapping, optional
        As ``{"length": [0.5, 1.0]}``; see :func:`~robust_rl.rllib.grid_evaluation`.
    episodes : int
        For each value of each shift.
    value_floor : float, optional
        Value of the worst state there is. Default: the least reward over 1 - discount, and at most 0, where the least reward is
        known: of environments with a table, and of Gymnasium's classic control.
    discount : float
    env_kwargs : mapping, optional
        Arguments of the environment.
    workers : int
        Processes that sample, and as many that evaluate; 0 does both in this one.
    seed : int
    **settings
        Handed on to the ``training`` of the algorithm's configuration.

    Attributes
    ----------
    config : AlgorithmConfig
        May be changed until :meth:`run`.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError, UnknownNameError
        If an argument, a shift or the set doesn't fit.

    Examples
    --------
    ::

        ball = rr.TotalVariation(0.1, support="free")
        trained = DeepTraining("CartPole-v1", "dqn", ball, steps=20_000, shifts={"length": [0.5, 1.5]}).run("runs/pole")
        trained.policy.predict(observation)
    """

    def __init__(
        self,
        env_id: str,
        algorithm: str = "dqn",
        uncertainty: RectangularSet | None = None,
        *,
        steps: int,
        shifts: Mapping[str, Sequence[Any]] | None = None,
        episodes: int = 100,
        value_floor: float | None = None,
        discount: float = 0.99,
        env_kwargs: Mapping[str, Any] | None = None,
        workers: int = 0,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.env, self.uncertainty, self.steps = envs.make(env_id, **(env_kwargs or {})), uncertainty, steps
        for name, values in (shifts or {}).items():
            for value in values:
                envs.shift(self.env, **{name: value})
        self.grid = grid_evaluation(shifts, episodes, seed=seed) if shifts else None
        self.config = _configured(env_id, algorithm, env_kwargs, workers, seed)
        floor = known_floor(self.env, discount) if value_floor is None else value_floor
        self.config.training(uncertainty=uncertainty, value_floor=floor, gamma=discount, **settings)
        if self.grid is not None:
            self.grid.add_to(self.config, every=None, runners=workers)
        self.config.validate()

    def run(self, run: RunDirectory | str | Path | None = None, *, checkpoint_every: int = 5, progress: bool = False) -> Trained:
        """Train and evaluate.

        Parameters
        ----------
        run : RunDirectory or path, optional
            Where to log and checkpoint, and to leave ``result/policy.safetensors``. A run that was killed goes on from its last
            checkpoint; how exactly, says :class:`~robust_rl.rllib.RLlibLearner`.
        checkpoint_every : int
            RLlib iterations between checkpoints.
        progress : bool
            Show a progress bar on stderr.
        """
        directory = RunDirectory(run) if isinstance(run, str | Path) else run
        trainer = Trainer(directory, checkpoint_every=None if directory is None else checkpoint_every, progress=progress)
        with running_ray(2 * self.config.num_env_runners + 1):
            register_envs(self.config.env)
            learner = RLlibLearner(self.config, self.steps)
            try:
                trainer.fit(learner)
                policy, tables = export_policy(learner.algo), self._tables(learner.algo, trainer.interrupted)
            finally:
                learner.algo.stop()
        if directory is not None:
            policy.save(directory.result / "policy")
        exact = exact_values(policy, table_or_none(self.env), self.uncertainty, self.config.gamma)
        return Trained(policy, tables, exact, learner.sampled, trainer.interrupted)

    def _tables(self, algo: Any, interrupted: bool) -> dict[str, Table]:
        if self.grid is None or interrupted:
            return {}
        algo.evaluate()
        return self.grid.tables(algo)


@contextmanager
def running_ray(processes: int) -> Iterator[None]:
    """Inside the block Ray runs; one that was started for it ends with it."""
    if ray.is_initialized():
        yield
        return
    with _own_answer_to_sigterm():
        ray.init(address="local", num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_answer_to_sigterm() -> Iterator[None]:
    """Inside the block Ray starts, and has a SIGTERM end the process with exit code 15, as no other command ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as leaving:
        raise SystemExit(128 + signal.SIGTERM) from leaving
    finally:
        signal.signal(signal.SIGTERM, before)


def known_floor(env: gymnasium.Env[Any, Any], discount: float) -> float | None:
    """Return a lower bound of every state's value, at most 0, or None if the least reward isn't known.

    Examples
    --------
    >>> known_floor(envs.make("CliffWalking-v1"), 0.99), known_floor(envs.make("CartPole-v1"), 0.99)
    (-10000.0, 0.0)
    """
    model = table_or_none(env)
    if model is not None:
        rewards = model.rewards.data if model.is_sparse and model.has_transition_rewards else model.rewards
        least = float(rewards.min(initial=0.0))
    elif env.spec is not None and env.spec.id in LEAST_REWARDS:
        least = LEAST_REWARDS[env.spec.id]
    else:
        return None
    return round(least / (1 - discount), 6) if discount < 1 else None


def table_or_none(env: gymnasium.Env[Any, Any]) -> TabularMDP | None:
    """Return the exact model of an environment, if it has one."""
    try:
        return envs.tabular(env) if is_finite(env.observation_space) else None
    except NoTableError:
        return None


def _configured(env_id: str, algorithm: str, env_kwargs: Mapping[str, Any] | None, workers: int, seed: int) -> Any:
    if algorithm not in ALGORITHMS:
        known = list(ALGORITHMS)
        raise InvalidArgumentError(f"algorithm {algorithm!r}{nearest(algorithm, known)}; there are {', '.join(known)}")
    return (
        ALGORITHMS[algorithm]()
        .environment(env_id, env_config=dict(env_kwargs or {}))
        .env_runners(num_env_runners=workers)
        .debugging(seed=seed, log_level="ERROR")
    )


def exact_values(
    policy: NetworkPolicy, model: TabularMDP | None, uncertainty: RectangularSet | None, discount: float
) -> Table | None:
    """Return exact values from the start, of the greedy policy beside the optimum; None without a table.

    The nominal optimum, too, is judged in the worst case; where several policies are optimal, it is one of them.
    """
    if model is None or policy.num_states is None:
        return None
    columns = {"nominal": None} | ({} if uncertainty is None else {"worst case": uncertainty})
    policies = {"learned": policy_table(policy, model)}
    policies |= {f"optimal: {name}": solve(model, ball, discount=discount).policy for name, ball in columns.items()}
    cells = [
        tuple(_number(model.start @ policy_value(model, table, ball, discount=discount)) for ball in columns.values())
        for table in policies.values()
    ]
    return Table(f"exact value from the start, discount {discount:g}", tuple(policies), tuple(columns), tuple(cells))


def _number(value: Any) -> Estimate:
    return Estimate(float(value), float(value), float(value))
