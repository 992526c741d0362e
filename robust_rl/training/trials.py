"""Many runs of one kind, in a pool of processes: what a sweep over configurations is made of.

A trial is a Trainable made from a configuration, plain data, by a function that other processes can import. Each has a run
directory of its own, so that it looks like any other run and goes on after a kill. Trials end in any order and are handed on in
that of the configurations.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl.errors import InvalidArgumentError, RobustRLError
from robust_rl.training.arrays import load_arrays, save_arrays
from robust_rl.training.loggers import JSONLLogger
from robust_rl.training.run_directory import RunDirectory
from robust_rl.training.trainable import Trainable
from robust_rl.training.trainer import Trainer

Configuration = Mapping[str, Any]
Factory = Callable[[Configuration], Trainable]
FILE = "trials.safetensors"


def run_trial(factory: Factory, configuration: Configuration, directory: Path, checkpoint_every: int | None) -> dict[str, float]:
    """Drive one trial to its end in its own run directory, or to where an earlier process left it; return its last metrics."""
    run = RunDirectory(directory)
    run.start(configuration, seed=configuration.get("seed"), command="trial")
    Trainer(run, checkpoint_every=checkpoint_every, loggers=[JSONLLogger(run)]).fit(factory(configuration))
    lines = run.metrics()
    return {name: value for name, value in (lines[-1] if lines else {}).items() if name not in ("step", "time")}


class Trials:
    """Trials as a Trainable: a step ends when the next trial, in the order of the configurations, has ended.

    Parameters
    ----------
    factory : callable
        Configuration -> Trainable. Module-level, so that a worker imports it by its name.
    configurations : sequence of mappings
        Plain data, one a trial; an entry ``seed`` is noted as the run's.
    directory : path
        Of the trials' run directories, ``0000`` and so on.
    workers : int
        Number of processes. They end with this one, however it ends.
    checkpoint_every : int, optional
        Steps between a trial's checkpoints, for trials that take long.

    Attributes
    ----------
    results : list of dict
        Last metrics of the trials that have ended.

    Raises
    ------
    InvalidArgumentError
        If there is no configuration or no worker.
    RobustRLError
        In a step, what a trial raised; or if a worker's process died, which a later run with the same directory makes up for.
    """

    def __init__(
        self,
        factory: Factory,
        configurations: Sequence[Configuration],
        directory: str | Path,
        *,
        workers: int = 1,
        checkpoint_every: int | None = None,
    ) -> None:
        if not configurations or workers < 1:
            raise InvalidArgumentError(
                f"{len(configurations)} configurations and {workers} workers; there must be one of each at least"
            )
        self.factory, self.configurations, self.directory = factory, list(configurations), Path(directory)
        self.workers, self.checkpoint_every = workers, checkpoint_every
        self.results: list[dict[str, float]] = []
        self._pool: _Pool | None = None
        self._running: dict[int, Future[dict[str, float]]] = {}

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return len(self.results) == len(self.configurations)

    def step(self) -> Mapping[str, float]:
        """Wait for the next trial and return its last metrics."""
        if self._pool is None:
            self._start()
        try:
            result = self._running.pop(len(self.results)).result()
        except BrokenProcessPool:
            self.close()
            raise RobustRLError(
                f"a worker died in trial {len(self.results)} or one beside it, perhaps for want of memory; what had ended is kept"
            ) from None
        self.results.append(result)
        if self.done:
            self.close()
        return result

    def save_checkpoint(self, directory: Path) -> None:
        """Write the results so far."""
        names = sorted({name for result in self.results for name in result})
        table = np.array([[result.get(name, math.nan) for name in names] for result in self.results])
        save_arrays(directory / FILE, {"results": table.reshape(-1, len(names))}, self._problem() | {"names": names})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of other configurations."""
        arrays, noted = load_arrays(directory / FILE)
        if noted["configurations"] != self._problem()["configurations"]:
            raise InvalidArgumentError("the checkpoint is of other configurations; choose another run directory")
        named = (zip(noted["names"], row, strict=True) for row in arrays["results"].tolist())
        self.results = [{name: value for name, value in result if not math.isnan(value)} for result in named]

    def close(self) -> None:
        """End the workers, whatever they are doing; a later step starts new ones."""
        if self._pool is not None:
            self._pool.close()
        self._pool, self._running = None, {}

    def _start(self) -> None:
        self._pool = _Pool(min(self.workers, len(self.configurations) - len(self.results)))
        for i in range(len(self.results), len(self.configurations)):
            place = self.directory / f"{i:04d}"
            arguments = (self.factory, self.configurations[i], place, self.checkpoint_every)
            self._running[i] = self._pool.submit(run_trial, *arguments)

    def _problem(self) -> dict[str, Any]:
        return {"configurations": [repr(sorted(configuration.items())) for configuration in self.configurations]}


class _Pool:
    """A process pool whose workers end when this process does, or says so: they watch a pipe of which it holds the other end."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        watched, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(watched,))
        self.submit = self._executor.submit

    def close(self) -> None:
        """End the workers at once."""
        self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=True)


def _begin_worker(watched: Any) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C is for the process that waits for us
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()


def _end_with_parent(watched: Any) -> None:
    try:
        watched.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
