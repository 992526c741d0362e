"""The page that training with RLlib leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robust_rl import pictures
from robust_rl.pictures.canvas import figure, tidy
from robust_rl.reports import how_read, shift_page_table
from robust_rl.rllib.training import Trained
from robust_rl.training import Figure, RunDirectory, Section, write_report

RETURN = "sample/episode_return_mean"


def write_training_report(run: RunDirectory, name: str, uncertainty: Any, trained: Trained) -> Path:
    """Write ``result/report.html`` of a run and return its path.

    Parameters
    ----------
    run : RunDirectory
        With the metrics of the training.
    name : str
        What was trained, in words.
    uncertainty : RectangularSet or None
    trained : Trained

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    sections = [
        *(
            Section(
                f"Return when {axis.replace('_', ' ')} shifts",
                "The policy was trained in the world as it was modelled, and plays in the shifted ones; "
                "the first episode under each value has the same seed.",
                (Figure(pictures.return_under_shift(table, axis)), shift_page_table(axis, table)),
            )
            for axis, table in trained.tables.items()
        ),
        *_exact(trained),
        Section("Training", f"{trained.steps:,} steps of the environment.", _curve(run)),
    ]
    subtitle = "no uncertainty" if uncertainty is None else repr(uncertainty)
    return write_report(run.result / "report.html", f"{name}: a deep policy under shift", sections, subtitle)


def _exact(trained: Trained) -> Sequence[Section]:
    if trained.exact is None:
        return []
    text = f"The environment has a table, so the network's greedy policy has exact values ({how_read(trained.exact)})."
    return [Section("Exact values", text, (shift_page_table("policy", trained.exact),))]


def _curve(run: RunDirectory) -> Sequence[Figure]:
    points = [(record["sample/env_steps"], record[RETURN]) for record in run.metrics() if RETURN in record]
    if not points:
        return ()
    made, ((axes,),) = figure(1, 1, 7.0, 3.5)
    axes.plot(*zip(*points, strict=True), "o-", markersize=3)
    axes.set(xlabel="environment steps", ylabel="mean return of the last episodes")
    tidy(axes)
    return (Figure(made, "return while exploring, as RLlib reports it"),)
