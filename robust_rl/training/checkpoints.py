"""Checkpoint directories that are whole or absent, and that say so when a bit has rotted.

    checkpoints/step_000100/
      manifest.json       {"format": "robust-rl checkpoint", "version": 1, "step": 100, "files": {name: sha256}}
      ...                 whatever the Trainable wrote

A checkpoint is written under a temporary name in the same parent, its files and directories are synced, and it is
renamed into place; the manifest is written last. A process killed at any moment leaves either the whole checkpoint or
none, and a leftover temporary that :func:`clean_checkpoints` removes at the next start.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robust_rl.errors import FileFormatError, InvalidArgumentError, sound
from robust_rl.training.arrays import NewerVersionError, check_version
from robust_rl.training.files import (
    JSON,
    explain_disk_errors,
    read_json,
    remove_temporaries,
    sha256,
    sync_directory,
    sync_file,
    write_json,
)

FORMAT = "robust-rl checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"step_(\d{6,})")


@contextmanager
def write_checkpoint(parent: Path, step: int, keep: int | None = None) -> Iterator[Path]:
    """Yield an empty temporary directory; on leaving the block it becomes ``parent/step_000100``, whole.

    Parameters
    ----------
    parent
        The ``checkpoints`` directory; created if need be.
    step
        Number of steps done, >= 0. An existing checkpoint of that step is replaced.
    keep
        How many checkpoints up to this step remain afterwards, >= 1; None keeps all.

    Raises
    ------
    CheckpointError
        The disk is full or read-only. Earlier checkpoints survive; the temporary is removed. Whatever else the block
        raises passes through, and the temporary is removed too.
    InvalidArgumentError
        ``step`` or ``keep`` is out of range, or the block wrote a file named ``manifest.json``.
    """
    if step < 0:
        raise InvalidArgumentError(f"step is {step}; a checkpoint's step must be at least 0")
    check_keep(keep)
    target = parent / f"step_{step:06d}"
    temporary = parent / f".{target.name}.tmp"
    with explain_disk_errors(target, "earlier checkpoints survive"):
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            _seal(temporary, step)
            _replace(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if keep is not None:
            _prune(parent, step, keep)


def list_checkpoints(parent: Path) -> list[Path]:
    """Return the checkpoint directories in ``parent``, oldest step first, unverified."""
    if not parent.is_dir():
        return []
    found = [path for path in parent.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(directory: Path) -> int:
    """Return the step in the name of a checkpoint directory: ``step_000100`` -> 100.

    Raises
    ------
    InvalidArgumentError
        The directory is not named like a checkpoint.
    """
    match = _NAME.fullmatch(directory.name)
    if match is None:
        raise InvalidArgumentError(f"{directory} is not named like a checkpoint (step_000100)")
    return int(match[1])


def verify_checkpoint(directory: Path) -> int:
    """Check the manifest and every checksum of a checkpoint, and return its step.

    Raises
    ------
    FileFormatError
        The manifest is missing, foreign or of a newer version, or a file is missing or corrupt; the message names it.
    """
    manifest = read_json(directory / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise FileFormatError(f"{directory / MANIFEST} is not of format {FORMAT!r} ({manifest.get('format')!r})")
    check_version(directory / MANIFEST, manifest.get("version"), VERSION)
    step, files = manifest.get("step"), manifest.get("files")
    if type(step) is not int or not isinstance(files, dict):
        raise FileFormatError(f"{directory / MANIFEST} lacks its step or its list of files")
    for name, checksum in files.items():
        path = directory / name
        with sound(path, "part of a checkpoint"):  # a name may be too long for the system, a file unreadable
            if not path.is_file():
                raise FileFormatError(f"{path} is missing from the checkpoint")
            if sha256(path) != checksum:
                raise FileFormatError(f"{path} is corrupt: its checksum differs from the manifest's")
    return step


def latest_checkpoint(parent: Path) -> Path | None:
    """Return the newest intact checkpoint in ``parent``, or None if there are no checkpoints.

    A corrupt one is skipped with a warning that names the broken file.

    Raises
    ------
    FileFormatError
        There are checkpoints but all are corrupt (starting over must be the user's choice), or the newest was written
        by a newer version.
    """
    candidates = list_checkpoints(parent)
    for directory in reversed(candidates):
        try:
            verify_checkpoint(directory)
        except NewerVersionError:
            raise
        except FileFormatError as error:
            warnings.warn(f"skipping the checkpoint {directory.name}: {error}", stacklevel=2)
        else:
            return directory
    if candidates:
        raise FileFormatError(f"all checkpoints in {parent} are corrupt; to start over, remove that folder")
    return None


def clean_checkpoints(parent: Path) -> None:
    """Undo what a killed run left half-done in ``parent``: temporaries go, a half-replaced checkpoint comes back."""
    remove_temporaries(parent)
    for old in parent.glob(".step_*.old"):
        target = parent / old.name[1 : -len(".old")]
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def check_keep(keep: int | None) -> None:
    """Raise unless ``keep`` is None or at least 1.

    Raises
    ------
    InvalidArgumentError
        It is 0 or negative.
    """
    if keep is not None and keep < 1:
        raise InvalidArgumentError(f"keep is {keep}; at least 1 checkpoint must remain (None keeps all)")


def _seal(directory: Path, step: int) -> None:
    """Sync every file and directory, and write the manifest over them."""
    if (directory / MANIFEST).exists():
        raise InvalidArgumentError(f"save_checkpoint wrote {MANIFEST}; that name is the checkpoint's own")
    entries = sorted(directory.rglob("*"))
    files = [path for path in entries if path.is_file()]
    for path in files:
        sync_file(path)
    for path in entries:
        if path.is_dir():
            sync_directory(path)
    checksums: dict[str, JSON] = {path.relative_to(directory).as_posix(): sha256(path) for path in files}
    write_json(directory / MANIFEST, {"format": FORMAT, "version": VERSION, "step": step, "files": checksums})


def _replace(temporary: Path, target: Path) -> None:
    # A directory can't be renamed over a full one, so the old checkpoint steps aside; clean_checkpoints brings it back
    # if the process dies between the two renames.
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    os.rename(temporary, target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _prune(parent: Path, step: int, keep: int) -> None:
    # Later checkpoints are left alone: if they were intact the run would have resumed from them.
    earlier = [path for path in list_checkpoints(parent) if checkpoint_step(path) <= step]
    for path in earlier[:-keep]:
        # Under its own name a half-removed checkpoint would look like a corrupt one.
        doomed = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
