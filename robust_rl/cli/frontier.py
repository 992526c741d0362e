"""``robust-rl frontier``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from robust_rl import frontiers
from robust_rl.cli import options, running
from robust_rl.cli.solve import Environment, Tolerance
from robust_rl.errors import InvalidArgumentError
from robust_rl.reports import how_read, write_frontier_report

Radii = Annotated[str, typer.Option("--radius", help="Radii, in the set's own norm (cvar: levels).", metavar="RADIUS,RADIUS,...")]


def frontier(
    env: Environment,
    set_name: options.SetName,
    radius: Radii,
    support: options.SupportName = None,
    discount: options.Discount = None,
    horizon: options.Horizon = None,
    env_arg: options.EnvArgs = None,
    tol: Tolerance = 1e-6,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compute the price of robustness: nominal and robust values over a range of radii, with a picture of both.

    robust-rl frontier CliffWalking-v1 --set tv --support reachable --discount 0.99 --radius 0,0.02,0.05,0.1,0.2
    """
    radii, env_kwargs = _numbers(radius), options.environment_arguments(env_arg)
    ball = options.uncertainty(set_name, radii[0], support)
    world, _ = options.environment(env, env_kwargs)
    model = frontiers.open_world(world, env_kwargs if world is env else {})
    # whatever is wrong shows here, before a run is made
    steps = frontiers.FrontierPlanner(model, ball, radii, discount=discount, horizon=horizon, tol=tol)  # type: ignore[arg-type]
    configuration = {"env": env, "env_kwargs": env_kwargs, "uncertainty": repr(ball), "radii": radii, "tol": tol}
    run = running.begin(out, "frontier", env, configuration | {"discount": discount, "horizon": horizon})
    table = frontiers.run_frontier(steps, run, progress=sys.stderr.isatty())
    running.stop_if(not steps.done, run)
    page, text = run.result / "report.html", f"{env}: {table}\n({how_read(table)})"
    running.conclude(run, json, table.to_dict(), text, lambda: write_frontier_report(page, table, steps.uncertainty, env))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"--radius {text!r} is not a list of numbers, such as 0,0.05,0.1") from None
