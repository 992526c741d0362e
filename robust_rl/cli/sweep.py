"""``robust-rl sweep``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from robust_rl.cli import options, running
from robust_rl.errors import InvalidArgumentError
from robust_rl.planning_trial import PlanningTrial
from robust_rl.sweeps import Grid, run_sweep, sweep_table, write_sweep, write_sweep_report

Environment = Annotated[str, typer.Argument(help="Gymnasium id; `robust-rl envs` lists those with a table.")]
Radii = Annotated[str, typer.Option("--radius", help="Radii, in the set's own norm.", metavar="RADIUS,RADIUS,...")]
Samples = Annotated[
    str | None,
    typer.Option(
        "--samples", help="Next states drawn from each (s, a). Default: the true model, no draws.", metavar="NUMBER,NUMBER,..."
    ),
]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Draws of every size: seeds --seed, --seed + 1, ...")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]
Backend = Annotated[str, typer.Option("--backend", help="process: a pool on this machine. tune: Ray Tune.")]


def sweep(
    env: Environment,
    set_name: options.SetName,
    radius: Radii,
    samples: Samples = None,
    support: options.SupportName = None,
    discount: options.Discount = None,
    horizon: options.Horizon = None,
    env_arg: options.EnvArgs = None,
    repeats: Repeats = 5,
    workers: Workers = 1,
    backend: Backend = "process",
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Plan on models estimated from samples, over radii and sample sizes, and hold the policies against the truth.

    robust-rl sweep FrozenLake-v1 --set tv --support reachable --discount 0.99 --radius 0.01,0.1 --samples 100,1000 --workers 2
    """
    fixed = {
        "env": env, "env_kwargs": options.environment_arguments(env_arg), "set": set_name, "support": support,
        "discount": discount, "horizon": horizon,
    }  # fmt: skip
    sizes: list[Any] = (
        [None] if samples is None else [int(number) if number % 1 == 0 else number for number in _numbers("--samples", samples)]
    )
    seeds = range(seed, seed + (1 if samples is None else repeats))
    grid = Grid(fixed, {"samples": sizes, "radius": _numbers("--radius", radius), "seed": list(seeds)})
    runner = _runner(backend)
    for configuration in grid.configurations()[:: len(seeds)]:  # whatever is wrong shows here, before a run is made
        PlanningTrial(configuration)
    run = running.begin(out, "sweep", env, fixed | grid.axes, seed)
    results = runner(PlanningTrial, grid, run=run, workers=workers, progress=sys.stderr.isatty())
    running.stop_if(results is None, run)
    assert results is not None
    table = sweep_table(grid, results, title="worst-case value around the true model")
    file = write_sweep(run, grid, results, table)
    text = f"{env}, {set_name}: {table}\nresults: {file}"
    found = table.to_dict() | {"results": str(file)}
    running.conclude(run, json, found, text, lambda: write_sweep_report(run, grid, results, env))


def _runner(backend: str) -> Callable[..., list[dict[str, float]] | None]:
    """Return what runs a sweep. Raises MissingDependencyError where Ray is asked for and isn't installed."""
    if backend == "tune":
        from robust_rl.rllib import tune_sweep

        return tune_sweep
    if backend != "process":
        raise InvalidArgumentError(f"--backend {backend!r}; give process or tune")
    return run_sweep


def _numbers(flag: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"{flag} {text!r} is not a list of numbers, such as 0.01,0.1") from None
