"""Plain data: tabular models and Markov games, how they are read, estimated, saved and played; simulators that answer draws."""

from robust_rl.models.empirical_game import GameSimulator, empirical_game
from robust_rl.models.generative import GenerativeModel, TabularSimulator
from robust_rl.models.hashed_garnet import HashedGarnet
from robust_rl.models.linear import LinearMDP
from robust_rl.models.markov_game import MarkovGame
from robust_rl.models.row_block import FileRows, RowBlock, RowSource, as_source, whole_model
from robust_rl.models.sampled_counts import sampled_counts
from robust_rl.models.tabular import TabularMDP
from robust_rl.models.tabular_env import TabularEnv
from robust_rl.models.transforms import unroll, with_kernel

__all__ = [
    "FileRows",
    "GameSimulator",
    "GenerativeModel",
    "HashedGarnet",
    "LinearMDP",
    "MarkovGame",
    "RowBlock",
    "RowSource",
    "TabularEnv",
    "TabularMDP",
    "TabularSimulator",
    "as_source",
    "empirical_game",
    "sampled_counts",
    "unroll",
    "whole_model",
    "with_kernel",
]
