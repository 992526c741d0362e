"""``robust-rl runs``, ``envs`` and ``sets``: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robust_rl import envs
from robust_rl.cli import options
from robust_rl.comparison import compare_runs, write_comparison
from robust_rl.uncertainty import SETS


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that holds the runs.")] = Path("runs"),
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Show its last value; may be repeated.")] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write a page that compares the runs: settings, metrics, curves.")
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the runs in a folder, oldest first, with the settings that set those of one command apart.

    robust-rl runs --metric solve/lower --page runs.html
    """
    records = compare_runs(folder, metric or ())
    written = None if page is None else write_comparison(page, folder, metric or ())
    shown = records if json else [{name: _words(value) for name, value in record.items()} for record in records]
    options.print_records(shown, json, empty=f"no runs in {folder}; `robust-rl solve` makes one")
    if written is not None:
        options.note(f"page: {written}")


def _words(value: Any) -> Any:
    return ", ".join(f"{name}={setting}" for name, setting in value.items()) if isinstance(value, dict) else value


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
