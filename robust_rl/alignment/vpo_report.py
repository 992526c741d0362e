"""A fine-tuning run on one page: the loss, the margins, log pi of the responses, and the value estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl.training import Figure, RunDirectory, Section, Table
from robust_rl.training.optional import require

PANELS = (
    ("Loss", "a pair's DPO loss is ln 2 before the first step", ("train/loss",)),
    ("Reward margin", "beta (h of chosen - h of rejected)", ("rewards/margins",)),
    (
        "log pi, mean of a response",
        "DPO alone may let that of chosen fall",
        ("logps/chosen", "logps/rejected", "vpo/calibration_logps"),
    ),
    ("Value estimate", "-beta E h on calibration samples; 0 at the reference", ("vpo/value",)),
)
NAMES = {"vpo/calibration_logps": "calibration", "logps/chosen": "chosen", "logps/rejected": "rejected"}


def write_vpo_report(
    run: RunDirectory, title: str, settings: Mapping[str, Any], counts: Mapping[str, int], more: Sequence[Section] = ()
) -> Path:
    """Write ``result/report.html`` from the run's metrics and return its path.

    Parameters
    ----------
    run
        The run.
    title
        The page's heading.
    settings
        What a reader should know of it, name -> value.
    counts
        As :func:`robust_rl.alignment.data.figures` returns them.
    more
        Sections that follow.

    Raises
    ------
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    metrics = run.metrics()
    caption = "Each point is an average over the steps since the one before. Compare runs at the same step only: batches differ."
    sections = [
        Section("Training", items=[Figure(picture(metrics), caption), _ends(metrics)]),
        Section("Settings", items=[Table(["option", "value"], [[name, str(value)] for name, value in settings.items()])]),
        *(
            [Section("Data", items=[Table(["what", "rows"], [[name, value] for name, value in counts.items()])])]
            if counts
            else []
        ),
        *more,
    ]
    return run.report(title, sections)


def picture(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Return a matplotlib figure of the four panels."""
    require("matplotlib", "robust-rl[report]")
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    canvas = Canvas(figsize=(9.0, 6.4), layout="constrained")
    for axes, (title, note, names) in zip(canvas.subplots(2, 2).flat, PANELS, strict=True):
        for name in names:
            steps, values = curve(metrics, name)
            dots, dashes = "o" if len(steps) < 30 else None, "--" if name == "vpo/calibration_logps" else "-"
            axes.plot(steps, values, dashes, marker=dots, markersize=3, label=NAMES.get(name))
        axes.set_title(title, loc="left")
        axes.set_xlabel(note, fontsize="small", loc="left")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(names) > 1:
            axes.legend(frameon=False, fontsize="small")
    canvas.supxlabel("optimiser step")
    return canvas


def curve(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return the steps and finite values of a metric."""
    points = [(line["step"], line[name]) for line in metrics if name in line and math.isfinite(line[name])]
    return [step for step, _ in points], [value for _, value in points]


def _ends(metrics: Sequence[Mapping[str, Any]]) -> Table:
    names = [name for _, _, panel in PANELS for name in panel] + ["rewards/accuracies", "eval/loss", "run/runtime"]
    found = [(name, curve(metrics, name)[1]) for name in names]
    return Table(["metric", "first", "last"], [[name, values[0], values[-1]] for name, values in found if values])
