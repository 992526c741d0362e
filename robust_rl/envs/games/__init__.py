"""Markov games as PettingZoo modules, each with a table: ``soccer_v0.parallel_env()``, ``.env()``, ``.raw_env()``."""

from robust_rl.envs.games import duel_v0, fishery_v0, nim_v0, random_game_v0, rock_paper_scissors_v0, soccer_v0
from robust_rl.envs.games.making import game_names, make, shifted
from robust_rl.envs.games.nature import with_nature

__all__ = [
    "duel_v0",
    "fishery_v0",
    "game_names",
    "make",
    "nim_v0",
    "random_game_v0",
    "rock_paper_scissors_v0",
    "shifted",
    "soccer_v0",
    "with_nature",
]
