"""Pictures for models without a map: state by state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robust_rl.models import TabularMDP
from robust_rl.pictures.canvas import figure
from robust_rl.pictures.moves import mass_moved
from robust_rl.solvers import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_STATES = 40


def adversary_matrix(solution: Solution, model: TabularMDP) -> Figure:
    """Draw the mass that the adversary moves, from source states (rows) to receiving states (columns), weighted by visits.

    Readable up to some 40 states; for larger models list the heaviest moves instead, from :func:`mass_moved`.
    """
    flows = np.zeros((model.num_states, model.num_states))
    for source, target, flow in mass_moved(solution, model).flows:
        flows[source, target] = flow
    made, ((ax,),) = figure(1, 1, 6.0, 5.0)
    image = ax.imshow(flows, cmap="PuRd")
    made.colorbar(image, ax=ax, label="mass received x discounted visits")
    ticks = np.unique(np.linspace(0, model.num_states - 1, min(12, model.num_states)).astype(int))
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.set(xlabel="state that receives mass", ylabel="state where it is moved", title="where the adversary moves the mass")
    return made
