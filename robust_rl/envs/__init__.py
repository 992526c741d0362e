"""Environments, their exact tables, and changed copies of both. Importing this package registers its ids with Gymnasium."""

from robust_rl.envs import games
from robust_rl.envs.blackjack import blackjack_table
from robust_rl.envs.discretize import Discretize, discretize, is_discretized
from robust_rl.envs.domains.put import american_put_features
from robust_rl.envs.linear import random_linear, simulated_linear
from robust_rl.envs.mixing import mix
from robust_rl.envs.noise import ActionNoise, ObservationNoise, with_action_noise
from robust_rl.envs.one_hot import OneHotObservation
from robust_rl.envs.preferences import PreferenceBandit, bradley_terry, win_probability
from robust_rl.envs.registration import make, register, tabular_ids
from robust_rl.envs.segments import Preference, Segment, SegmentPreferences
from robust_rl.envs.shift import PhysicsShift, parse_env_arg, parse_shift, shift
from robust_rl.envs.spaces import state_count, state_index, state_observation
from robust_rl.envs.tabular import tabular
from robust_rl.envs.tabular_game import tabular_game
from robust_rl.envs.tabular_vector import TabularVectorEnv

register()

__all__ = [
    "ActionNoise",
    "Discretize",
    "ObservationNoise",
    "OneHotObservation",
    "PhysicsShift",
    "Preference",
    "PreferenceBandit",
    "Segment",
    "SegmentPreferences",
    "TabularVectorEnv",
    "american_put_features",
    "blackjack_table",
    "bradley_terry",
    "discretize",
    "games",
    "is_discretized",
    "make",
    "mix",
    "parse_env_arg",
    "parse_shift",
    "random_linear",
    "register",
    "shift",
    "simulated_linear",
    "state_count",
    "state_index",
    "state_observation",
    "tabular",
    "tabular_game",
    "tabular_ids",
    "win_probability",
    "with_action_noise",
]
