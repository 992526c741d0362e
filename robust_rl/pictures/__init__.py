"""Figures of solutions and evaluations. Needs matplotlib: ``pip install "robust-rl[report]"``."""

from robust_rl.pictures.curves import convergence, return_under_shift
from robust_rl.pictures.grids import Grid, adversary_map, grid_of, policy_map
from robust_rl.pictures.matrices import adversary_matrix

__all__ = ["Grid", "adversary_map", "adversary_matrix", "convergence", "grid_of", "policy_map", "return_under_shift"]
