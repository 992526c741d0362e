"""One process at a time in a run directory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from robust_rl.errors import RunInUseError


class Lock:
    """An advisory lock on the file ``path``, which the operating system lets go of when the process dies.

    The file itself stays: removing it would let two processes lock two files of one name. Where the platform has no
    ``flock`` the lock is taken unconditionally.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, what: str, patience: float = 0.1) -> None:
        """Take the lock, or say who has it.

        Parameters
        ----------
        what
            What is being locked, for the message.
        patience
            Seconds to wait. A listing that asks ``taken`` holds the lock for an instant, which must not turn a run away.

        Raises
        ------
        RunInUseError
            Someone else holds it.
        OSError
            The lock file cannot be made.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock_patiently(descriptor, patience):
                owner = os.read(descriptor, 20).decode(errors="replace").strip()
                raise RunInUseError(
                    f"{what} is in use by process {owner or '?'}; wait for it to end, or choose another run directory"
                )
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock; does nothing if it isn't held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            _unlock(descriptor)
            os.close(descriptor)

    def taken(self) -> bool:
        """Whether anyone holds the lock."""
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor)
        finally:
            os.close(descriptor)


def _lock_patiently(descriptor: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while not _try_lock(descriptor):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    # Closing alone would leave the lock with worker processes that inherited the descriptor.
    with suppress(ImportError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
