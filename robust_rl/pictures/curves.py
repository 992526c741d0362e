"""Curves: how the certificate closes, what a policy returns as the world shifts, and repeated runs as bands."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from robust_rl.pictures.canvas import INK, NOMINAL, ROBUST, figure, tidy
from robust_rl.solvers import Solution
from robust_rl.table import Estimate, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (NOMINAL, ROBUST, "#3a7d44", "#e09f3e", "#7b2d8b", INK)


def convergence(solution: Solution) -> Figure:
    """Draw the bounds on the value from the start, and the width of the certificate, against sweeps."""
    history = solution.history
    sweeps = np.arange(1, len(history["gap"]) + 1)
    made, ((bounds, gap),) = figure(1, 2, 9.0, 3.4)
    bounds.fill_between(
        sweeps, history["lower"], history["upper"], color=ROBUST, alpha=0.25, linewidth=0, label="certified range"
    )
    bounds.axhline((history["lower"][-1] + history["upper"][-1]) / 2, color=ROBUST, linewidth=1.5, label="optimal robust value")
    # early bounds span everything a discount allows; show the range where they mean something
    late = slice(len(sweeps) // 4, None)
    low, high = history["lower"][late].min(), history["upper"][late].max()
    margin = 0.1 * (high - low) or 1.0
    bounds.set(
        xlabel="sweep",
        ylabel="value from the start",
        title="bounds on the optimum",
        ylim=(low - margin, high + margin),
        xlim=(0, len(sweeps)),
    )
    bounds.legend(frameon=False, loc="best")
    gap.semilogy(sweeps, history["gap"], color=ROBUST)
    gap.set(xlabel="sweep", ylabel="widest gap over states", title="certificate", xlim=(0, len(sweeps)))
    for axes in (bounds, gap):
        tidy(axes)
    return made


def return_under_shift(table: Table, axis: str) -> Figure:
    """Draw each row of a table of shifted worlds: a band where it is a range, a line where it is a number."""
    made, ((axes,),) = figure(1, 1, 7.0, 4.0)
    numbers = _as_numbers(table.columns)
    x = np.arange(len(table.columns), dtype=float) if numbers is None else np.array(numbers)
    for name, cells, colour in zip(table.rows, table.cells, cycle(COLOURS), strict=False):
        _draw_row(axes, x, cells, name, colour, numbers is not None and len(x) > 1)
    if numbers is None or len(x) == 1:
        axes.set_xticks(x, table.columns)
        axes.margins(x=0.3)
    axes.set(xlabel=axis, ylabel=table.title)
    axes.legend(frameon=False)
    tidy(axes)
    return made


def _draw_row(axes: Any, x: np.ndarray, cells: tuple[Estimate, ...], name: str, colour: str, line: bool) -> None:
    low, high = np.array([cell.low for cell in cells]), np.array([cell.high for cell in cells])
    ranged = (high > low).any()
    if not line:
        middle = (low + high) / 2
        axes.errorbar(
            x,
            middle,
            yerr=[middle - low, high - middle],
            fmt="none" if ranged else "o",
            color=colour,
            capsize=8,
            linewidth=2,
            label=name,
        )
        return
    if ranged:
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, low, color=colour, linewidth=0.9)
        axes.plot(x, high, color=colour, linewidth=0.9, label=name)
    else:
        axes.plot(x, low, "o-", color=colour, linewidth=1.8, markersize=4, label=name)


def _as_numbers(columns: tuple[str, ...]) -> list[float] | None:
    try:
        return [float(column) for column in columns]
    except ValueError:
        return None


def mean_bands(panels: Mapping[str, Mapping[str, np.ndarray]], xlabel: str) -> Figure:
    """Draw repeated curves as means with their 95 % intervals (Student's t).

    Parameters
    ----------
    panels : mapping
        Title of a panel -> name of a curve -> values, (steps, repeats), from step 1 on. With one repeat there is no band.
    xlabel : str
        What a step is.
    """
    made, axes = figure(1, len(panels), 5.0 * len(panels), 3.8)
    for panel, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
            middle, half = mean_interval(values)
            steps = np.arange(1, len(values) + 1)
            panel.fill_between(steps, middle - half, middle + half, color=colour, alpha=0.18, linewidth=0)
            panel.plot(steps, middle, "o" if len(steps) == 1 else "-", color=colour, linewidth=1.8, label=name)
        panel.set(xlabel=xlabel, title=title, ylim=(0, None))
        panel.legend(frameon=False)
        tidy(panel)
    return made


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means over the last axis and half the width of their 95 % interval (Student's t; 0 for one repeat)."""
    repeats = values.shape[-1]
    if repeats == 1:
        return values[..., 0], np.zeros(values.shape[:-1])
    half = stdtrit(repeats - 1, 0.975) * values.std(axis=-1, ddof=1) / np.sqrt(repeats)
    return values.mean(axis=-1), half
