"""Ray Tune's side of a Trainable: the library's own have the three methods Tune asks for, under the same names.

    tune.Tuner(tune_trainable(PlanningTrial), param_space={"env": "FrozenLake-v1", "radius": tune.grid_search([0.05, 0.1]), ..})

Early stopping, restoring and placing trials on a cluster are Tune's. A trial takes a process of several seconds to start and
0.3 GB; for trials that are over sooner, :func:`robust_rl.sweeps.run_sweep` runs the same configurations in a process pool.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from robust_rl.errors import InvalidArgumentError, RobustRLError
from robust_rl.rllib._compat import start_ray, tune
from robust_rl.sweeps import Grid
from robust_rl.training import RunDirectory, Trainable, read_json, write_json

STATE = "tune.json"


class TuneTrainable(tune.Trainable):  # type: ignore[misc]
    """Drives a Trainable under Tune; made by :func:`tune_trainable`, which sets the two attributes."""

    factory: Callable[[Mapping[str, Any]], Trainable]
    steps: int

    def setup(self, config: dict[str, Any]) -> None:
        """Make the Trainable of a configuration."""
        self.inner = type(self).factory(config)
        self.last: dict[str, float] = {}

    def step(self) -> dict[str, Any]:
        """Make some steps, and return the last one's metrics; those of before, if there was nothing left to do."""
        for _ in range(self.steps):
            if self.inner.done:
                break
            self.last = {name: float(value) for name, value in self.inner.step().items()}
        return self.last | {"done": bool(self.inner.done)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the Trainable's state, and its last metrics."""
        directory = Path(checkpoint_dir)
        self.inner.save_checkpoint(directory)
        write_json(directory / STATE, {"last": {name: repr(value) for name, value in self.last.items()}})

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Continue from what :meth:`save_checkpoint` wrote."""
        directory = Path(checkpoint_dir)
        self.inner.load_checkpoint(directory)
        self.last = {name: float(value) for name, value in read_json(directory / STATE)["last"].items()}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration in the same process: what ``tune.TuneConfig(reuse_actors=True)`` asks for."""
        self.setup(new_config)
        return True


def tune_trainable(factory: Callable[[Mapping[str, Any]], Trainable], *, steps: int = 1) -> type[TuneTrainable]:
    """Return a class that ``ray.tune.Tuner`` takes.

    Parameters
    ----------
    factory : callable
        Configuration, the trial's part of ``param_space`` -> Trainable. Any of the library's will do:
        :class:`robust_rl.planning_trial.PlanningTrial`, or ``lambda c: robust_rl.solvers.planner(...)``. Large fixed arrays are
        given to it by ``tune.with_parameters``, once for all trials.
    steps : int
        Steps of the Trainable to one of Tune's, after each of which Tune takes some milliseconds for itself.

    Raises
    ------
    InvalidArgumentError
        If ``steps`` isn't positive.
    """
    if steps < 1:
        raise InvalidArgumentError(f"steps is {steps}; it must be at least 1")
    name = getattr(factory, "__name__", "trial")
    return type(name, (TuneTrainable,), {"factory": staticmethod(factory), "steps": steps, "__doc__": factory.__doc__})


def tune_sweep(
    factory: Callable[[Mapping[str, Any]], Trainable],
    grid: Grid,
    *,
    run: RunDirectory | str | Path,
    workers: int = 1,
    steps: int = 100,
    checkpoint_every: int = 10,
    progress: bool = False,
) -> list[dict[str, float]]:
    """Drive one trial a configuration under Ray Tune, and return the last metrics of each, in the grid's order.

    Parameters
    ----------
    factory : callable
        As for :func:`robust_rl.sweeps.run_sweep`.
    grid : Grid
    run : RunDirectory or path
        Tune keeps its own files below ``tune``, which hold pickles, as those of any Tune experiment: restore only your own. A
        sweep that was killed goes on there.
    workers : int
        Trials at a time, one processor each.
    steps : int
        As for :func:`tune_trainable`.
    checkpoint_every : int
        Tune's steps between a trial's checkpoints.
    progress : bool
        Let Tune print its tables, on stderr.

    Returns
    -------
    list of dict

    Raises
    ------
    RobustRLError
        If trials failed; the message names the first. The same call tries them again.
    InvalidArgumentError
        If the run is of another grid.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory(run)
    path, trainable = directory.path.resolve() / "tune", tune.with_resources(tune_trainable(factory, steps=steps), {"cpu": 1})
    directory.start()
    start_ray()
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(str(path), trainable, resume_unfinished=True, restart_errored=True)
    else:
        shutil.rmtree(path, ignore_errors=True)  # a kill before the first state was written leaves what can't be restored
        checkpoints = tune.CheckpointConfig(checkpoint_frequency=checkpoint_every, checkpoint_at_end=True, num_to_keep=1)
        tuner = tune.Tuner(
            trainable,
            param_space=grid.fixed | {name: tune.grid_search(values) for name, values in grid.axes.items()},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name=path.name, storage_path=str(path.parent), verbose=int(progress), checkpoint_config=checkpoints
            ),
        )
    with redirect_stdout(sys.stderr):  # stdout is for results; Tune has a banner even when it is asked to be quiet
        found = tuner.fit()
    directory.finish("interrupted" if found.errors else "finished")
    if found.errors:
        raise RobustRLError(f"{len(found.errors)} of {len(found)} trials failed, the first with: {found.errors[0]}")
    return _in_order(grid, found)


def _in_order(grid: Grid, found: Any) -> list[dict[str, float]]:
    """Return each configuration's metrics, less what Tune adds."""
    by_place = {_place(grid, result.config): _own(result.metrics) for result in found}
    places = [_place(grid, configuration) for configuration in grid.configurations()]
    if set(places) != set(by_place):
        raise InvalidArgumentError("the run is of another grid; choose another run directory")
    return [by_place[place] for place in places]


def _place(grid: Grid, configuration: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(configuration[name] for name in grid.axes)


def _own(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return a Trainable's metrics, whose names have a group that Tune's own don't: ``solve/gap``; Tune nests what it saves."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name != "config":
            flat |= {f"{name}/{key}": float(entry) for key, entry in value.items() if isinstance(entry, int | float)}
        elif "/" in name and not name.startswith("config/"):
            flat[name] = float(value)
    return flat
