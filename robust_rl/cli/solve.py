"""``robust-rl solve``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from robust_rl.agents import RobustVI
from robust_rl.cli import options
from robust_rl.solvers import solve as solve_model
from robust_rl.training import RunDirectory


def solve(
    env: Annotated[
        str,
        typer.Argument(
            help="Gymnasium id (`robust-rl envs` lists those with a table), or a model file written by TabularMDP.save (.npz)."
        ),
    ],
    set_name: options.SetName,
    radius: options.Radius = None,
    support: options.SupportName = None,
    discount: options.Discount = None,
    horizon: options.Horizon = None,
    env_arg: options.EnvArgs = None,
    tol: Annotated[
        float, typer.Option("--tol", help="Largest allowed width of the certificate, in the unit of the rewards.")
    ] = 1e-6,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="At most so many sweeps.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option("--checkpoint-every", help="Sweeps between checkpoints.")] = None,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compute an optimal robust policy, its certificate and its worst case, and leave them in a run directory.

    robust-rl solve CliffWalking-v1 --set tv --radius 0.1 --support reachable --discount 0.99

    robust-rl solve FrozenLake-v1 --env-arg map_name=8x8 --set tv --radius 0.1 --support nominal --discount 0.99
    """
    env_kwargs = options.environment_arguments(env_arg)
    agent = RobustVI(
        options.environment(env, env_kwargs), options.uncertainty(set_name, radius, support),
        discount=discount, horizon=horizon, env_kwargs=env_kwargs, tol=tol,
    )  # fmt: skip
    run = RunDirectory(out) if out else RunDirectory.create(name=options.run_name("solve", env))
    configuration = {
        "env": env,
        "env_kwargs": env_kwargs,
        "uncertainty": repr(agent.uncertainty),
        "discount": discount,
        "horizon": horizon,
        "tol": tol,
    }
    run.start(configuration, command="robust-rl solve")
    agent.learn(max_steps, run=run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    if agent.interrupted:
        raise typer.Exit(130)
    nominal = solve_model(agent.model, None, discount=discount, horizon=horizon, tol=tol)
    report = options.report(run, agent, nominal, {})
    result = agent.summary() | {"run": str(run.path), "policy": str(run.result / "policy.safetensors"), "report": report}
    if json:
        options.print_json(result)
        return
    options.console.print(
        f"{env}, {agent.uncertainty!r}, {options.problem(discount, horizon)}: {result['method']}, {result['steps']} steps"
    )
    options.console.print(
        f"optimal robust value from the start: {result['value']:.10g}, "
        f"certified within [{result['lower']:.10g}, {result['upper']:.10g}]"
    )
    options.console.print(f"widest gap over states: {result['gap']:.3g}\npolicy: {result['policy']}\nreport: {report}")
    options.console.print(f"next: robust-rl evaluate {run.path} --shift action_noise=0,0.05,0.1,0.2,0.3")
