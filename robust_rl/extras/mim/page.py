"""The page of a simulation: correlations in their phases, attention maps over training, and the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.extras.mim.snapshots import load_snapshots
from robust_rl.training import Figure, Section, Table, write_report
from robust_rl.training.optional import require

if TYPE_CHECKING:
    from robust_rl.extras.mim.simulation import Simulation

CURVES = {
    "phi/local_to_own": ("local patch, own area's feature (target)", "C0", "-"),
    "phi/local_to_global": ("local patch, global feature", "C3", "-"),
    "phi/local_to_other": ("local patch, another area's feature", "0.6", "-"),
    "phi/global_to_own": ("global patch, global feature", "C2", "-"),
    "upsilon/local_to_own": ("local patch, position in own area", "C0", ":"),
    "upsilon/local_to_global": ("local patch, position in global area", "C3", ":"),
}
PHASES = (
    "Means over clusters and patches; full lines are feature-position correlations Phi, dotted ones position-position "
    "correlations Upsilon, which grow where clusters have pairs of patches of one area in common."
)
MAPS = (
    "Where three hidden patches (stars) of one image look, in the course of training: two of local areas, one of the global one. "
    "Crosses are hidden patches; frames mark the patch's own area. Each map has its own scale, from 0 to its largest entry."
)


def write_page(simulation: Simulation, path: Path) -> Path:
    """Write the page and return its path.

    Raises
    ------
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    lines = simulation.run.metrics()
    found = simulation.report
    rows = [
        ("local patches to their own area", found.own_area, found.chance_own_area),
        ("local patches to the global area", found.to_global, found.chance_to_global),
        ("global patches to their own area", found.global_own_area, found.chance_global_own_area),
        ("mean cosine between two patches' rows", found.cosine, 1.0),
        ("masked loss", found.loss, None),
        ("its floor: patches whose whole area is hidden", found.floor, None),
        ("that of filling in zeros", found.zero_loss, None),
    ]
    sections = [
        Section("Correlations", items=[Figure(phases({"": lines}), PHASES)]),
        Section("Attention", items=[Figure(map_course(load_snapshots(simulation.run.result / "maps")), MAPS)]),
        Section("Numbers", "Shares of attention on visible patches.", [Table(["what", "found", "all patches alike"], rows)]),
    ]
    return write_report(path, "What a masked image model looks at", sections, subtitle=str(simulation))


def phases(courses: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Return a matplotlib figure: the correlations of each course (title -> metrics) against the step."""
    canvas = _canvas(figsize=(4.2 * len(courses) + 2.6, 3.6))
    panels = canvas.subplots(1, len(courses), squeeze=False, sharey=True)[0]
    for axes, (title, lines) in zip(panels, courses.items(), strict=True):
        steps = [line["step"] for line in lines]
        for key, (label, color, style) in CURVES.items():
            if key in lines[0]:
                axes.plot(steps, [line[key] for line in lines], style, color=color, label=label)
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set(xscale="log", xlabel="step", title=title)
    canvas.axes[0].set_ylabel("correlation")
    canvas.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize="small")
    return canvas


def map_course(snapshots: Mapping[int, Mapping[str, NDArray[Any]]], canvas: Any = None) -> Any:
    """Return a matplotlib figure of attention maps, or draw them into one: a row a patch, a column a step."""
    queries = next(iter(snapshots.values()))["queries"]
    if canvas is None:
        canvas = _canvas(figsize=(1.5 * len(snapshots) + 0.6, 1.6 * len(queries) + 0.3))
    grid = canvas.subplots(len(queries), len(snapshots), squeeze=False)
    for j, (step, found) in enumerate(snapshots.items()):
        for axes, query in zip(grid[:, j], queries, strict=True):
            draw_map(axes, found["attention"][query], found["mask"], found["area"], int(query))
        grid[0, j].set_title(f"step {step}", fontsize="medium")
    for axes, query in zip(grid[:, 0], queries, strict=True):
        area = next(iter(snapshots.values()))["area"][query]
        axes.set_ylabel("global" if area == 0 else f"local area {area}", fontsize="small")
    return canvas


def draw_map(axes: Any, row: NDArray[Any], mask: NDArray[Any], area: NDArray[Any], query: int) -> None:
    """Draw where one patch looks (P,), on the grid of patches."""
    side = math.isqrt(len(row))
    axes.imshow(row.reshape(side, side), cmap="viridis", vmin=0)
    hidden = np.flatnonzero(mask)
    axes.plot(hidden % side, hidden // side, "x", color="0.6", markersize=3)
    axes.plot(query % side, query // side, "*", color="C1", markersize=9)
    own = (area == area[query]).reshape(side, side)
    for (y, x), inside in np.ndenumerate(own):
        if inside:
            _frame(axes, own, x, y)
    axes.set(xticks=[], yticks=[])


def _frame(axes: Any, own: NDArray[Any], x: int, y: int) -> None:
    """Draw the edges of a patch beyond which the area ends."""
    padded = np.pad(own, 1)
    edges = {(0, -1): ((-1, 1), (-1, -1)), (0, 1): ((-1, 1), (1, 1)), (-1, 0): ((-1, -1), (-1, 1)), (1, 0): ((1, 1), (-1, 1))}
    for (dx, dy), (along_x, along_y) in edges.items():
        if not padded[y + 1 + dy, x + 1 + dx]:
            axes.plot([x + 0.46 * a for a in along_x], [y + 0.46 * b for b in along_y], color="C1", linewidth=1.2)


def _canvas(figsize: tuple[float, float]) -> Any:
    return require("matplotlib.figure", "robust-rl[report]").Figure(figsize=figsize, layout="constrained")
