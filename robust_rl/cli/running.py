"""How a command's run begins, breaks off and ends: the same for all commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from robust_rl.cli import options
from robust_rl.training import RunDirectory


def directory(out: Path | None, command: str, what: str) -> RunDirectory:
    """Return the run at ``out``, or a new one that is named after the command and what it works on."""
    return RunDirectory(out) if out else RunDirectory.create(name=options.run_name(command.replace(" ", "-"), what))


def begin(out: Path | None, command: str, what: str, configuration: Mapping[str, Any], seed: int | None = None) -> RunDirectory:
    """Return the run, held by this process."""
    run = directory(out, command, what)
    run.start(configuration, seed=seed, command=f"robust-rl {command}")
    return run


def stop_if(unfinished: bool, run: RunDirectory, code: int = 130) -> None:
    """Leave the command, and tell how it goes on, if there is more to do."""
    if unfinished:
        options.note(f"unfinished; the same command with --out {run.path} goes on")
        raise typer.Exit(code)


def conclude(run: RunDirectory, as_json: bool, found: Mapping[str, Any], text: str, report: Callable[[], Path]) -> None:
    """Tell a person what was found, write the report, which takes seconds, and tell where it is; or tell all as JSON."""
    if not as_json:
        options.console.print(text, markup=False)
    page = options.illustrated(report)
    if run.started:
        run.finish()
    if as_json:
        options.print_json({**found, "run": str(run.path), "report": page})
    else:
        options.console.print(f"report: {page}", markup=False)
