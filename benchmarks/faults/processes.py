"""Commands in forked processes."""

import atexit
import fcntl
import importlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from faults.jobs import JOBS

HANGS = 300  # seconds, for work of a few seconds on a busy machine
CHATTER = re.compile(r"^warning:|^\[transformers\]|(it|examples)/s\]")
ALWAYS = ("matplotlib.figure", "tensorboardX", "robust_rl.cli.main", "robust_rl.training.report")


def preload(jobs):
    """Import what the commands import, so that a fork starts at work."""
    for module in (*ALWAYS, *(module for job in jobs for module in JOBS[job].modules)):
        importlib.import_module(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@contextmanager
def alone(path):
    """Hold the lock file ``path``: several of these benchmarks may strike different jobs at once."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Command:
    """A job in a forked process, in the folder ``place``, its run in ``place/run``."""

    def __init__(self, job, place, name, resume=()):
        self.errors = place.parent / f"{place.name}-{name}.stderr"
        where = [] if JOBS[job].out is None else [JOBS[job].out, "run"]
        self.pid = os.fork()
        if self.pid == 0:
            run_forked([*JOBS[job].arguments, *where, *resume], place, self.errors)

    def poll(self):
        """Return the exit code, or None while it runs; negative for a signal."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return None if pid == 0 else os.waitstatus_to_exitcode(status)

    def wait(self, until=lambda: False):
        """Wait for the end, and return the exit code; or for ``until``, and return None. What hangs is killed."""
        end = time.monotonic() + HANGS
        while (code := self.poll()) is None:
            if until():
                return None
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.004)
        return code

    def wait_for_cpu(self, seconds):
        """Wait until the command has used so much processor time; return the exit code if it ended before."""
        return self.wait(lambda: processor_time(self.pid) >= seconds)

    def end(self, number=signal.SIGKILL):
        """Send a signal, and return the exit code."""
        os.kill(self.pid, number)
        return self.wait()

    def lines(self):
        """Return what was written to stderr."""
        return [line for line in self.errors.read_text(errors="replace").splitlines() if line.strip()]

    def complaint(self):
        """Return the lines on stderr that are no warnings, no progress bars, and no remarks of transformers."""
        return [line for line in self.lines() if not CHATTER.search(line)]

    def warnings(self):
        """Return the warnings on stderr."""
        return [line for line in self.lines() if line.startswith("warning:")]


def run_forked(arguments, place, errors):
    code = 1
    try:
        os.setsid()
        for number, path in ((1, os.devnull), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(place)
        sys.argv = ["robust-rl", *arguments]
        from robust_rl.cli.main import main

        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # what an interpreter that ends does, and a fork that must not return doesn't
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def processor_time(pid):
    """Return the seconds that a process and its children have used."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15])) / ticks
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += processor_time(int(child))
    except (OSError, IndexError):
        pass
    return total
