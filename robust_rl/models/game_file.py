"""Markov games on disk: one compressed ``.npz`` of the arrays, nothing of which is ever unpickled.

A dense kernel, or one for each stage, is ``transitions``; CSR kernels are three arrays each, ``transitions.<h>.data``,
``.indices`` and ``.indptr``, with h = 0 alone for one kernel that serves all stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import FileFormatError, sound
from robust_rl.models.markov_game import MarkovGame
from robust_rl.models.model_file import PARTS, check_pointers, matrix_of, read_npz, write_npz

FORMAT = "robust-rl Markov game"


def save(game: MarkovGame, path: Path) -> Path:
    """Write a game; see :meth:`MarkovGame.save`."""
    return write_npz(path, game_arrays(game) | {"agents": np.array(game.agents)}, FORMAT)


def load(path: Path) -> MarkovGame:
    """Read a game; see :meth:`MarkovGame.load`."""
    arrays = read_npz(path, FORMAT, "MarkovGame.save")
    if "agents" not in arrays:
        raise FileFormatError(f"{path} is incomplete: 'agents' is missing")
    with sound(path, "game"):
        return game_from_arrays(arrays, [str(name) for name in arrays["agents"]], path)


def game_arrays(game: MarkovGame) -> dict[str, NDArray[Any]]:
    """Return everything but the agents' names as named arrays; a horizon of 0 stands for none."""
    horizon = np.array(game.horizon or 0)
    arrays = {"rewards": game.rewards, "start": game.start, "terminal": game.terminal, "horizon": horizon}
    if not game.is_sparse:
        return arrays | {"transitions": game.transitions}
    for h in range(len(game.transitions) if game.has_stage_kernels else 1):
        arrays |= {f"transitions.{h}.{part}": getattr(game.kernel(h), part) for part in PARTS}
    return arrays


def game_from_arrays(arrays: Mapping[str, NDArray[Any]], agents: list[str], path: Path) -> MarkovGame:
    """Inverse of :func:`game_arrays`. Raises FileFormatError naming the file where something is missing or unsound."""
    try:
        horizon = int(arrays["horizon"]) or None
        stages = min(horizon or 1, len(arrays))  # a file may name any horizon, and hold no more kernels than arrays
        names = [f"transitions.{h}" for h in range(stages) if f"transitions.{h}.data" in arrays]
        check_pointers(arrays, names, path)
        kernels = [matrix_of(arrays, name, len(arrays["start"]), path) for name in names]
        transitions: Any = arrays["transitions"] if not kernels else kernels if len(kernels) > 1 else kernels[0]
        vectors = {name: arrays[name] for name in ("start", "terminal")}
        return MarkovGame(transitions, arrays["rewards"], agents=agents, horizon=horizon, **vectors)  # type: ignore[arg-type]
    except KeyError as error:
        raise FileFormatError(f"{path} is incomplete: {error} is missing") from None
