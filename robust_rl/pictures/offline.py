"""Logged data and what was learned from them: what they cover, what it is worth, and where it is in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.datasets import Statistics
from robust_rl.pictures.canvas import ADVERSARY, NOMINAL, ROBUST, figure, tidy, value_colours
from robust_rl.solvers import LinearSolution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


def data_coverage(statistics: Statistics, horizon: int) -> Figure:
    """Draw how many transitions each stage has; beside it where they lie, or what the episodes returned if states are vectors."""
    made, ((stages, spread),) = figure(1, 2, 10.0, 3.6)
    counts = statistics.per_stage
    used = np.arange(len(counts)) < horizon
    stages.bar(np.flatnonzero(used), counts[used], color=ROBUST, width=0.8, label="within the horizon")
    if not used.all():
        stages.bar(np.flatnonzero(~used), counts[~used], color="#c9ced6", width=0.8, label="beyond it")
        stages.legend(frameon=False, fontsize=9)
    stages.set(xlabel="stage", ylabel="transitions", title="how much each stage is learned from")
    _whole_ticks(stages)
    tidy(stages)
    if statistics.visits is None:
        spread.hist(statistics.returns, bins=min(40, 5 + int(np.sqrt(len(statistics.returns)))), color=ROBUST)
        spread.set(xlabel="return of an episode", ylabel="episodes", title="what the logged episodes returned")
        tidy(spread)
    else:
        _draw_visits(made, spread, statistics.visits[:horizon])
    return made


def _draw_visits(made: Figure, axes: Any, visits: NDArray[np.intp]) -> None:
    """Draw visits (H, S, A) as a map of stages and pairs, grey where there are none."""
    from matplotlib.colors import LogNorm

    shown = np.ma.masked_equal(visits.reshape(len(visits), -1).T, 0)
    axes.set_facecolor("#e9ebee")
    norm = LogNorm(1, max(int(visits.max()), 2))
    image = axes.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis", norm=norm)
    made.colorbar(image, ax=axes, label="visits")
    axes.set(xlabel="stage", ylabel="state x actions + action", title="visits of each pair; grey: none")
    _whole_ticks(axes)


def value_and_penalty(value: Array, penalty: Array, logged: Array) -> Figure:
    """Draw by stage the estimated value, what the logged episodes went on to earn, and the penalty at the policy's choices.

    Parameters
    ----------
    value : (H, 3) array
        Mean, lowest and highest over the states logged at the stage.
    penalty : (H, 2) array
        Mean and largest there.
    logged : (H,) array
        Mean return to go.
    """
    made, ((values, doubts),) = figure(1, 2, 10.0, 3.6)
    stage = np.arange(len(value))
    values.fill_between(stage, value[:, 1], value[:, 2], color=ROBUST, alpha=0.18, linewidth=0)
    values.plot(stage, value[:, 0], "o-", color=ROBUST, markersize=3.5, label="estimated robust value: mean and range")
    values.plot(stage, logged, "--", color=NOMINAL, linewidth=1.6, label="what the log went on to earn")
    low, high = min(0.0, float(value.min())), max(float(value.max()), float(logged.max()))
    room = (low, high + 0.25 * (high - low or 1.0))  # for the legend
    values.set(xlabel="stage", ylabel="value to go", title="value at the logged states", ylim=room)
    values.legend(frameon=False, fontsize=9)
    doubts.plot(stage, penalty[:, 1], color=ADVERSARY, linewidth=1.2, linestyle=(0, (4, 3)), label="largest")
    doubts.plot(stage, penalty[:, 0], "o-", color=ADVERSARY, markersize=3.5, label="mean")
    doubts.set(xlabel="stage", ylabel="taken off a single stage", title="penalty at the policy's own choices", ylim=(0, None))
    doubts.legend(frameon=False, fontsize=9)
    for axes in (values, doubts):
        _whole_ticks(axes)
        tidy(axes)
    return made


def features_by_stage(solution: LinearSolution) -> Figure:
    """Draw nu, the robust value of what follows, and the penalty, of every stage and every feature that some transition has."""
    made, ((left, right),) = figure(1, 2, 10.0, 3.8)
    seen = (solution.bonus < solution.bonus.max() * (1 - 1e-9)).any(axis=0)
    shown = seen if seen.any() else ~seen
    label = "feature" if shown.all() else f"the {shown.sum()} of {len(shown)} features in the data"
    maps = (
        (left, solution.nu, value_colours(), "nu: robust value of what follows"),
        (right, solution.penalty * solution.bonus, "magma_r", "penalty: what isn't known"),
    )
    for axes, array, colours, title in maps:
        image = axes.imshow(array[:, shown].T, aspect="auto", interpolation="nearest", cmap=colours)
        made.colorbar(image, ax=axes)
        axes.set(xlabel="stage", ylabel=label, title=title)
        _whole_ticks(axes)
    return made


def _whole_ticks(axes: Any) -> None:
    axes.xaxis.get_major_locator().set_params(integer=True)
