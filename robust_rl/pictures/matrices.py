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

    Of a larger model, the 40 states that matter most.
    """
    moves = mass_moved(solution, model)
    touched = np.zeros(model.num_states)
    for source, target, flow in moves.flows:
        touched[source] += flow
        touched[target] += flow
    shown = np.sort(np.argsort(-touched, kind="stable")[: min(MOST_STATES, model.num_states)])
    position = {int(state): i for i, state in enumerate(shown)}
    flows = np.zeros((len(shown), len(shown)))
    for source, target, flow in moves.flows:
        if source in position and target in position:
            flows[position[source], position[target]] = flow
    made, ((ax,),) = figure(1, 1, 6.0, 5.0)
    image = ax.imshow(flows, cmap="PuRd")
    made.colorbar(image, ax=ax, label="mass received x discounted visits")
    ticks = np.unique(np.linspace(0, len(shown) - 1, min(12, len(shown))).astype(int))
    ax.set_xticks(ticks, labels=shown[ticks])
    ax.set_yticks(ticks, labels=shown[ticks])
    ax.set(xlabel="state that receives mass", ylabel="state where it is moved", title="where the adversary moves the mass")
    return made
