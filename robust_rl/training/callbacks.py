"""What may happen around a step: evaluate, stop early, save.

A callback with a memory hands it to the checkpoint through :meth:`Callback.state` and takes it back in
:meth:`Callback.restore`; that is what makes a resumed run decide as an uninterrupted one would.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.training.checkpoints import check_keep

if TYPE_CHECKING:
    from robust_rl.training.trainer import Trainer


class Callback:
    """Does nothing; override what you need. Callbacks are called in the order in which the trainer was given them."""

    def on_start(self, trainer: Trainer) -> None:
        """Called once a fit, after resuming and before the first step."""

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
        """Called after each step, before its metrics are logged.

        Parameters
        ----------
        trainer
            With ``step`` (steps done), ``trainable``, ``run``, and the methods ``stop`` and ``request_checkpoint``.
        metrics
            The step's metrics and what callbacks before this one have added.

        Returns
        -------
        Mapping[str, float] or None
            More metrics to log with this step.
        """
        return None

    def on_end(self, trainer: Trainer) -> None:
        """Called after the last step and its checkpoint; not if a step raised."""

    def state(self) -> dict[str, Any]:
        """Return what the callback must remember across a restart, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""


class Checkpoint(Callback):
    """Saves a checkpoint every so many steps.

    Parameters
    ----------
    every
        Number of steps between checkpoints, >= 1.
    keep
        How many checkpoints remain, >= 1; None keeps all.

    Raises
    ------
    InvalidArgumentError
        A number is out of range. At the start of a fit: the trainer has no run directory to save into.
    """

    def __init__(self, every: int, keep: int | None = 3) -> None:
        self.every = _positive("every", every)
        check_keep(keep)
        self.keep = keep

    def on_start(self, trainer: Trainer) -> None:
        """Tell the trainer how many to keep."""
        if trainer.run is None:
            raise InvalidArgumentError("checkpoints need a run directory: Trainer(run=...)")
        trainer.keep_checkpoints = self.keep

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Ask for a checkpoint when one is due."""
        if trainer.step % self.every == 0:
            trainer.request_checkpoint()


class EarlyStopping(Callback):
    """Stops when a metric has not improved for a while. Its memory is part of the checkpoint.

    A value that is not finite is never an improvement. Steps without the metric (one that is evaluated now and then)
    don't count.

    Parameters
    ----------
    metric
        Its name, ``"eval/return"``. It may come from a callback that is listed before this one.
    patience
        How many values in a row may bring no improvement, >= 1.
    mode
        ``"min"`` if smaller is better, ``"max"`` if larger is.
    min_delta
        By how much a value must beat the best one to be an improvement, >= 0, in the metric's unit.

    Raises
    ------
    InvalidArgumentError
        An argument is out of range.
    """

    def __init__(self, metric: str, patience: int, mode: str = "min", min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise InvalidArgumentError(f'mode is {mode!r}; it must be "min" or "max"')
        if not min_delta >= 0:
            raise InvalidArgumentError(f"min_delta is {min_delta}; it must be at least 0")
        self.metric, self.mode, self.min_delta = metric, mode, min_delta
        self.patience = _positive("patience", patience)
        self.best: float | None = None
        self.stale = 0  # values since the best one
        self._seen: set[str] = set()

    def on_start(self, trainer: Trainer) -> None:
        """Stop at once if the run that is resumed had been stopped already."""
        self._stop_if_stale(trainer)

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Compare with the best value so far."""
        self._seen.update(metrics)
        if self.metric not in metrics:
            return
        value = float(metrics[self.metric])
        if self._improves(value):
            self.best, self.stale = value, 0
        else:
            self.stale += 1
        self._stop_if_stale(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Warn if the metric never came: its name may be misspelt."""
        if self._seen and self.metric not in self._seen:
            names = ", ".join(sorted(self._seen))
            warnings.warn(f"EarlyStopping never saw the metric {self.metric!r}; logged were {names}", stacklevel=2)

    def state(self) -> dict[str, Any]:
        """Return the best value and the number of values since."""
        return {"best": self.best, "stale": self.stale}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        self.best, self.stale = state["best"], state["stale"]

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta

    def _stop_if_stale(self, trainer: Trainer) -> None:
        if self.stale >= self.patience:
            trainer.stop(f"{self.metric} has not improved for {self.stale} values; the best is {self.best}")


class TimeBudget(Callback):
    """Stops after the step during which the time ran out. The clock starts anew with each fit, so also on resuming.

    Parameters
    ----------
    seconds
        Wall-clock time, > 0.

    Raises
    ------
    InvalidArgumentError
        The time is not positive.
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise InvalidArgumentError(f"seconds is {seconds}; a time budget must be positive")
        self.seconds = seconds
        self._end = math.inf

    def on_start(self, trainer: Trainer) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self.seconds

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            trainer.stop(f"the time budget of {self.seconds:g} s is spent")


class Evaluation(Callback):
    """Calls a function on the trainable now and then, and logs what it returns under ``eval/``.

    Parameters
    ----------
    function
        trainable -> metrics. To keep runs reproducible it must leave the trainable as it found it and bring its own
        random generator.
    every
        Number of steps between evaluations, >= 1.

    Raises
    ------
    InvalidArgumentError
        ``every`` is out of range.
    """

    def __init__(self, function: Callable[[Any], Mapping[str, float]], every: int) -> None:
        self.function = function
        self.every = _positive("every", every)

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
        """Evaluate when it is time."""
        if trainer.step % self.every != 0:
            return None
        return {f"eval/{name.removeprefix('eval/')}": value for name, value in self.function(trainer.trainable).items()}


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise InvalidArgumentError(f"{name} is {value}; it must be at least 1")
    return value
