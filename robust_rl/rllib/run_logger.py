"""RLlib's results in a run directory: ``metrics.jsonl`` as every other algorithm of the library writes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from robust_rl.training import RunDirectory

GROUPS = {"env_runners": "sample", "learners": "learn", "evaluation": "evaluate"}
"""Parts of RLlib's results that are kept, and the groups they get; the rest is about processes."""
NOISE = ("timer", "connector", "throughput", "num_", "sum_episodes_length", "weights_seq_no")
STEPS = "num_env_steps_sampled_lifetime"


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a result of ``algo.train()`` that say how learning goes, by group.

    Examples
    --------
    >>> numbers({"env_runners": {"episode_return_mean": 21.5, "sample": 0.1}, "learners": {"p0": {"total_loss": 2.0}}, "pid": 7})
    {'sample/episode_return_mean': 21.5, 'learn/p0/total_loss': 2.0}
    """
    found = {f"{group}/{name}": value for part, group in GROUPS.items() for name, value in _flat(result.get(part, {}), "")}
    steps = result.get(STEPS)
    return found if steps is None else found | {"sample/env_steps": float(steps)}


class RunLogger:
    """Writes every result of an algorithm into a run: ``config.callbacks(on_train_result=RunLogger("runs/mine"))``.

    A step of the run is a training iteration. The run is the logger's from its first line on; ``close()`` marks it finished, and
    without that it counts as interrupted once the process has ended. An algorithm that was restored goes on in the same run:
    lines after the iteration it was restored from are dropped.

    Parameters
    ----------
    run : path
        The run's directory.

    Notes
    -----
    RLlib copies and pickles configurations, so a logger travels as its path.
    """

    _open: dict[Path, RunDirectory] = {}
    """The runs that this process holds; copies of a logger share one."""

    def __init__(self, run: str | Path) -> None:
        self.path = Path(run).absolute()

    def __call__(self, *, result: Mapping[str, Any], algorithm: Any = None, **_: Any) -> None:
        """Write a line; RLlib's ``on_train_result``.

        Raises
        ------
        RunInUseError
            If another process holds the run.
        CheckpointError
            If the disk is full or read-only.
        """
        step = int(result["training_iteration"])
        run = self._open.get(self.path)
        if run is None:
            run = RunDirectory(self.path)
            run.start(None if algorithm is None else {"algorithm": type(algorithm).__name__, "env": str(algorithm.config.env)})
            run.truncate_metrics(step - 1)
            self._open[self.path] = run
        run.log(step, numbers(result))
        run.sync_metrics()

    def close(self) -> None:
        """Mark the run finished and let go of it."""
        run = self._open.pop(self.path, None)
        if run is not None:
            run.finish()


def _flat(content: Mapping[str, Any], before: str) -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of nested dictionaries, names joined by slashes."""
    for key, value in content.items():
        name = f"{before}{key}"
        if any(part in name for part in NOISE) or name == "sample":
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        elif isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)
