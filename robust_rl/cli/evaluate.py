"""``robust-rl evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robust_rl import envs
from robust_rl.agents import RobustVI
from robust_rl.cli import options
from robust_rl.evaluation import evaluate_shifts
from robust_rl.solvers import solve
from robust_rl.training import RunDirectory, write_json


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory that `robust-rl solve` left behind.")],
    shift: Annotated[
        list[str],
        typer.Option(
            "--shift",
            help="What changes, and to which values: action_noise, or an argument of the environment; repeat for more.",
            metavar="NAME=VALUE,VALUE,...",
        ),
    ],
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Evaluate a robust policy, and all nominal optima, exactly in shifted worlds; the tables join the run's report.

    robust-rl evaluate runs/<name> --shift action_noise=0,0.05,0.1,0.2,0.3 --shift is_slippery=true
    """
    shifts = [envs.parse_shift(text) for text in shift]
    RunDirectory(run).read()  # refuses what is no run, before anything is made there
    agent = RobustVI.load(run / "result" / "policy")
    nominal = solve(agent.model, None, discount=agent.discount, horizon=agent.horizon)
    env = agent.model if agent.env_id is None else envs.make(agent.env_id, **agent.env_kwargs)
    tables = evaluate_shifts({"nominal": nominal, "robust": agent.solution}, env, shifts)
    result = RunDirectory(run).result
    write_json(result / "evaluation.json", {name: table.to_dict() for name, table in tables.items()})
    report = options.report(RunDirectory(run), agent, nominal, tables)
    if json:
        options.print_json({name: table.to_dict() for name, table in tables.items()} | {"report": report})
        return
    for table in tables.values():
        options.console.print(str(table), markup=False)
    options.console.print(f"a range covers all tie-breaks of an optimal policy; report: {report}")
