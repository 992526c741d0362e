"""Evaluation over a grid of shifted worlds, in RLlib's parallel runners.

Each point of the grid is played by one runner, in worlds and with seeds of its own, so the table is that of a serial evaluation:

    for every value of every shift:  play ``episodes`` episodes, the first reset with ``seed``

Ray 2.60 drops what a custom evaluation function returns; what ``on_evaluate_end`` adds to the evaluation's results is kept. So
there are two functions, and the tables wait on the algorithm in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError, RobustRLError
from robust_rl.evaluation import confidence_interval
from robust_rl.rllib._compat import MultiAgentEpisode
from robust_rl.table import Table

Returns = dict[str, NDArray[np.float64]]
"""Who plays -> returns, (episodes,)."""
Played = tuple[Returns, int]
"""Returns, and number of environment steps."""
POLICY, RESULT, KEPT = "policy", "shifts", "robust_rl_tables"


def grid_evaluation(shifts: Mapping[str, Sequence[Any]], episodes: int = 100, *, seed: int = 0) -> GridEvaluation:
    """Return an evaluation under shifts for RLlib, in which one thing about the world changes at a time.

    Parameters
    ----------
    shifts : mapping
        As ``{"length": [0.5, 1.0], "action_noise": [0, 0.1]}``. The runners' environment is made again with
        ``env_config["shift"]`` set to one of them, which environments of :func:`robust_rl.rllib.register_envs` understand.
    episodes : int
        For each value, at least 2.
    seed : int
        Of the first episode under each value: the same for all, so that differences between columns owe least to chance.

    Returns
    -------
    GridEvaluation
        ``add_to(config)`` makes a configuration use it.

    Raises
    ------
    InvalidArgumentError
        If there is no shift or value, or too few episodes.

    Examples
    --------
    >>> grid = grid_evaluation({"length": [0.5, 1.0]}, episodes=20)
    >>> grid.points
    (('length', 0.5), ('length', 1.0))
    """
    points = tuple((name, value) for name, values in shifts.items() for value in values)
    if not points or not all(len(values) for values in shifts.values()):
        raise InvalidArgumentError(f"shifts={dict(shifts)!r}; give at least one value of each, as {{'length': [0.5, 1.0]}}")
    if episodes < 2:
        raise InvalidArgumentError(f"episodes={episodes} gives no interval; use at least 2")
    return GridEvaluation(points, episodes, seed)


@dataclass(frozen=True)
class GridEvaluation:
    """What :func:`grid_evaluation` returns.

    ======== ==============================================
    points   (name, value) of every shift
    episodes number of episodes for each
    seed     of the first reset for each
    ======== ==============================================
    """

    points: tuple[tuple[str, Any], ...]
    episodes: int
    seed: int

    def add_to(self, config: Any, *, every: int | None = 1, runners: int = 0) -> Any:
        """Return the configuration, set to evaluate so.

        Parameters
        ----------
        config : AlgorithmConfig
            Its ``on_evaluate_end`` callback and evaluation function are replaced.
        every : int
            Training iterations between evaluations; None for those that ``algo.evaluate()`` asks for alone.
        runners : int
            Processes that evaluate; 0 for the driver's own.
        """
        return config.evaluation(
            custom_evaluation_function=self.evaluate, evaluation_interval=every, evaluation_num_env_runners=runners
        ).callbacks(on_evaluate_end=self.publish)

    def evaluate(self, algorithm: Any, runners: Any) -> tuple[dict[str, Any], int, int]:
        """Play the grid with the algorithm's present policy; RLlib's ``custom_evaluation_function``."""
        group = algorithm.env_runner_group if runners is None else runners
        tasks = [partial(play_point, point=point, episodes=self.episodes, seed=self.seed) for point in self.points]
        played = _spread(group, tasks)
        steps = sum(count for _, count in played)
        setattr(algorithm, KEPT, self._tables([returns for returns, _ in played]))
        return {}, steps, steps

    def publish(self, *, algorithm: Any, evaluation_metrics: dict[str, Any], **_: Any) -> None:
        """Put the tables into the results of ``evaluate()`` and ``train()["evaluation"]``; RLlib's ``on_evaluate_end``.

        As ``result["evaluation"]["shifts"]["length"]["policy"]["0.5"]``, with ``mean``, ``low`` and ``high``; in a game with the
        agents' names instead of ``policy``.
        """
        evaluation_metrics[RESULT] = {name: _as_numbers(table) for name, table in self.tables(algorithm).items()}

    def tables(self, algorithm: Any) -> dict[str, Table]:
        """Return the tables of an algorithm's last evaluation, one a shift, one column a value."""
        return dict(getattr(algorithm, KEPT, {}))

    def _tables(self, played: Sequence[Returns]) -> dict[str, Table]:
        names = dict.fromkeys(name for name, _ in self.points)
        return {
            name: _table(name, {label(v): r for (n, v), r in zip(self.points, played, strict=True) if n == name})
            for name in names
        }


def play_point(runner: Any, *, point: tuple[str, Any], episodes: int, seed: int) -> Played:
    """Play episodes in a shifted world with a runner's policy.

    The runner itself is left alone: a second one with the same weights and connectors, one environment and the seed plays.
    """
    name, value = point
    config = runner.config.copy(copy_frozen=False)
    config.environment(env_config={**config.env_config, "shift": {**config.env_config.get("shift", {}), name: value}})
    config.env_runners(num_envs_per_env_runner=1, gym_env_vectorize_mode="sync").debugging(seed=None)
    with kept_generators():  # this process may be the one that trains
        player = type(runner)(config=config, worker_index=1, num_workers=1)
    player._seed = seed  # in the configuration it would seed this whole process
    try:
        player.set_state(runner.get_state())
        played = player.sample(num_episodes=episodes, explore=False)
    finally:
        player.stop()
    return _returns(played), sum(len(episode) for episode in played)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the process's random generators back as they were before the block."""
    import torch

    before, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(before)
        np.random.set_state(numpys)  # noqa: NPY002


def label(value: Any) -> str:
    """Return a value of a shift as a column's name."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _spread(group: Any, tasks: Sequence[Callable[[Any], Played]]) -> list[Played]:
    """Return the tasks' results in order, as many at a time as there are runners; a runner that dies costs a repetition."""
    if not group.num_remote_env_runners():
        return [task(group.local_env_runner) for task in tasks]
    done: dict[int, Played] = {}
    while len(done) < len(tasks):
        runners = group.healthy_env_runner_ids()
        todo = [index for index in range(len(tasks)) if index not in done][: len(runners)]
        found = group.foreach_env_runner(
            [partial(_numbered, index=index, task=tasks[index]) for index in todo],
            local_env_runner=False,
            remote_worker_ids=runners[: len(todo)],
        )
        if not found:
            raise RobustRLError("no evaluation runner is left to play the grid; see Ray's log of what ended them")
        done |= dict(found)
    return [done[index] for index in range(len(tasks))]


def _numbered(runner: Any, index: int, task: Callable[[Any], Played]) -> tuple[int, Played]:
    return index, task(runner)


def _returns(episodes: Sequence[Any]) -> Returns:
    if not isinstance(episodes[0], MultiAgentEpisode):
        return {POLICY: np.array([episode.get_return() for episode in episodes])}
    agents = sorted(episodes[0].agent_episodes)
    return {agent: np.array([episode.agent_episodes[agent].get_return() for episode in episodes]) for agent in agents}


def _table(name: str, by_value: Mapping[str, Returns]) -> Table:
    rows = tuple(next(iter(by_value.values())))
    cells = tuple(tuple(confidence_interval(returns[row]) for returns in by_value.values()) for row in rows)
    return Table(f"return under {name.replace('_', ' ')}", rows, tuple(by_value), cells)


def _as_numbers(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    return {
        row: {
            column: {"mean": float(cell.middle or 0.0), "low": cell.low, "high": cell.high}
            for column, cell in zip(table.columns, cells, strict=True)
        }
        for row, cells in zip(table.rows, table.cells, strict=True)
    }
