"""Pictures of games: what agents get stage by stage, how they play, and what deviators gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.pictures.canvas import INK, figure, tidy
from robust_rl.pictures.curves import COLOURS
from robust_rl.solvers import GameSolution, RobustGap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_GAP = 1e-12


def values_by_stage(solution: GameSolution, start: NDArray[np.float64]) -> Figure:
    """Draw each agent's robust value-to-go by stage, averaged over the start distribution."""
    made, ((axes,),) = figure(1, 1, 6.4, 3.4)
    stages = np.arange(solution.horizon)
    for name, value, colour in zip(solution.agents, solution.value @ start, COLOURS, strict=False):
        axes.plot(stages, value, "o-", color=colour, markersize=3.5, label=name)
    axes.set(xlabel="stage", ylabel="robust value to go")
    axes.legend(frameon=False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    tidy(axes)
    return made


def play_at_start(solution: GameSolution, start: NDArray[np.float64]) -> Figure:
    """Draw the probabilities of joint actions at the first stage, in the likeliest first state.

    Two agents: a matrix. More: each agent's own probabilities.
    """
    state = int(np.argmax(start))
    weights = solution.policy[0, state]
    if weights.ndim == 2:
        return _matrix(weights, solution.agents, state)
    made, axes = figure(1, weights.ndim, 2.6 * weights.ndim, 2.8)
    for i, (ax, name, colour) in enumerate(zip(axes[0], solution.agents, COLOURS * weights.ndim, strict=False)):
        own = weights.sum(axis=tuple(j for j in range(weights.ndim) if j != i))
        ax.bar(np.arange(len(own)), own, color=colour)
        ax.set(title=name, xlabel="action", ylim=(0, 1), xticks=np.arange(len(own)))
        tidy(ax)
    return made


def _matrix(weights: NDArray[np.float64], agents: tuple[str, ...], state: int) -> Figure:
    rows, columns = weights.shape
    made, ((axes,),) = figure(1, 1, 1.8 + 0.75 * columns, 1.4 + 0.6 * rows)
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for (row, column), weight in np.ndenumerate(weights):
        if weight >= 0.005:
            axes.text(column, row, f"{weight:.2f}", ha="center", va="center", fontsize=9, color="white" if weight > 0.6 else INK)
    axes.set(xlabel=f"action of {agents[1]}", ylabel=f"action of {agents[0]}", title=f"state {state}, first stage")
    axes.set_xticks(np.arange(columns))
    axes.set_yticks(np.arange(rows))
    made.colorbar(image, ax=axes, label="probability")
    return made


def gaps_by_state(gap: RobustGap) -> Figure:
    """Draw what each agent gains by its best deviation, states sorted by it, on a logarithmic scale."""
    made, ((axes,),) = figure(1, 1, 6.4, 3.2)
    for name, gains, colour in zip(gap.agents, gap.by_state, COLOURS, strict=False):
        sorted_gains = np.sort(np.maximum(gains, LEAST_GAP))[::-1]
        axes.semilogy(np.arange(1, len(sorted_gains) + 1), sorted_gains, "o-", color=colour, markersize=3, label=name)
    axes.set(xlabel="states, largest gain first", ylabel="gain (at least 1e-12)", title="gain by the best deviation")
    axes.legend(frameon=False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    tidy(axes)
    return made


def lines_with_legend(
    x: Any, curves: Mapping[str, Any], xlabel: str, ylabel: str, marked: float | None = None, looks: Sequence[str] = COLOURS
) -> Figure:
    """Draw named curves over a common axis, with a dashed line where ``marked`` is; ``looks`` are colours, ``--`` for dashes."""
    made, ((axes,),) = figure(1, 1, 7.0, 4.0)
    for (name, y), look in zip(curves.items(), looks, strict=False):
        dashes = "--" if look.startswith("--") else "-"
        axes.plot(x, y, "o", linestyle=dashes, color=look.lstrip("-"), linewidth=1.8, markersize=4, label=name)
    if marked is not None:
        axes.axvline(marked, color=INK, linewidth=0.9, linestyle="--")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False)
    tidy(axes)
    return made
