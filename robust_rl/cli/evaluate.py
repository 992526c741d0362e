"""``robust-rl evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robust_rl import envs
from robust_rl.agents import RobustVI
from robust_rl.cli import options
from robust_rl.errors import sound
from robust_rl.evaluation import evaluate_shifts
from robust_rl.reports import how_read, write_agent_report
from robust_rl.table import Table
from robust_rl.training import RunDirectory, read_json, write_json

Shifts = Annotated[
    list[str],
    typer.Option(
        "--shift",
        help="What changes, and to which values: action_noise, observation_noise (sampled), or an argument of the environment; "
        "repeat for more.",
        metavar="NAME=VALUE,VALUE,...",
    ),
]
Episodes = Annotated[int, typer.Option("--episodes", min=2, help="Episodes a cell, in worlds without a table.")]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory that `robust-rl solve` left behind.")],
    shift: Shifts,
    episodes: Episodes = 1000,
    seed: options.Seed = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Evaluate a robust policy, and all nominal optima, in shifted worlds: exactly where there is a table.

    The tables join the run's report and its evaluation.json.

    robust-rl evaluate runs/<name> --shift action_noise=0,0.05,0.1,0.2,0.3 --shift is_slippery=true
    """
    shifts = [envs.parse_shift(text) for text in shift]
    directory = RunDirectory(run)
    directory.read()  # refuses what is no run, before anything is made there
    agent = RobustVI.load(run / "result" / "policy")
    records = directory.result / "evaluation.json"
    earlier_tables(records)  # which are refused before the work, too
    env = agent.model if agent.env_id is None else envs.make(agent.env_id, **agent.env_kwargs)
    nominal = agent.nominal()
    tables = evaluate_shifts({"nominal": nominal, "robust": agent}, env, shifts, episodes=episodes, seed=seed)
    with directory.held():  # two evaluations at once must not lose each other's tables
        shown = earlier_tables(records) | tables
        write_json(records, {name: table.to_dict() for name, table in shown.items()})
        report = options.illustrated(write_agent_report, directory.result / "report.html", agent, nominal.solution, shown)
    if json:
        options.print_json({name: table.to_dict() for name, table in tables.items()} | {"report": report})
        return
    for table in tables.values():
        options.console.print(f"{table}\n({how_read(table)})", markup=False)
    options.console.print(f"report: {report}")


def earlier_tables(records: Path) -> dict[str, Table]:
    """Return the tables that earlier evaluations left, by their names. Raises FileFormatError if they are none."""
    with sound(records, "file of earlier tables"):
        return {name: Table.from_dict(content) for name, content in (read_json(records) if records.exists() else {}).items()}
