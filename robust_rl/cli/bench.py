"""``robust-rl bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from robust_rl import TotalVariation, envs, speed
from robust_rl.cli import options
from robust_rl.envs.domains import garnet
from robust_rl.uncertainty import KL, ChiSquare, LInfinity

Model = Annotated[
    str | None,
    typer.Argument(help="Gymnasium id or model file, as for `solve`. Default: a random sparse model of 20000 states."),
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds in which every set has its turn.")]
SETS = {
    "nominal": None,
    "tv 0.05 nominal": TotalVariation(0.05, support="nominal"),
    "tv 0.2 free": TotalVariation(0.2, support="free"),
    "linf 0.01 nominal": LInfinity(0.01, support="nominal"),
    "chi2 0.1": ChiSquare(0.1),
    "kl 0.1": KL(0.1),
}


def bench(
    env: Model = None,
    env_arg: options.EnvArgs = None,
    rounds: Rounds = 15,
    seed: options.Seed = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure what a robust backup costs here, as a ratio to the plain product P V of the same model.

    robust-rl bench

    robust-rl bench FrozenLake-v1 --json
    """
    arguments = options.environment_arguments(env_arg)
    named, _ = options.environment(env, arguments) if env else (garnet(20_000, 4, 10, seed=seed), None)
    model = envs.tabular(envs.make(named, **arguments)) if isinstance(named, str) else named
    table = speed.backup_ratios(model, SETS, rounds=rounds, seed=seed, title=f"{env or 'garnet'}: {model}")
    if json:
        options.print_json(table.to_dict())
    else:
        options.console.print(str(table), markup=False)
