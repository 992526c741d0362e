"""``robust-rl solve``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from robust_rl.agents import RobustVI
from robust_rl.cli import options, running
from robust_rl.reports import write_agent_report
from robust_rl.solvers.planning import METHODS

Environment = Annotated[
    str,
    typer.Argument(
        help="Gymnasium id (`robust-rl envs` lists those with a table), or a model's file: .npz or .model of TabularMDP.save, "
        "a table (.csv, .parquet), Storm's .drn, PRISM's .tra; --set interval takes the intervals of the last two."
    ),
]
Method = Annotated[str, typer.Option("--method", help=f"Algorithm: {', '.join(METHODS)}.")]
Tolerance = Annotated[float, typer.Option("--tol", help="Largest allowed width of the certificate, in the unit of the rewards.")]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", min=1, help="At most so many sweeps.")]


def solve(
    env: Environment,
    set_name: options.SetName,
    radius: options.Radius = None,
    support: options.SupportName = None,
    s_rectangular: options.SharedBudget = False,
    reward_radius: options.RewardRadius = None,
    discount: options.Discount = None,
    horizon: options.Horizon = None,
    env_arg: options.EnvArgs = None,
    method: Method = "auto",
    tol: Tolerance = 1e-6,
    max_steps: MaxSteps = None,
    checkpoint_every: options.CheckpointEvery = None,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compute an optimal robust policy, its certificate and its worst case, and leave them in a run directory.

    robust-rl solve CliffWalking-v1 --set tv --radius 0.1 --support reachable --discount 0.99

    robust-rl solve FrozenLake-v1 --env-arg map_name=8x8 --set tv --radius 0.1 --support nominal --discount 0.99
    """
    env_kwargs = options.environment_arguments(env_arg)
    world, intervals = options.environment(env, env_kwargs)
    agent = RobustVI(
        world, options.uncertainty(set_name, radius, support, intervals, s_rectangular, reward_radius),
        discount=discount, horizon=horizon, env_kwargs=env_kwargs if world is env else {}, method=method, tol=tol,
    )  # fmt: skip
    configuration = {"env": env, "env_kwargs": env_kwargs, "uncertainty": agent.uncertainty, "method": method, "tol": tol}
    run = running.begin(out, "solve", env, configuration | {"discount": discount, "horizon": horizon})
    agent.learn(max_steps, run=run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    running.stop_if(agent.interrupted, run)
    running.stop_if(agent.horizon is not None and not agent.planner.done, run, code=1)
    result = agent.summary() | {"policy": str(run.result / "policy.safetensors")}
    page = run.result / "report.html"
    running.conclude(
        run, json, result, _text(env, agent, result), lambda: write_agent_report(page, agent, agent.nominal().solution, {})
    )
    if not json:
        options.console.print(f"next: robust-rl evaluate {run.path} --shift action_noise=0,0.1,0.2,0.3", markup=False)


def _text(env: str, agent: RobustVI, result: dict[str, Any]) -> str:
    criterion = f"discount {agent.discount:g}" if agent.horizon is None else f"horizon {agent.horizon}"
    return (
        f"{env}, {agent.uncertainty!r}, {criterion}: {result['method']}, {result['steps']} steps\n"
        f"optimal robust value from the start: {result['value']:.10g}, "
        f"certified within [{result['lower']:.10g}, {result['upper']:.10g}]\n"
        f"widest gap over states: {result['gap']:.3g}\npolicy: {result['policy']}"
    )
