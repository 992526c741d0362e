"""The one idea that all algorithms share: they take a step, report numbers, and can be saved and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Trainable(Protocol):
    """Anything that makes progress in steps: a value-iteration sweep, an optimiser update, a sampler's iteration.

    Nothing has to inherit from this class: the three methods and the property are enough.

    The contract is *bits*: an object built with the same arguments, given a checkpoint by ``load_checkpoint``, must go
    on exactly as the object that saved it would have. So everything a later step reads goes into the checkpoint:
    arrays, optimiser moments, counters, the state of random generators.
    """

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do. ``step`` is not called once this is true."""
        ...

    def step(self) -> Mapping[str, float]:
        """Make one unit of progress.

        Returns
        -------
        Mapping[str, float]
            Numbers to log, named in groups: ``"solve/gap"``, ``"train/loss"``. May be empty, may be infinite or nan.
        """
        ...

    def save_checkpoint(self, directory: Path) -> None:
        """Write the state into ``directory``, which exists and is empty.

        The names ``manifest.json`` and ``trainer.json`` are taken. Only files that can't carry code: no pickle, but
        :func:`~robust_rl.training.save_arrays`, safetensors, JSON.
        """
        ...

    def load_checkpoint(self, directory: Path) -> None:
        """Take over the state that ``save_checkpoint`` wrote into ``directory``, whose checksums have been verified."""
        ...
