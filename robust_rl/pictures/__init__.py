"""Figures of solutions and evaluations. Needs matplotlib: ``pip install "robust-rl[report]"``."""

from robust_rl.pictures.curves import convergence, mean_bands, mean_interval, return_under_shift
from robust_rl.pictures.games import gaps_by_state, lines_with_legend, play_at_start, values_by_stage
from robust_rl.pictures.grids import Grid, adversary_map, grid_of, policy_map
from robust_rl.pictures.matrices import MOST_STATES, adversary_matrix
from robust_rl.pictures.moves import mass_moved
from robust_rl.pictures.offline import data_coverage, features_by_stage, value_and_penalty
from robust_rl.pictures.radii import heaviest_rows, price_of_robustness, value_over_radius
from robust_rl.pictures.runs import metric_over_steps

__all__ = [
    "MOST_STATES",
    "Grid",
    "adversary_map",
    "adversary_matrix",
    "convergence",
    "data_coverage",
    "features_by_stage",
    "gaps_by_state",
    "grid_of",
    "heaviest_rows",
    "lines_with_legend",
    "mass_moved",
    "mean_bands",
    "mean_interval",
    "metric_over_steps",
    "play_at_start",
    "policy_map",
    "price_of_robustness",
    "return_under_shift",
    "value_and_penalty",
    "value_over_radius",
    "values_by_stage",
]
