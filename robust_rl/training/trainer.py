"""The one loop that drives every Trainable.

    resume from the latest intact checkpoint
    while there is something to do:
        step, merge the callbacks' metrics, log, save when due
    save

A run killed at any moment and fitted again ends with the bits of an uninterrupted one: the checkpoint holds the
trainable, the number of steps and the callbacks' memory (``trainer.json``), and the metrics are cut back to it.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from robust_rl.errors import CheckpointError, FileFormatError, InvalidArgumentError, sound
from robust_rl.training.arrays import check_version
from robust_rl.training.callbacks import Callback, Checkpoint
from robust_rl.training.checkpoints import check_keep, checkpoint_step
from robust_rl.training.files import read_json, write_json
from robust_rl.training.loggers import ConsoleLogger, JSONLLogger, Logger, TensorBoardLogger
from robust_rl.training.metrics_file import plain_numbers
from robust_rl.training.run_directory import RunDirectory
from robust_rl.training.signals import say, stop_on_signal
from robust_rl.training.trainable import Trainable

STATE = "trainer.json"
VERSION = 1
T = TypeVar("T", bound=Trainable)


class Trainer:
    """Drives a :class:`Trainable` to its end, its budget, or the user's Ctrl-C.

    Parameters
    ----------
    run
        Where to log and save: a path, a :class:`RunDirectory`, or None for nothing on disk. Call ``run.start`` before
        to record the configuration and the seed; otherwise :meth:`fit` starts it without.
    max_steps
        Total number of steps of the run, those before a restart included; None for no limit.
    callbacks
        Called in this order.
    loggers
        Where metrics go. None means ``metrics.jsonl`` and, if tensorboardX is installed, TensorBoard; nothing without
        a run. Closed at the end of a fit.
    checkpoint_every
        Number of steps between checkpoints; None saves only at the end and when interrupted. Short for the callback
        ``Checkpoint(every, keep)``.
    keep_checkpoints
        How many checkpoints remain; None keeps all.
    progress
        Whether to show a progress bar on stderr.

    Attributes
    ----------
    step : int
        Number of steps done.
    trainable
        What is being fitted; None before the first fit.
    stop_reason : str or None
        Why the last fit ended before its budget: a callback's reason or a signal's name.
    interrupted : bool
        Whether a signal ended the last fit.

    Raises
    ------
    InvalidArgumentError
        An argument is out of range, or contradicts another.
    """

    def __init__(
        self,
        run: RunDirectory | str | os.PathLike[str] | None = None,
        *,
        max_steps: int | None = None,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] | None = None,
        checkpoint_every: int | None = None,
        keep_checkpoints: int | None = 3,
        progress: bool = False,
    ) -> None:
        if max_steps is not None and max_steps < 0:
            raise InvalidArgumentError(f"max_steps is {max_steps}; it must be at least 0")
        check_keep(keep_checkpoints)
        self.run = run if run is None or isinstance(run, RunDirectory) else RunDirectory(run)
        self.max_steps = max_steps
        self.callbacks = [*callbacks, *_checkpoint_callback(self.run, callbacks, checkpoint_every, keep_checkpoints)]
        self.keep_checkpoints = keep_checkpoints
        self.progress = progress
        self._given_loggers = loggers
        self._loggers: list[Logger] = []
        self.trainable: Any = None
        self.step = 0
        self.stop_reason: str | None = None
        self.interrupted = False
        self._save_requested = False
        self._saved_step: int | None = None
        self._resumed = False

    def fit(self, trainable: T, resume: bool = True) -> T:
        """Drive ``trainable`` until it is done, the budget is spent, or something stops it.

        SIGINT and SIGTERM finish the current step, save a checkpoint and say how to resume; a second Ctrl-C raises
        KeyboardInterrupt at once.

        Parameters
        ----------
        trainable
            What to drive. When resuming, build it with the arguments of the first time.
        resume
            Whether to go on from the run's latest intact checkpoint, if there is one.

        Returns
        -------
        Trainable
            The same object.

        Raises
        ------
        CheckpointError
            The disk is full; the checkpoints before survive.
        FileFormatError
            No checkpoint is intact, or the run is of a newer version.
        RunInUseError
            Another process holds the run.
        InvalidArgumentError
            The run has checkpoints and ``resume`` is false, or a metric is no number.
        """
        self.trainable, self.step, self._saved_step = trainable, 0, None
        self.stop_reason, self.interrupted, self._save_requested, self._resumed = None, False, False, False
        with self._held_run():
            if self.run is not None:
                self._resume(self.run, trainable, resume)
            self._resumed = True
            with stop_on_signal(self._interrupt), self._open_loggers():
                self._loop(trainable)
                self._save_if_new()
            # A signal that came after the last step has interrupted nothing.
            self.interrupted = self.interrupted and self._has_work()
            for callback in self.callbacks:
                callback.on_end(self)
        if self.interrupted:
            say(f"stopped at step {self.step} by {self.stop_reason}{self._how_to_resume()}\n")
        return trainable

    def stop(self, reason: str) -> None:
        """End the fit after the current step, for the ``reason`` given; the first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def request_checkpoint(self) -> None:
        """Save a checkpoint as soon as the current step's metrics are logged; does nothing without a run."""
        self._save_requested = True

    def _loop(self, trainable: Trainable) -> None:
        for callback in self.callbacks:
            callback.on_start(self)
        while self.stop_reason is None and self._has_work():
            metrics = plain_numbers(trainable.step())
            self.step += 1
            for callback in self.callbacks:
                metrics.update(plain_numbers(callback.on_step(self, metrics) or {}))
            for logger in self._loggers:
                logger.log(self.step, metrics)
            if self._save_requested:
                self._save_if_new()

    def _has_work(self) -> bool:
        return not self.trainable.done and (self.max_steps is None or self.step < self.max_steps)

    def _save_if_new(self) -> None:
        self._save_requested = False
        if self.run is None or self.trainable is None or self.step == self._saved_step:
            return
        with self.run.checkpoint(self.step, self.keep_checkpoints) as directory:
            self.trainable.save_checkpoint(directory)
            if (directory / STATE).exists():
                raise InvalidArgumentError(f"save_checkpoint wrote {STATE}; that name is the trainer's own")
            states = {name: callback.state() for name, callback in self._named_callbacks()}
            write_json(directory / STATE, {"version": VERSION, "step": self.step, "callbacks": states})
        self._saved_step = self.step

    def _resume(self, run: RunDirectory, trainable: Trainable, resume: bool) -> None:
        if not resume and run.checkpoints():
            raise InvalidArgumentError(
                f"run {run.path} has checkpoints and resume is false; resume it, or choose another run directory"
            )
        directory = run.latest_checkpoint()
        if directory is not None:
            self._load(directory, trainable)
        run.truncate_metrics(self.step)

    def _load(self, directory: Path, trainable: Trainable) -> None:
        if not (directory / STATE).exists():
            raise FileFormatError(f"{directory} was not saved by Trainer: it has no {STATE}")
        state = read_json(directory / STATE)
        check_version(directory / STATE, state.get("version"), VERSION)
        with sound(directory, "checkpoint of this run; to start over, remove it:"):
            trainable.load_checkpoint(directory)
            for name, callback in self._named_callbacks():
                if name in state["callbacks"]:
                    callback.restore(state["callbacks"][name])
            self.step = self._saved_step = checkpoint_step(directory)

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        """Yield each callback under its class's name, numbered from the second of a class on."""
        count: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            count[name] += 1
            yield (name if count[name] == 1 else f"{name}-{count[name]}"), callback

    @contextmanager
    def _held_run(self) -> Iterator[None]:
        """Start the run if its owner hasn't, and finish it: interrupted after an error or a signal."""
        if self.run is None:
            yield
            return
        self.run.start()
        try:
            yield
        except BaseException:
            # The disk that is too full for the checkpoint is too full for this; the first error is the one to report.
            with suppress(CheckpointError, FileFormatError):
                if self._resumed:
                    self.run.finish("interrupted")
                else:
                    self.run.withdraw()
            raise
        self.run.finish("interrupted" if self.interrupted else "finished")

    @contextmanager
    def _open_loggers(self) -> Iterator[None]:
        self._loggers = list(self._default_loggers() if self._given_loggers is None else self._given_loggers)
        if self.progress:
            self._loggers.append(ConsoleLogger(self.max_steps))
        try:
            yield
        except BaseException:
            for logger in self._loggers:
                with suppress(CheckpointError):  # as in _held_run: the first error is the one to report
                    logger.close()
            raise
        with ExitStack() as stack:
            for logger in self._loggers:
                stack.callback(logger.close)

    def _default_loggers(self) -> Iterator[Logger]:
        if self.run is None:
            return
        yield JSONLLogger(self.run)
        if importlib.util.find_spec("tensorboardX") is not None:
            yield TensorBoardLogger(self.run, purge_step=self.step + 1)

    def _interrupt(self, signal_name: str) -> None:
        self.interrupted = True
        self.stop(signal_name)

    def _how_to_resume(self) -> str:
        if self.run is None:
            return "; nothing was saved, because there is no run directory"
        return f", saved in {self.run.path}\nto resume, run the same command with this run directory: {self.run.path}"


def _checkpoint_callback(
    run: RunDirectory | None, callbacks: Sequence[Callback], every: int | None, keep: int | None
) -> Sequence[Callback]:
    if every is None:
        return ()
    if run is None:
        raise InvalidArgumentError("checkpoint_every needs a run directory: Trainer(run=...)")
    if any(isinstance(callback, Checkpoint) for callback in callbacks):
        raise InvalidArgumentError("checkpoint_every and a Checkpoint callback are both given; drop one of them")
    return (Checkpoint(every, keep),)
