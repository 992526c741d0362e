"""One run on disk, the same for every algorithm.

    runs/<name>/
      run.json          what was run: command, configuration, seed, versions, git revision, hardware
      metrics.jsonl     one line a step: {"step": .., "time": .., "solve/gap": ..}
      events.out.*      the same numbers for TensorBoard
      checkpoints/step_000100/   whatever the Trainable saved, whole and checksummed
      result/           what the run was for: policy, values, samples, model; and report.html

A :class:`RunDirectory` touches no disk until asked to. Loops that bring their own trainer use it directly::

    run = RunDirectory.create("runs", "vpo")
    run.start({"beta": 0.1}, seed=0)
    run.log(step, {"train/loss": loss})
    with run.checkpoint(step) as directory: ...
    run.finish()
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import checkpoints, metrics_file, provenance
from robust_rl.training.arrays import check_version
from robust_rl.training.files import explain_disk_errors, read_json, remove_temporaries, write_json
from robust_rl.training.lock import Lock

if TYPE_CHECKING:
    from robust_rl.training.report import Section

FORMAT = "robust-rl run"
VERSION = 1
STATUSES = ("running", "finished", "interrupted")

# Inside the class, ``list`` is the method that lists runs.
Records: TypeAlias = list[dict[str, Any]]
Paths: TypeAlias = list[Path]


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A line of ``robust-rl runs``.

    ``status`` is ``running`` only while a process holds the run: one that was killed shows as ``interrupted``.
    """

    name: str
    command: str | None
    status: str
    started: str
    step: int | None
    path: Path


class RunDirectory:
    """A run at ``path``, new or old.

    Parameters
    ----------
    path
        The run's own directory, ``runs/<name>``. It need not exist yet.

    Raises
    ------
    InvalidArgumentError
        ``path`` is a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise InvalidArgumentError(f"run {self.path} is a file; a run is a directory")
        self._lock = Lock(self.path / ".lock")
        self._writer: metrics_file.MetricsWriter | None = None
        self._found: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    @classmethod
    def create(cls, parent: str | os.PathLike[str] = "runs", name: str = "run") -> RunDirectory:
        """Make a fresh directory ``parent/name-20260131-235959``, with a counter if that one is taken.

        Characters of ``name`` that don't belong into a file name become hyphens: ``ALE/Pong-v5`` is ``ALE-Pong-v5``.

        Raises
        ------
        CheckpointError
            The directory cannot be made.
        """
        safe = re.sub(r"[^\w.+=,-]+", "-", name).strip("-.") or "run"
        stem = f"{safe}-{datetime.now():%Y%m%d-%H%M%S}"
        path, count = Path(parent) / stem, 1
        with explain_disk_errors(path, "no run was made"):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    path.mkdir()
                    return cls(path)
                except FileExistsError:
                    count += 1
                    path = Path(parent) / f"{stem}-{count}"

    @staticmethod
    def list(parent: str | os.PathLike[str] = "runs") -> Sequence[RunSummary]:
        """Return the runs in ``parent``, oldest first. Folders that are no runs are ignored."""
        folders = sorted(Path(parent).iterdir()) if Path(parent).is_dir() else ()
        summaries = [summary for folder in folders if (summary := _summarise(folder)) is not None]
        return sorted(summaries, key=lambda summary: summary.started)

    def start(self, configuration: Mapping[str, Any] | None = None, seed: int | None = None, command: str | None = None) -> None:
        """Take the run for this process and write ``run.json``; on an existing run, add a record under "resumed".

        Leftovers of a killed run are removed. Calling it again while the run is held changes nothing.

        Parameters
        ----------
        configuration
            Whatever changes the result. Dataclasses and arrays are spelled out, other objects become their ``repr``.
        seed
            The run's seed.
        command
            A word or line for listings, such as ``"robust-rl solve"``.

        Raises
        ------
        RunInUseError
            Another process (or another RunDirectory of this one) holds the run.
        FileFormatError
            ``run.json`` is foreign, corrupt, or of a newer version.
        CheckpointError
            The disk is full or read-only.
        """
        if self._lock.held:
            return
        with explain_disk_errors(self.path / "run.json", "the run was not started"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(f"run {self.path}")
            try:
                self._clean()
                self._write_start(_plain(configuration or {}), seed, command)
            except BaseException:
                self._lock.release()
                raise

    def finish(self, status: str = "finished") -> None:
        """Write the status, close the files and let go of the run.

        Parameters
        ----------
        status
            ``"finished"`` or ``"interrupted"``.

        Raises
        ------
        InvalidArgumentError
            The status is another.
        CheckpointError
            The disk is full; the run is let go all the same.
        """
        if status not in STATUSES[1:]:
            raise InvalidArgumentError(f"status is {status!r}; it must be one of {', '.join(STATUSES[1:])}")
        try:
            with explain_disk_errors(self.path, "the checkpoints survive"):
                self._close_writer()
                if (self.path / "run.json").exists():
                    write_json(self.path / "run.json", self.read() | {"status": status, "finished": _now()})
        finally:
            self._lock.release()

    def withdraw(self) -> None:
        """Let go of a run that was started but not changed: ``run.json`` of an old run is put back as it was found."""
        if self._found is None:
            self.finish("interrupted")
            return
        try:
            self._close_writer()
            write_json(self.path / "run.json", self._found)
        finally:
            self._lock.release()

    @contextmanager
    def held(self, patience: float = 30.0) -> Iterator[None]:
        """Hold the run while files of it are changed that were read before; nothing is recorded.

        Parameters
        ----------
        patience
            Seconds to wait for another process that does the same.

        Raises
        ------
        RunInUseError
            Another process holds the run, and for longer.
        """
        self._lock.acquire(f"run {self.path}", patience)
        try:
            yield
        finally:
            self._lock.release()

    @property
    def started(self) -> bool:
        """Whether this object holds the run: between :meth:`start` and :meth:`finish`."""
        return self._lock.held

    def read(self) -> dict[str, Any]:
        """Return the content of ``run.json``.

        Raises
        ------
        FileFormatError
            It is missing, foreign, corrupt, or of a newer version.
        """
        path = self.path / "run.json"
        content = read_json(path)
        if content.get("format") != FORMAT:
            raise FileFormatError(f"{path} is not of format {FORMAT!r} ({content.get('format')!r})")
        check_version(path, content.get("version"), VERSION)
        return content

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a line to ``metrics.jsonl``. Buffered: a kill may lose lines written after the last checkpoint.

        Parameters
        ----------
        step
            Number of steps done.
        metrics
            Name -> number. ``step`` and ``time`` are taken. Infinities and nan are kept; how, says
            :mod:`~robust_rl.training.metrics_file`.

        Raises
        ------
        InvalidArgumentError
            A value is not a number, or a name is taken.
        CheckpointError
            The disk is full or read-only.
        """
        with explain_disk_errors(self.path / "metrics.jsonl", "the checkpoints survive"):
            if self._writer is None:
                self.path.mkdir(parents=True, exist_ok=True)
                self._writer = metrics_file.MetricsWriter(self.path / "metrics.jsonl")
            self._writer.write(step, metrics)

    def sync_metrics(self) -> None:
        """Make every line logged so far durable, as ``checkpoint`` does by itself.

        Raises
        ------
        CheckpointError
            The disk is full or read-only.
        """
        with explain_disk_errors(self.path / "metrics.jsonl", "the checkpoints survive"):
            if self._writer is not None:
                self._writer.sync()

    def metrics(self) -> Records:
        """Return the lines of ``metrics.jsonl``, oldest first, without a last line that a kill cut short.

        Raises
        ------
        FileFormatError
            Another line is broken.
        """
        if self._writer is not None:
            self._writer.flush()
        return metrics_file.read_metrics(self.path / "metrics.jsonl")

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines after ``step``, so that a resumed run's metrics equal an uninterrupted one's.

        Raises
        ------
        FileFormatError
            A line is broken.
        CheckpointError
            The disk is full.
        """
        with explain_disk_errors(self.path / "metrics.jsonl", "it is unchanged"):
            self._close_writer()
            metrics_file.truncate_metrics(self.path / "metrics.jsonl", step)

    @contextmanager
    def checkpoint(self, step: int, keep: int | None = None) -> Iterator[Path]:
        """Yield an empty directory to write into; on leaving the block it becomes ``checkpoints/step_000100``, whole.

        Lines logged so far are made durable first, so that no checkpoint is ahead of the metrics.

        Parameters
        ----------
        step
            Number of steps done.
        keep
            How many checkpoints remain afterwards; None keeps all.

        Raises
        ------
        CheckpointError
            The disk is full or read-only. Earlier checkpoints survive.
        InvalidArgumentError
            ``step`` or ``keep`` is out of range.
        """
        self.sync_metrics()
        with checkpoints.write_checkpoint(self.path / "checkpoints", step, keep) as directory:
            yield directory

    def checkpoints(self) -> Paths:
        """Return the checkpoint directories, oldest step first, unverified."""
        return checkpoints.list_checkpoints(self.path / "checkpoints")

    def latest_checkpoint(self) -> Path | None:
        """Return the newest intact checkpoint, or None; a corrupt one is skipped with a warning.

        Raises
        ------
        FileFormatError
            All are corrupt, or the newest is of a newer version.
        """
        return checkpoints.latest_checkpoint(self.path / "checkpoints")

    @property
    def result(self) -> Path:
        """The directory ``result/`` for what the run was for; made on first use."""
        directory = self.path / "result"
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def report(self, title: str, sections: Sequence[Section], subtitle: str = "") -> Path:
        """Write ``result/report.html`` and return its path.

        Raises
        ------
        MissingDependencyError
            jinja2, or matplotlib for its figures, is not installed.
        CheckpointError
            The disk is full or read-only.
        """
        from robust_rl.training.report import write_report

        path = self.path / "result" / "report.html"
        with explain_disk_errors(path, "the run's other files are untouched"):
            return write_report(path, title, sections, subtitle)

    def _clean(self) -> None:
        for directory in (self.path, self.path / "result"):
            remove_temporaries(directory)
        checkpoints.clean_checkpoints(self.path / "checkpoints")

    def _write_start(self, configuration: dict[str, Any], seed: int | None, command: str | None) -> None:
        if not (self.path / "run.json").exists():
            write_json(self.path / "run.json", _first_record(self.path.name, configuration, seed, command))
            return
        record = self._found = self.read()
        _warn_of_changes(self.path, record.get("configuration"), configuration)
        resumed = {"time": _now(), "argv": sys.argv, "configuration": configuration, "step": self._last_step()}
        earlier = record.get("resumed")
        changes = {"status": "running", "finished": None, "resumed": [*(earlier if isinstance(earlier, list) else []), resumed]}
        write_json(self.path / "run.json", record | changes)

    def _last_step(self) -> int | None:
        return metrics_file.last_step(self.path / "metrics.jsonl")

    def _close_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


def _first_record(name: str, configuration: dict[str, Any], seed: int | None, command: str | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "command": command,
        "argv": sys.argv,
        "configuration": configuration,
        "seed": None if seed is None else int(seed),
        "versions": provenance.versions(),
        "git": provenance.git_revision(),
        "hardware": provenance.hardware(),
        "started": _now(),
        "finished": None,
        "status": "running",
        "resumed": [],
    }


def _warn_of_changes(path: Path, before: Any, after: dict[str, Any]) -> None:
    # A larger budget is a good reason to resume with other settings, so this is no error.
    if not isinstance(before, dict) or not after:
        return
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    if changed:
        warnings.warn(f"run {path} is resumed with another {', '.join(changed)} than it was started with", stacklevel=4)


def _summarise(folder: Path) -> RunSummary | None:
    try:
        run = RunDirectory(folder)
        record = run.read()
    except (FileFormatError, InvalidArgumentError):
        return None
    status = str(record.get("status"))
    if status == "running" and not Lock(folder / ".lock").taken():
        status = "interrupted"
    return RunSummary(folder.name, record.get("command"), status, str(record.get("started")), run._last_step(), folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON: what has no JSON form becomes its ``repr``."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else repr(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return str(value)
    with suppress(Exception):
        return _plain(value.tolist())
    return repr(value)
