"""Figures of solutions and evaluations. Needs matplotlib: ``pip install "robust-rl[report]"``."""

from robust_rl.pictures.curves import convergence, return_under_shift
from robust_rl.pictures.grids import Grid, adversary_map, grid_of, policy_map
from robust_rl.pictures.matrices import MOST_STATES, adversary_matrix
from robust_rl.pictures.moves import mass_moved

__all__ = [
    "MOST_STATES",
    "Grid",
    "adversary_map",
    "adversary_matrix",
    "convergence",
    "grid_of",
    "mass_moved",
    "policy_map",
    "return_under_shift",
]
