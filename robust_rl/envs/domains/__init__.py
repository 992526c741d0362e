"""Small decision problems with exact parameters, each a function that returns a :class:`~robust_rl.models.TabularMDP`."""

from robust_rl.envs.domains.chains import chain, gamblers_ruin, river_swim, river_swim_craam
from robust_rl.envs.domains.grids import gridworld, random_grid
from robust_rl.envs.domains.operations import capacity, forest, inventory, machine, machine_replacement_craam, perishable
from robust_rl.envs.domains.put import american_put
from robust_rl.envs.domains.synthetic import garnet

__all__ = [
    "american_put",
    "capacity",
    "chain",
    "forest",
    "gamblers_ruin",
    "garnet",
    "gridworld",
    "inventory",
    "machine",
    "machine_replacement_craam",
    "perishable",
    "random_grid",
    "river_swim",
    "river_swim_craam",
]
