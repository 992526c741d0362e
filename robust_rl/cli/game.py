"""``robust-rl game``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from robust_rl import envs
from robust_rl.cli import options, running
from robust_rl.game_agent import DRNVI
from robust_rl.game_reports import judged, write_game_report

Name = Annotated[
    str,
    typer.Argument(help="Game, e.g. soccer, fishery, nim; or the dotted path of a PettingZoo module whose game has a table."),
]
Radii = Annotated[
    str | None,
    typer.Option(
        "--radius",
        help="Size of the sets, in their own norm: a number for all agents, or one each.",
        metavar="RADIUS|AGENT=RADIUS,...",
    ),
]
Equilibrium = Annotated[str, typer.Option("--equilibrium", help="ne, ce or cce.")]
Selection = Annotated[
    str, typer.Option("--selection", help="Which equilibrium: utilitarian, maximin, max_entropy, or any (fastest).")
]
Samples = Annotated[
    int | None, typer.Option("--samples", min=1, help="Draws from each (h, s, a). Default: plan on the known kernel.")
]


def game(
    name: Name,
    set_name: options.SetName,
    radius: Radii = None,
    support: options.SupportName = None,
    horizon: options.Horizon = None,
    equilibrium: Equilibrium = "cce",
    selection: Selection = "utilitarian",
    samples: Samples = None,
    checkpoint_every: options.CheckpointEvery = None,
    seed: options.Seed = 0,
    env_arg: options.EnvArgs = None,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compute a robust equilibrium of a game (DR-NVI), its exact gap on the known kernel, and what a deviator would gain.

    robust-rl game fishery --equilibrium ce --set chi2 --radius 0.01

    robust-rl game soccer --horizon 20 --equilibrium ce --set tv --support free --radius player_0=0.1,player_1=0.05 --samples 2000
    """
    env_kwargs = options.environment_arguments(env_arg)
    known = envs.tabular_game(envs.games.make(name, **env_kwargs), horizon=horizon)
    sets = options.uncertainty_by_agent(set_name, radius, support, known.agents)
    rule = None if selection == "any" else selection
    agent = DRNVI(known, sets, equilibrium=equilibrium, selection=rule, samples=samples, seed=seed)
    configuration: dict[str, Any] = {
        "game": name,
        "env_kwargs": env_kwargs,
        "uncertainty": {who: repr(one) for who, one in sets.items()},
    }
    configuration |= {"equilibrium": equilibrium, "selection": selection, "horizon": agent.horizon, "samples": samples}
    run = running.begin(out, "game", name, configuration | {"seed": seed}, seed)
    agent.learn(run=run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    running.stop_if(agent.interrupted, run)
    verdict = judged(agent, known)
    result = agent.summary() | verdict.summary() | {"policy": str(run.result / "policy.safetensors")}
    text = f"{name}, {agent.horizon} decisions: {verdict}\npolicy: {result['policy']}"
    running.conclude(run, json, result, text, lambda: write_game_report(run.result / "report.html", name, verdict))
