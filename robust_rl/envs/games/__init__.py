"""Markov games as PettingZoo modules, each with a table: ``soccer_v0.parallel_env()``, ``.env()``, ``.raw_env()``."""

from robust_rl.envs.games import fishery_v0, nim_v0, random_game_v0, rock_paper_scissors_v0, soccer_v0

__all__ = ["fishery_v0", "nim_v0", "random_game_v0", "rock_paper_scissors_v0", "soccer_v0"]
