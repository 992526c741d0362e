"""What the radius does: the price of robustness, where the policy changes, and which transitions the value hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robust_rl.pictures.canvas import ADVERSARY, INK, NOMINAL, ROBUST, figure, tidy
from robust_rl.solvers import CriticalRadii, Sensitivity
from robust_rl.table import Estimate, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELLED = "#3a7d44"


def price_of_robustness(table: Table, axis: str = "radius") -> Figure:
    """Draw the table of :func:`robust_rl.frontier`: values against the radius, and nominal against robust value."""
    radii = np.array([float(column) for column in table.columns])
    order = np.argsort(radii)
    made, ((values, trade),) = figure(1, 2, 10.0, 4.0)
    _draw_values(values, table, radii, order)
    _draw_trade(trade, table, radii, order)
    values.set(xlabel=axis, ylabel="value from the start", title="what robustness buys")
    trade.set(
        xlabel="robust value: in the worst case", ylabel="nominal value: as modelled", title=f"what it costs, at each {axis}"
    )
    for axes in (values, trade):
        tidy(axes)
    return made


def _draw_values(axes: Any, table: Table, radii: Any, order: Any) -> None:
    for row, colour in ((1, MODELLED), (0, ROBUST), (2, NOMINAL)):
        low, high = (ends[order] for ends in _ends(table.cells[row]))
        axes.fill_between(radii[order], low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(radii[order], high, "o-", color=colour, markersize=4, linewidth=1.6, label=table.rows[row])
        axes.plot(radii[order], low, "-", color=colour, linewidth=0.9)
    axes.legend(frameon=False, fontsize=9)


def _draw_trade(axes: Any, table: Table, radii: Any, order: Any) -> None:
    (low, high), (worst, best) = ((ends[order] for ends in _ends(table.cells[row])) for row in (1, 0))
    x, y = (worst + best) / 2, (low + high) / 2
    reach = (high - low) / 2 if (high > low).any() else None
    axes.errorbar(x, y, yerr=reach, fmt="o-", color=ROBUST, markersize=5, linewidth=1.2, capsize=4)
    _label_apart(axes, x, y, [f"{radius:g}" for radius in radii[order]])
    axes.margins(x=0.12, y=0.15)


def value_over_radius(found: CriticalRadii, radius: float, slope: float | None, axis: str) -> Figure:
    """Draw the optimal robust value against the radius, its derivative at one radius, and where the policy changes."""
    made, ((axes,),) = figure(1, 1, 7.0, 3.8)
    for number, change in enumerate(found.changes):
        label = "the optimal policy changes" if number == 0 else None
        axes.axvline(change.radius, color=ADVERSARY, linewidth=1.0, linestyle=(0, (4, 3)), label=label)
    axes.plot(found.radii, found.values, color=ROBUST, linewidth=1.8, label="optimal robust value")
    at = float(np.interp(radius, *_ascending(found)))
    axes.plot([radius], [at], "o", color=INK, markersize=5)
    if slope is not None:
        ends = np.array([radius + 0.35 * (found.radii[0] - radius), radius])
        label = f"slope {slope:.3g} at {axis} {radius:g}"
        axes.plot(ends, at + slope * (ends - radius), color=INK, linewidth=1.2, linestyle="-.", label=label)
    axes.set(xlabel=axis, ylabel="value from the start", ylim=_limits(found.values))
    axes.legend(frameon=True, framealpha=0.95, edgecolor="none", fontsize=9)
    tidy(axes)
    return made


def heaviest_rows(sensitivity: Sensitivity, axis: str, count: int = 12) -> Figure:
    """Draw how much the radius of each single row moves the value from the start, the heaviest first."""
    rows = sensitivity.heaviest(count)
    made, ((axes,),) = figure(1, 1, 7.0, 0.9 + 0.27 * max(len(rows), 3))
    places = np.arange(len(rows))
    axes.barh(places, [slope for *_, slope in rows], color=ADVERSARY, height=0.7)
    axes.set_yticks(places, [f"state {state}, action {action}" for state, action, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel=f"change of the value from the start a unit of the row's {axis}")
    tidy(axes)
    axes.grid(False, axis="y")
    return made


def _ends(cells: tuple[Estimate, ...]) -> tuple[Any, Any]:
    return np.array([cell.low for cell in cells]), np.array([cell.high for cell in cells])


def _label_apart(axes: Any, x: Any, y: Any, labels: list[str]) -> None:
    """Write labels beside points, from the ends inwards, leaving out those too close to one already written."""
    scale = np.array([np.ptp(x) or 1.0, np.ptp(y) or 1.0])
    written: list[Any] = []
    for i in [len(labels) - 1, *range(len(labels) - 1)]:
        here = np.array([x[i], y[i]]) / scale
        if all(abs(here - other).max() >= 0.06 for other in written):
            written.append(here)
            axes.annotate(labels[i], (x[i], y[i]), xytext=(5, 5), textcoords="offset points", fontsize=9, color=INK)


def _ascending(found: CriticalRadii) -> tuple[Any, Any]:
    order = np.argsort(found.radii)
    return found.radii[order], found.values[order]


def _limits(values: Any) -> tuple[float, float]:
    margin = 0.08 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin
