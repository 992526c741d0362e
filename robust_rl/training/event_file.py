"""TensorBoard's event files: records of an event each, written here and now.

tensorboardX's own writer hands events to a thread, which on a full disk dies with a traceback on the terminal, and tries once
more when the interpreter ends. Its messages and checksums are used here, its writer isn't.

    record = length (8 bytes), checksum of the length (4), event, checksum of the event (4)
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from robust_rl.training.files import explain_disk_errors
from robust_rl.training.optional import require

FLUSH_SECONDS = 10
"""How long TensorBoard may wait for what was logged."""


class EventFile:
    """A new file in a folder, which is made if need be.

    Parameters
    ----------
    directory
        Where it is made.
    purge_step
        TensorBoard hides what earlier files there have from this step on.

    Raises
    ------
    MissingDependencyError
        tensorboardX is not installed.
    CheckpointError
        The disk is full or read-only; from every method.
    """

    def __init__(self, directory: Path, purge_step: int | None = None) -> None:
        _import_tensorboardx()
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        # Process and step keep apart the files of processes that start within one second.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{purge_step or 0}"
        self._path = directory / name
        self._next_flush = 0.0
        with explain_disk_errors(self._path, "the checkpoints survive"):
            directory.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "wb")  # noqa: SIM115
        self._write(file_version="brain.Event:2")
        if purge_step is not None:
            self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self._write(step=step, summary=self._summary(value=[self._summary.Value(tag=tag, simple_value=value)]))

    def close(self) -> None:
        """Write what is pending. The file is closed even if that fails: Python would try again when it ends."""
        try:
            with explain_disk_errors(self._path, "the checkpoints survive"):
                self._file.flush()
        finally:
            self._file.raw.close()

    def _write(self, **content: Any) -> None:
        event = self._event(wall_time=time.time(), **content).SerializeToString()
        length = struct.pack("<Q", len(event))
        record = (length, struct.pack("<I", self._checksum(length)), event, struct.pack("<I", self._checksum(event)))
        with explain_disk_errors(self._path, "the checkpoints survive"):
            self._file.write(b"".join(record))
            if time.monotonic() >= self._next_flush:
                self._file.flush()
                self._next_flush = time.monotonic() + FLUSH_SECONDS


def _import_tensorboardx() -> None:
    """Import tensorboardX without torch, which it imports for an annotation alone, and which takes two seconds."""
    hide = not {"torch", "tensorboardX"} & set(sys.modules)
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        require("tensorboardX", "tensorboardX")
    finally:
        if hide:
            del sys.modules["torch"]
