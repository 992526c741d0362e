"""An RLlib algorithm as a :class:`~robust_rl.training.Trainable`: driven, logged, saved and resumed as everything else here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_rl.rllib.run_logger import STEPS, numbers
from robust_rl.training import read_json, write_json


class RLlibLearner:
    """Trains until a number of environment steps; a step of it is one of RLlib's training iterations.

    Unlike our own solvers it doesn't go on bit for bit from a checkpoint: Ray 2.60 saves networks, optimisers, connectors and
    counters, but neither DQN's replay buffer, which fills again, nor the clock of its target network, nor generators.

    Checkpoints are Ray's, and hold pickles: load only your own.

    Parameters
    ----------
    config : AlgorithmConfig
        Built here, which starts Ray if it isn't running.
    steps : int
        Environment steps to sample in all.
    """

    def __init__(self, config: Any, steps: int) -> None:
        self.algo = config.build_algo()
        self.steps, self.sampled = steps, 0

    @property
    def done(self) -> bool:
        """Whether enough steps are sampled."""
        return self.sampled >= self.steps

    def step(self) -> Mapping[str, float]:
        """Train for one iteration."""
        result = self.algo.train()
        self.sampled = int(result[STEPS])
        return numbers(result)

    def save_checkpoint(self, directory: Path) -> None:
        """Write Ray's checkpoint and the number of steps."""
        self.algo.save_to_path(str((directory / "algorithm").absolute()))
        write_json(directory / "steps.json", {"sampled": self.sampled})

    def load_checkpoint(self, directory: Path) -> None:
        """Take over what :meth:`save_checkpoint` wrote."""
        self.algo.restore_from_path(str((directory / "algorithm").absolute()))
        self.sampled = int(read_json(directory / "steps.json")["sampled"])
