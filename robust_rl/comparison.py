"""Runs side by side: the settings that set them apart, where their metrics ended, and one page with their curves."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from robust_rl import pictures
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import Figure, Link, RunDirectory, RunSummary, Section, Table, write_report

MOST_CURVES = 10
MOST_CHARTS = 8


def compare_runs(folder: str | os.PathLike[str] = "runs", metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one record a run of ``folder``, oldest first: what ``robust-rl runs`` prints.

    Parameters
    ----------
    folder : path
        Folder that holds the runs.
    metrics : sequence of str
        Metrics whose last value each record holds.

    Returns
    -------
    list of dict
        ``run``, ``command``, ``status``, ``started``, ``steps``; one entry for each of ``metrics`` (None where a run
        has none); and ``settings``, a dict of those settings in which the runs of one command differ.

    Raises
    ------
    InvalidArgumentError
        No run of the folder has such a metric; the message lists those there are.
    """
    runs = RunDirectory.list(folder)
    apart = _settings_apart(runs)
    ends = [_last_values(_metrics(run)) if metrics else {} for run in runs]
    _check_names(metrics, ends, runs)
    return [
        {"run": str(run.path), "command": run.command, "status": run.status, "started": run.started, "steps": run.step}
        | {name: end.get(name) for name in metrics}
        | {"settings": settings}
        for run, end, settings in zip(runs, ends, apart, strict=True)
    ]


def write_comparison(path: str | os.PathLike[str], folder: str | os.PathLike[str] = "runs", metrics: Sequence[str] = ()) -> Path:
    """Write a page that compares the runs of ``folder``, and return its path.

    Each command has a section: a table of its runs, with a link to each one's report, the settings that differ and the
    last value of each metric; then one chart a metric, over steps. Charts draw the newest ten runs.

    Parameters
    ----------
    path : path
        The HTML file to write.
    folder : path
        Folder that holds the runs.
    metrics : sequence of str
        Metrics to show; all (in charts the first eight) if empty.

    Raises
    ------
    InvalidArgumentError
        There are no runs, or none has such a metric.
    MissingDependencyError
        matplotlib or jinja2 isn't installed.
    """
    runs = RunDirectory.list(folder)
    if not runs:
        raise InvalidArgumentError(f"no runs in {folder} to compare; `robust-rl solve` makes one")
    lines = [_metrics(run) for run in runs]
    _check_names(metrics, [_last_values(of_run) for of_run in lines], runs)
    apart = _settings_apart(runs)
    by_command = defaultdict(list)
    for run, settings, of_run in zip(runs, apart, lines, strict=True):
        by_command[run.command or "no command"].append((run, settings, of_run))
    sections = [_section(command, group, metrics, Path(path).parent) for command, group in by_command.items()]
    return write_report(path, f"Runs in {Path(folder)}", sections, subtitle=f"{len(runs)} runs, oldest first")


def _section(command: str, group: Sequence[tuple[RunSummary, dict, list]], chosen: Sequence[str], beside: Path) -> Section:
    ends = [_last_values(lines) for *_, lines in group]
    names = [name for name in _in_order(ends) if not chosen or name in chosen]
    keys = _in_order([settings for _, settings, _ in group])
    rows = [
        [_link(run, beside), run.status, run.step, *(settings.get(key) for key in keys), *(end.get(name) for name in names)]
        for (run, settings, _), end in zip(group, ends, strict=True)
    ]
    drawn = group[-MOST_CURVES:]
    charts = [Figure(pictures.metric_over_steps(name, _series(name, drawn)), alt=name) for name in names[:MOST_CHARTS]]
    notes = [f"The charts show the newest {MOST_CURVES} of {len(group)} runs."] if len(group) > MOST_CURVES else []
    if len(names) > MOST_CHARTS:
        notes.append(f"The charts show {MOST_CHARTS} of {len(names)} metrics; --metric chooses others.")
    return Section(command, " ".join(notes), [Table(["run", "status", "steps", *keys, *names], rows), *charts])


def _series(name: str, group: Sequence[tuple[RunSummary, dict, list]]) -> dict[str, tuple[list[int], list[float]]]:
    """Return label -> (steps, values) of a metric; a label is the settings that differ, or the name where none do."""
    labels = [", ".join(f"{key}={value}" for key, value in settings.items()) for _, settings, _ in group]
    series = {}
    for (run, _, lines), label in zip(group, labels, strict=True):
        points = [(line["step"], float(line[name])) for line in lines if _is_number(line.get(name))]
        title = label if label and labels.count(label) == 1 else run.name
        series[title] = ([step for step, _ in points], [value for _, value in points])
    return series


def _link(run: RunSummary, beside: Path) -> Link | str:
    report = run.path / "result" / "report.html"
    return Link(run.name, quote(os.path.relpath(report, beside).replace(os.sep, "/"))) if report.exists() else run.name


def _settings_apart(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Return, for each run, the settings in which the runs of its command differ."""
    flat = [_flat(_configuration(run)) for run in runs]
    by_command: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for run, settings in zip(runs, flat, strict=True):
        by_command[run.command].append(settings)
    differing = {
        command: [key for key in _in_order(group) if any(other.get(key) != group[0].get(key) for other in group)]
        for command, group in by_command.items()
    }
    chosen = [(settings, differing[run.command]) for run, settings in zip(runs, flat, strict=True)]
    return [{key: settings[key] for key in keys if key in settings} for settings, keys in chosen]


def _configuration(run: RunSummary) -> dict[str, Any]:
    try:
        found = RunDirectory(run.path).read().get("configuration")
    except FileFormatError:  # changed since it was listed
        return {}
    return found if isinstance(found, dict) else {}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _metrics(run: RunSummary) -> list[dict[str, Any]]:
    try:
        return list(RunDirectory(run.path).metrics())
    except FileFormatError:  # one broken file must not hide the other runs
        return []


def _last_values(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    last: dict[str, float] = {}
    for line in lines:
        last |= {name: value for name, value in line.items() if name not in ("step", "time") and _is_number(value)}
    return last


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not (isinstance(value, float) and math.isnan(value))


def _in_order(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _check_names(metrics: Sequence[str], ends: Sequence[Mapping[str, float]], runs: Sequence[RunSummary]) -> None:
    known = _in_order(ends)
    unknown = [name for name in metrics if name not in known]
    if unknown and runs:
        raise InvalidArgumentError(f"no run has a metric {unknown[0]!r}; there are {', '.join(sorted(known)) or 'none'}")
