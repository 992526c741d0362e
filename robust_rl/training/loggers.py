"""Where the numbers of a run go: its own files, TensorBoard, the terminal, or a tracking service.

A logger is anything with ``log(step, metrics)`` and ``close()``.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from robust_rl.training.event_file import EventFile
from robust_rl.training.optional import require
from robust_rl.training.run_directory import RunDirectory

Metrics = Mapping[str, int | float]


@runtime_checkable
class Logger(Protocol):
    """Takes the numbers of each step."""

    def log(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of a step; steps count from 1 and never fall."""
        ...

    def close(self) -> None:
        """Write what is pending; nothing is logged afterwards."""
        ...


class JSONLLogger:
    """Writes ``metrics.jsonl`` of a run: every number of every step."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def log(self, step: int, metrics: Metrics) -> None:
        """Append a line.

        Raises
        ------
        CheckpointError
            The disk is full.
        """
        self._run.log(step, metrics)

    def close(self) -> None:
        """Leave the file to the run, which closes it when it finishes."""


class TensorBoardLogger:
    """Writes an event file for TensorBoard into the run's directory.

    TensorBoard shows a thousand points a curve. So a curve is thinned as it grows: all of its first 1,000 points, then every
    10th to 10,000, every 100th to 100,000, and so on, and its last. ``metrics.jsonl`` has them all.

    Parameters
    ----------
    run
        The run to write into.
    purge_step
        On resuming: TensorBoard hides what an earlier process logged from this step on.

    Raises
    ------
    MissingDependencyError
        tensorboardX is not installed.
    CheckpointError
        The disk is full or read-only; from every method.
    """

    def __init__(self, run: RunDirectory, purge_step: int | None = None) -> None:
        self._file = EventFile(run.path, purge_step)
        self._counts: Counter[str] = Counter()
        self._skipped: dict[str, tuple[int, float]] = {}

    def log(self, step: int, metrics: Metrics) -> None:
        """Write the points that the thinning keeps."""
        for key, value in metrics.items():
            if self._counts[key] % _stride(self._counts[key]) == 0:
                self._file.scalar(key, value, step)
                self._skipped.pop(key, None)
            else:
                self._skipped[key] = (step, value)
            self._counts[key] += 1

    def close(self) -> None:
        """Write each curve's last point and close the file."""
        for key, (step, value) in self._skipped.items():
            self._file.scalar(key, value, step)
        self._skipped.clear()
        self._file.close()


class ConsoleLogger:
    """Shows progress on stderr: a bar, the rate, the time left and the last metrics.

    Without ``max_steps`` only the rate is shown. Where stderr is no terminal (a batch job, a pipe) nothing is printed.

    Parameters
    ----------
    max_steps
        Number of steps at which the run ends, if known.
    console
        A ``rich.console.Console`` to print on instead of stderr.

    Raises
    ------
    MissingDependencyError
        rich is not installed.
    """

    def __init__(self, max_steps: int | None = None, console: Any = None) -> None:
        progress = require("rich.progress", "rich")
        if console is None:
            console = require("rich.console", "rich").Console(stderr=True)
        # No markup: a metric may have brackets in its name.
        columns = [progress.TextColumn(f"{{task.fields[{f}]}}", markup=False) for f in ("position", "rate", "metrics")]
        if max_steps is not None:
            columns[1:1] = [progress.BarColumn(), progress.TimeRemainingColumn()]
        self._max_steps = max_steps
        self._progress = progress.Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: Any = None
        self._shown = -math.inf
        self._last: tuple[int, Metrics] | None = None

    def log(self, step: int, metrics: Metrics) -> None:
        """Move the bar to ``step``, at most ten times a second."""
        self._last = (step, metrics)
        if time.monotonic() - self._shown >= 0.1:
            self._show(step, metrics)
            self._shown = time.monotonic()

    def close(self) -> None:
        """Show the last step and leave the bar as it is."""
        if self._last is not None:
            self._show(*self._last)
        self._progress.stop()

    def _show(self, step: int, metrics: Metrics) -> None:
        if self._progress.disable:
            return
        if self._task is None:  # a resumed run starts in the middle, and those steps must not count into the rate
            self._progress.start()
            self._task = self._progress.add_task("", total=self._max_steps, completed=step - 1, position="", rate="", metrics="")
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            completed=step,
            position=f"{step}/{self._max_steps}" if self._max_steps is not None else f"step {step}",
            rate=f"{speed:.3g} steps/s" if speed else "",
            metrics="  ".join(f"{key} {value:.4g}" for key, value in list(metrics.items())[:4]),
        )


class WandbLogger:
    """Logs to Weights & Biases.

    Parameters
    ----------
    run
        A run that ``wandb.init`` returned; its owner finishes it. None starts one, which :meth:`close` finishes.
    settings
        Handed to ``wandb.init``: ``project="...", config={...}, resume="allow"``.

    Raises
    ------
    MissingDependencyError
        wandb is needed and not installed.
    """

    def __init__(self, run: Any = None, **settings: Any) -> None:
        self._owned = run is None
        self._run = require("wandb", "wandb").init(**settings) if run is None else run

    def log(self, step: int, metrics: Metrics) -> None:
        """Log the metrics. wandb drops steps before the last that it has seen, as after a resumed kill."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run if this logger started it."""
        if self._owned:
            self._run.finish()


class MLflowLogger:
    """Logs to MLflow: to the active run, which its owner ends, or to one of its own, which :meth:`close` ends.

    Parameters
    ----------
    settings
        Handed to ``mlflow.start_run`` if no run is active: ``run_name="..."``.

    Raises
    ------
    MissingDependencyError
        mlflow is needed and not installed.
    """

    def __init__(self, **settings: Any) -> None:
        self._mlflow = require("mlflow", "mlflow")
        self._owned = self._mlflow.active_run() is None
        if self._owned:
            self._mlflow.start_run(**settings)

    def log(self, step: int, metrics: Metrics) -> None:
        """Log the metrics to the active run."""
        self._mlflow.log_metrics({key: float(value) for key, value in metrics.items()}, step=step)

    def close(self) -> None:
        """End the run if this logger started it."""
        if self._owned:
            self._mlflow.end_run()


class TrackioLogger:
    """Logs to Trackio.

    Parameters
    ----------
    run
        A run that ``trackio.init`` returned; its owner finishes it. None starts one, which :meth:`close` finishes.
    settings
        Handed to ``trackio.init``: ``project="..."`` (required there), ``name="..."``.

    Raises
    ------
    MissingDependencyError
        trackio is needed and not installed.
    """

    def __init__(self, run: Any = None, **settings: Any) -> None:
        self._owned = run is None
        self._run = require("trackio", "trackio").init(**settings) if run is None else run

    def log(self, step: int, metrics: Metrics) -> None:
        """Log the metrics."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run if this logger started it."""
        if self._owned:
            self._run.finish()


def _stride(count: int) -> int:
    """Return 1 below 1,000 points, 10 below 10,000, 100 below 100,000, ..."""
    return int(10 ** max(0, len(str(count)) - 3))
