"""Markov games as PettingZoo modules, each with a table: ``soccer_v0.parallel_env()``, ``.env()``, ``.raw_env()``."""

from robust_rl.envs.games import soccer_v0
