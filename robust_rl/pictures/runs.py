"""A metric of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from robust_rl.pictures.canvas import figure, tidy
from robust_rl.pictures.curves import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE = 1e3


def metric_over_steps(name: str, series: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """Draw a metric over steps, one line a run; on a logarithmic axis where positive values differ by a factor of 1,000.

    Parameters
    ----------
    name : str
        Of the metric.
    series : mapping from a run's label to (steps, values)
        Values that are not finite leave a gap.
    """
    made, ((axes,),) = figure(1, 1, 7.0, 3.2)
    dashes = cycle(["-"] * len(COLOURS) + ["--"] * len(COLOURS))
    for (label, (steps, values)), colour, dash in zip(series.items(), cycle(COLOURS), dashes, strict=False):
        finite = np.where(np.isfinite(values), np.asarray(values, dtype=float), np.nan)
        axes.plot(steps, finite, dash, color=colour, linewidth=1.4, marker="o" if len(finite) == 1 else None, label=label)
    drawn = np.concatenate([np.asarray(values, dtype=float) for _, values in series.values()])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size and drawn.min() > 0 and drawn.max() > WIDE * drawn.min():
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=name)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.2))
    tidy(axes)
    return made
