"""The common look of all figures, and the one place that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robust_rl.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOMINAL, ROBUST, ADVERSARY, INK = (
    "#d1495b",
    "#2a6f97",
    "#b5179e",
    "#222222",
)  # red, blue, magenta: distinct to the colour-blind too
GOAL, PITFALL = "#b7e4c7", "#c9b79c"


def figure(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 4.0) -> tuple[Figure, Any]:
    """Return a figure (size in inches) and its (rows, columns) array of axes, without any global state of pyplot.

    Raises
    ------
    MissingDependencyError
        If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure as MatplotlibFigure
    except ImportError:
        raise MissingDependencyError('pictures need matplotlib: pip install "robust-rl[report]"') from None
    made = MatplotlibFigure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def tidy(axes: Any) -> None:
    """Remove what carries no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def value_colours() -> Any:
    """Return a colour map for values that stays light enough for dark arrows."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["YlGnBu_r"](np.linspace(0.35, 1.0, 256)))
