"""Stopping on Ctrl-C and on a scheduler's SIGTERM without losing the step."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType


@contextmanager
def stop_on_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, SIGINT and SIGTERM call ``stop(name)`` instead of ending the process.

    A second Ctrl-C raises KeyboardInterrupt at once. The handlers found are put back afterwards. Outside the main
    thread, where Python allows no handlers, the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        # Noted before anything else: the second Ctrl-C may come while this handler still runs.
        received.append(number)
        if len(received) == 1:
            stop(signal.Signals(number).name)
            say(f"\n{signal.Signals(number).name}: stopping after this step; press Ctrl-C again to stop at once\n")
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not installed from Python and can't be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def say(text: str) -> None:
    """Write to stderr unbuffered: a handler may run in the middle of a print, and Python's streams forbid that."""
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), text.encode(errors="replace"))
