"""What a result depends on besides its arguments: versions, the git revision, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

_PACKAGES = ("robust-rl", "numpy", "scipy", "numba", "gymnasium", "torch")


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that decide the bits; None if one is not installed.

    The packages' records are read; none is imported.
    """
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def git_revision() -> dict[str, Any] | None:
    """Return the revision of the checkout around the working directory and whether it has changes; None outside one."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return None
    return {"revision": revision, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def hardware() -> dict[str, Any]:
    """Return the processor's name, the number of logical cores and the memory in bytes (None where unknown)."""
    return {"cpu": _processor(), "cores": os.cpu_count(), "memory": _memory(), "system": platform.platform()}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
