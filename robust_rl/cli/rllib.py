"""``robust-rl rllib train``."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer

from robust_rl import envs
from robust_rl.cli import options, running
from robust_rl.errors import MissingDependencyError
from robust_rl.training import write_json

app = typer.Typer(no_args_is_help=True, help="Deep robust learners on Ray's RLlib, in environments too large for a table.")

Environment = Annotated[str, typer.Argument(help="A Gymnasium id, as CartPole-v1, or one of `robust-rl envs`.", metavar="ENV")]
Algorithm = Annotated[str, typer.Option("--algo", help="dqn (sets contamination, tv, kl) or ppo (contamination).")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Environment steps to train for, rounded up to whole iterations.")]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        help="What changes once the policy is trained, and to which values: action_noise, observation_noise, a constructor's "
        "argument, or a number of the physics; repeat for more.",
        metavar="NAME=VALUE,VALUE,...",
    ),
]
Episodes = Annotated[int, typer.Option("--episodes", min=2, help="Episodes for each value of each shift.")]
Floor = Annotated[
    float | None,
    typer.Option(
        "--value-floor",
        help="Value of the worst state there is, where a free-support adversary may send everybody. Default: the least reward "
        "over 1 - discount, at most 0, where the least reward is known.",
    ),
]
Gamma = Annotated[float, typer.Option("--discount", help="Discount in [0, 1).")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that sample and evaluate; 0: this one does.")]
CheckpointEvery = Annotated[int, typer.Option("--checkpoint-every", min=1, help="RLlib iterations between checkpoints.")]


@app.callback()
def group() -> None:
    """Deep robust learners on Ray's RLlib."""


@app.command("train")
def train(
    env: Environment,
    set_name: options.SetName = "none",
    algorithm: Algorithm = "dqn",
    radius: options.Radius = None,
    support: options.SupportName = None,
    steps: Steps = 20_000,
    shift: Shifts = None,
    episodes: Episodes = 100,
    value_floor: Floor = None,
    discount: Gamma = 0.99,
    env_arg: options.EnvArgs = None,
    workers: Workers = 0,
    checkpoint_every: CheckpointEvery = 5,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a robust deep policy, and evaluate it in shifted worlds.

    robust-rl rllib train CartPole-v1 --algo dqn --set tv --radius 0.1 --support free --shift length=0.25,0.5,1.0,1.5

    The policy is left in result/policy.safetensors, which predicts without Ray. The checkpoints are Ray's and hold pickles.
    """
    uncertainty = options.uncertainty(set_name, radius, support)
    configuration: dict[str, Any] = {
        "algorithm": algorithm, "steps": steps, "shifts": dict(envs.parse_shift(text) for text in shift or []),
        "episodes": episodes, "value_floor": value_floor, "discount": discount, "seed": seed,
        "env_kwargs": options.environment_arguments(env_arg),
    }  # fmt: skip
    try:
        from robust_rl.rllib import DeepTraining
        from robust_rl.rllib.report import write_training_report
    except MissingDependencyError as error:
        options.note(f"error: {error}")
        raise typer.Exit(2) from error
    for logger in () if debug else ("ray", "ray.rllib"):
        logging.getLogger(logger).setLevel(logging.ERROR)  # advice on settings that aren't the user's
    training = DeepTraining(env, uncertainty=uncertainty, workers=workers, **configuration)
    run = running.begin(out, "rllib train", env, {"env": env, "uncertainty": uncertainty} | configuration, seed)
    trained = training.run(run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    running.stop_if(trained.interrupted, run)
    result = trained.summary() | {"run": str(run.path), "policy": str(run.result / "policy.safetensors")}
    write_json(run.result / "training.json", result)
    text = f"{trained}\npolicy: {result['policy']}"
    running.conclude(run, json, result, text, lambda: write_training_report(run, env, uncertainty, trained))
