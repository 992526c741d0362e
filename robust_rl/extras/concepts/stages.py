"""Searches one after another in one run: each is made from what the one before has found."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from robust_rl.training import Callback, RunDirectory, Trainable, Trainer

SECONDS = 5.0
"""Between checkpoints: the steps of some stages take milliseconds, those of others minutes."""
Result = TypeVar("Result")
Stages = Generator[Trainable, None, Result]
"""Yields a stage, goes on when that is done, and returns what all were for."""


class InTurn(Generic[Result]):
    """Stages as one :class:`~robust_rl.training.Trainable`: a step is a step of the stage whose turn it is.

    A checkpoint has a folder for each stage that was begun. The first stage is made at once, so mistakes in arguments show here.

    Attributes
    ----------
    result
        What the stages were for, once done.
    """

    def __init__(self, stages: Stages[Result]) -> None:
        self.result: Any = None
        self._stages, self._begun = stages, list[Trainable]()
        self.done = False
        self._pass_on()

    def step(self) -> Mapping[str, float]:
        """Do a step of the present stage."""
        metrics = self._begun[-1].step()
        self._pass_on()
        return metrics

    def save_checkpoint(self, directory: Path) -> None:
        """Write each stage's own checkpoint."""
        for i, stage in enumerate(self._begun):
            (directory / f"stage_{i}").mkdir()
            stage.save_checkpoint(directory / f"stage_{i}")

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint, with stages that have not been stepped. Raises what the stages raise."""
        i = 0
        while i < len(self._begun) and (directory / f"stage_{i}").exists():
            self._begun[i].load_checkpoint(directory / f"stage_{i}")
            self._pass_on()
            i += 1

    def _pass_on(self) -> None:
        """Make the next stage, or the result, if the present one is done."""
        while not self.done and (not self._begun or self._begun[-1].done):
            try:
                self._begun.append(next(self._stages))
            except StopIteration as end:
                self.done, self.result = True, end.value


class EverySoOften(Callback):
    """Has a checkpoint saved when the last one is some seconds old."""

    def on_start(self, trainer: Trainer) -> None:
        """Start the clock."""
        self.last = time.monotonic()

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Look at the clock."""
        if time.monotonic() > self.last + SECONDS:
            trainer.request_checkpoint()
            self.last = time.monotonic()


def drive(stages: InTurn[Result], run: RunDirectory | Path | None = None, progress: bool = False) -> Result:
    """Drive stages to their end, on from where they stopped if a run directory has a checkpoint, and return the result.

    Raises
    ------
    KeyboardInterrupt
        A signal has stopped them; what was done is saved.
    """
    trainer = Trainer(run, progress=progress, callbacks=[] if run is None else [EverySoOften()])
    trainer.fit(stages)
    if not stages.done:
        raise KeyboardInterrupt
    return stages.result  # type: ignore[no-any-return]
