"""``robust-rl runs``, ``envs`` and ``sets``: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robust_rl import envs
from robust_rl.cli import options
from robust_rl.training import RunDirectory
from robust_rl.uncertainty import SETS


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"),
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the runs in a folder, oldest first."""
    found = RunDirectory.list(folder)
    records = [
        {"run": str(r.path), "command": r.command, "status": r.status, "started": r.started, "steps": r.step} for r in found
    ]
    options.print_records(records, json, empty=f"no runs in {folder}; `robust-rl solve` makes one")


def environments(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the environments that have an exact transition table, for `solve`."""
    options.print_records([{"id": name, "what": text} for name, text in envs.tabular_ids().items()], json)


def sets(json: options.Json = False, debug: options.Debug = False) -> None:
    """List the uncertainty sets, for `--set`."""
    records = [
        {"set": name, "class": kind.__name__, "what": (kind.__doc__ or "").strip().splitlines()[0].replace("``", "")}
        for name, kind in SETS.items()
    ]
    options.print_records([*records, {"set": "none", "class": "None", "what": "the nominal problem: no adversary"}], json)
