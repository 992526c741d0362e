"""Sweeps: the same trial over a grid of configurations, in a process pool, with one table of results.

    grid = Grid({"env": "FrozenLake-v1", "set": "tv", "support": "reachable", "discount": 0.99},
                {"samples": [100, 1000], "radius": [0.01, 0.05, 0.1, 0.2], "seed": range(5)})
    results = run_sweep(PlanningTrial, grid, run="runs/sweep", workers=2)

A configuration is plain data. Trials end in any order; results are in the grid's. :func:`robust_rl.rllib.tune_sweep` takes the
same grid to Ray Tune and returns the same results.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.pictures import mean_interval, return_under_shift
from robust_rl.table import Estimate, Table
from robust_rl.training import Figure, RunDirectory, Section, Trainer, write_json
from robust_rl.training import Table as PageTable
from robust_rl.training.trials import Factory, Trials

KNOWN = "true model"
ROBUST, NOMINAL, OPTIMUM, SHORTFALL = (f"trial/{name}" for name in ("robust_value", "nominal_value", "optimum", "shortfall"))


class Grid:
    """All combinations of some values, over what is fixed.

    Parameters
    ----------
    fixed : mapping
        Entries of every configuration.
    axes : mapping
        Entry -> values; the last axis varies fastest.

    Raises
    ------
    InvalidArgumentError
        If an axis has no value or one twice, or is fixed too.

    Examples
    --------
    >>> Grid({"env": "Taxi-v3"}, {"radius": [0.1, 0.2], "seed": [0]}).configurations()
    [{'env': 'Taxi-v3', 'radius': 0.1, 'seed': 0}, {'env': 'Taxi-v3', 'radius': 0.2, 'seed': 0}]
    """

    def __init__(self, fixed: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> None:
        self.fixed, self.axes = dict(fixed), {name: list(values) for name, values in axes.items()}
        for name, values in self.axes.items():
            if not values or len(set(values)) < len(values) or name in self.fixed:
                raise InvalidArgumentError(
                    f"{name} takes {values}; give at least one value, each once, and fix or vary, not both"
                )

    def configurations(self) -> list[dict[str, Any]]:
        """Return every configuration."""
        return [self.fixed | dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]


def run_sweep(
    factory: Factory,
    grid: Grid,
    *,
    run: RunDirectory | str | Path,
    workers: int = 1,
    checkpoint_every: int | None = None,
    progress: bool = False,
) -> list[dict[str, float]] | None:
    """Drive one trial a configuration in a process pool, and return the last metrics of each, in the grid's order.

    Parameters
    ----------
    factory : callable
        Configuration -> Trainable, such as :class:`robust_rl.planning_trial.PlanningTrial`; other processes import it by name.
    grid : Grid
    run : RunDirectory or path
        Where the sweep and, below ``trials``, every trial is logged. A sweep that was killed goes on there.
    workers : int
        Processes at a time.
    checkpoint_every : int, optional
        Steps between a trial's checkpoints.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of dict, or None if a signal ended the sweep

    Raises
    ------
    InvalidArgumentError
        If there is no worker, or the run is of another grid.
    RobustRLError
        What a trial raised.
    """
    directory = run if isinstance(run, RunDirectory) else RunDirectory(run)
    configurations = grid.configurations()
    trials = Trials(factory, configurations, directory.path / "trials", workers=workers, checkpoint_every=checkpoint_every)
    try:
        Trainer(directory, max_steps=len(configurations), checkpoint_every=1, progress=progress).fit(trials)
    finally:
        trials.close()
    return trials.results if trials.done else None


def sweep_table(grid: Grid, results: Sequence[Mapping[str, float]], metric: str = ROBUST, title: str = "") -> Table:
    """Return the means of a metric over ``seed``: a row for each number of samples, a column for each radius.

    Parameters
    ----------
    grid : Grid
        With axes ``samples``, ``radius`` and ``seed``.
    results : sequence
        What :func:`run_sweep` returned.
    metric : str
    title : str
        Default: the metric.

    Returns
    -------
    Table
        Cells are means with 95 % intervals (Student's t), or numbers where there is one seed. Of the robust value, a last row
        holds the optimum in the true model.
    """
    shape = tuple(len(grid.axes[axis]) for axis in ("samples", "radius", "seed"))
    if tuple(grid.axes) != ("samples", "radius", "seed"):
        raise InvalidArgumentError(f"the grid's axes are {', '.join(grid.axes)}; the table needs samples, radius, seed")
    values = np.array([result[metric] for result in results]).reshape(shape)
    rows = [KNOWN if samples is None else f"{samples} samples" for samples in grid.axes["samples"]]
    cells = [tuple(map(_estimate, row)) for row in values]
    if metric == ROBUST and KNOWN not in rows:
        optimum = np.array([result[OPTIMUM] for result in results]).reshape(shape)[0, :, 0]
        rows, cells = [*rows, KNOWN], [*cells, tuple(_estimate(number) for number in optimum[:, None])]
    return Table(title or metric, tuple(rows), tuple(repr(radius) for radius in grid.axes["radius"]), tuple(cells))


def write_sweep(run: RunDirectory, grid: Grid, results: Sequence[Mapping[str, float]], table: Table) -> Path:
    """Write ``result/sweep.json``: configurations with their results, and the table; return its path."""
    trials = [
        {"configuration": configuration, "result": dict(result)}
        for configuration, result in zip(grid.configurations(), results, strict=True)
    ]
    path = run.result / "sweep.json"
    write_json(path, {"table": table.to_dict(), "trials": trials})
    return path


def write_sweep_report(run: RunDirectory, grid: Grid, results: Sequence[Mapping[str, float]], world: str) -> Path:
    """Write ``result/report.html`` and ``sweep.png`` of a sweep of planning trials; return the page's path.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    named = {
        ROBUST: "value from the start, worst case around the true model",
        NOMINAL: "value from the start, true model",
        SHORTFALL: "optimum less worst-case value",
    }
    tables = {metric: sweep_table(grid, results, metric, title) for metric, title in named.items()}
    picture = return_under_shift(tables[ROBUST], f"{grid.fixed['set']} radius")
    picture.savefig(run.result / "sweep.png", dpi=110)
    text = (
        f"From every state and action so many next states were drawn, a robust policy was planned on the empirical model, and "
        f"held against the worst case around the true one. Means over {len(grid.axes['seed'])} seeds with 95 % intervals."
    )
    items: list[Any] = [Figure(picture), *(_page_table(table) for table in tables.values())]
    return run.report(f"{world}: what samples are worth", [Section("Values over radii and samples", text, items)])


def _estimate(values: np.ndarray) -> Estimate:
    middle, half = map(float, mean_interval(values))
    if len(values) == 1:
        return Estimate(middle, middle, middle, "exact")
    return Estimate(middle - half, middle + half, middle, "interval")


def _page_table(table: Table) -> PageTable:
    rows = [[row, *map(str, cells)] for row, cells in zip(table.rows, table.cells, strict=True)]
    return PageTable(["radius", *table.columns], rows, caption=table.title)
