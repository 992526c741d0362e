"""Maps of grid worlds: the value as colour, the policy as arrows, and where the adversary moves the mass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.models import TabularMDP
from robust_rl.pictures.canvas import ADVERSARY, GOAL, INK, PITFALL, figure, value_colours
from robust_rl.pictures.moves import mass_moved
from robust_rl.solvers import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPASS = ((-1, 0), (0, 1), (1, 0), (0, -1))


@dataclass(frozen=True)
class Grid:
    """A grid world's shape, its cells' letters, and the direction (rows down, columns right) of each action."""

    shape: tuple[int, int]
    letters: NDArray[np.str_]
    directions: tuple[tuple[int, int], ...]

    def cell(self, state: int) -> tuple[int, int]:
        """Return (row, column) of a state."""
        return divmod(int(state), self.shape[1])


def grid_of(env: Any, model: TabularMDP) -> Grid | None:
    """Return the grid that an environment's states form, or None if they don't.

    Read from ``desc`` (FrozenLake) or ``shape`` (CliffWalking) of the unwrapped environment; the actions' directions come
    from the model itself, as the mean displacement that each causes.
    """
    unwrapped = env.unwrapped
    description = getattr(unwrapped, "desc", None)
    shape = description.shape if isinstance(description, np.ndarray) else getattr(unwrapped, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] * shape[1] != model.num_states:
        return None
    letters = np.full(shape, "", dtype="<U1")
    if isinstance(description, np.ndarray):
        letters = np.char.decode(description.astype("S1"))
    else:
        letters[np.unravel_index(np.flatnonzero(model.start), shape)] = "S"
        letters[np.unravel_index(np.flatnonzero(model.terminal), shape)] = "G"
        _mark_traps(letters, model)
    return Grid(shape, letters, _directions(model, shape))


def _mark_traps(letters: NDArray[np.str_], model: TabularMDP) -> None:
    """Cells that nothing ever enters are traps whose transitions lead elsewhere, like the cliff."""
    entered = np.zeros(model.num_states, dtype=bool)
    entered[model.csr().indices] = True
    flat = letters.reshape(-1)
    flat[~entered & (model.start == 0)] = "C"


def _directions(model: TabularMDP, shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    rows, columns = np.divmod(np.arange(model.num_states), shape[1])
    kernel = model.csr().reshape(-1, model.num_states)
    inner = np.flatnonzero((rows > 0) & (rows < shape[0] - 2) & (columns > 0) & (columns < shape[1] - 1) & ~model.terminal)
    directions = []
    for action in range(model.num_actions):
        at = inner * model.num_actions + action
        shift = ((kernel[at] @ rows - rows[inner]).mean(), (kernel[at] @ columns - columns[inner]).mean())
        directions.append(max(COMPASS, key=lambda c: c[0] * shift[0] + c[1] * shift[1]))
    return tuple(directions)


def policy_map(solutions: Mapping[str, Solution], grid: Grid, model: TabularMDP) -> Figure:
    """Draw a panel a solution: value as colour, the chosen action as a dark arrow, equally good ones as light arrows."""
    wide = grid.shape[1] > 1.5 * grid.shape[0]
    count = len(solutions)
    rows, columns = (count, 1) if wide else (1, count)
    scale = 0.62 if wide else 0.5
    made, axes = figure(rows, columns, (grid.shape[1] * scale + 1.2) * columns, (grid.shape[0] * scale + 0.7) * rows)
    for ax, (name, solution) in zip(axes.ravel(), solutions.items(), strict=True):
        _value_panel(made, ax, solution, grid, model)
        ax.set_title(f"{name}: value and policy", fontsize=10)
    return made


def _value_panel(made: Figure, ax: Any, solution: Solution, grid: Grid, model: TabularMDP) -> None:
    hidden = _hidden(grid, model)
    image = ax.imshow(np.where(hidden, np.nan, solution.value).reshape(grid.shape), cmap=value_colours())
    made.colorbar(image, ax=ax, shrink=0.9, label="value")
    _letters(ax, grid)
    optimal = solution.optimal_actions
    for state in map(int, np.flatnonzero(~hidden)):
        for action in np.flatnonzero(optimal[state]):
            chosen = solution.policy[state, action] > 0 if solution.randomised else action == solution.policy[state]
            _arrow(ax, grid.cell(state), grid.directions[action], INK if chosen else "#8a8a8a", 1.4 if chosen else 0.8)


def _hidden(grid: Grid, model: TabularMDP) -> NDArray[np.bool_]:
    """Cells whose value says nothing: ends of episodes, worth 0 by definition, and traps that nothing stays in."""
    return np.asarray(model.terminal | (grid.letters == "C").reshape(-1))


def _letters(ax: Any, grid: Grid) -> None:
    rows, columns = grid.shape
    ax.set_xticks(np.arange(columns + 1) - 0.5, labels=[])
    ax.set_yticks(np.arange(rows + 1) - 0.5, labels=[])
    ax.grid(color="white", linewidth=0.8)
    ax.tick_params(length=0)
    ax.set_facecolor(PITFALL)
    for (row, column), letter in np.ndenumerate(grid.letters):
        if letter == "G":
            ax.fill_between([column - 0.5, column + 0.5], row - 0.5, row + 0.5, color=GOAL, linewidth=0)
        if letter and letter in "SGHC":
            ax.text(
                column - 0.45,
                row - 0.42,
                letter,
                ha="left",
                va="top",
                fontsize=8,
                fontweight="bold",
                color="#7f1d1d" if letter in "HC" else "#14532d",
            )


def _arrow(ax: Any, cell: tuple[int, int], direction: tuple[int, int], colour: str, width: float) -> None:
    (row, column), (down, right) = cell, direction
    ax.annotate(
        "", xy=(column + 0.42 * right, row + 0.42 * down), xytext=(column, row),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": width, "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip


def adversary_map(solution: Solution, grid: Grid, model: TabularMDP) -> Figure:
    """Draw where the adversary moves the mass: arrows lead to receiving states, darker cells see more visits in the worst."""
    moves = mass_moved(solution, model)
    made, ((ax,),) = figure(1, 1, grid.shape[1] * 0.7 + 1.2, grid.shape[0] * 0.7 + 0.8)
    image = ax.imshow(
        np.where(_hidden(grid, model), np.nan, moves.occupancy).reshape(grid.shape),
        cmap="Greys",
        vmin=0,
        vmax=moves.occupancy.max() * 1.6,
    )
    made.colorbar(image, ax=ax, shrink=0.9, label="discounted visits in the worst case")
    _letters(ax, grid)
    heaviest = max((flow for _, _, flow in moves.flows), default=1.0)
    for source, target, flow in moves.flows:
        if flow < 0.005 * heaviest:
            continue
        _flow(ax, grid.cell(source), grid.cell(target), 0.5 + 3.0 * (flow / heaviest) ** 0.5)
    ax.set_title("where the adversary moves the mass, weighted by visits", fontsize=10)
    return made


def _flow(ax: Any, source: tuple[int, int], target: tuple[int, int], width: float) -> None:
    if source == target:
        ax.plot(source[1], source[0], "o", color=ADVERSARY, markersize=3 + 2 * width, fillstyle="none")
        return
    ax.annotate(
        "", xy=target[::-1], xytext=source[::-1],
        arrowprops={"arrowstyle": "-|>", "color": ADVERSARY, "linewidth": width, "mutation_scale": 8 + 2 * width, "alpha": 0.75,
                    "connectionstyle": "arc3,rad=0.25", "shrinkA": 2, "shrinkB": 2},
    )  # fmt: skip
