"""``robust-rl offline``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from robust_rl import datasets, features
from robust_rl.cli import options, running
from robust_rl.offline_agents import DROP, DROPV
from robust_rl.offline_reports import findings, write_offline_report
from robust_rl.training import write_json

Source = Annotated[
    str,
    typer.Argument(
        help="Logged data: an .npz file of OfflineDataset.save, or with arrays observations, actions, rewards, next_observations "
        "and, if episodes end, terminations or truncations; or the id of a Minari data set on this machine.",
        metavar="DATA.npz|MINARI-ID",
    ),
]
Features = Annotated[str, typer.Option("--features", help=f"Features on the simplex: {features.WORDS}.", metavar="FEATURES")]
Horizon = Annotated[int, typer.Option("--horizon", help="Number of decisions, at most that of the longest episode.")]
Weighted = Annotated[bool, typer.Option("--variance-weighted", help="DROP-V: weight transitions by what varies after them.")]
WorstState = Annotated[
    str | None,
    typer.Option(
        "--v-min",
        help="Value of the worst state there is, where a free-support adversary may send everybody: a number, `observed` (the "
        "worst logged) or `possible` (the least that rewards allow). Default: exact if the features know every state, as "
        "onehot:16 does, else `possible`.",
        metavar="NUMBER|observed|possible",
    ),
]
Penalty = Annotated[
    str,
    typer.Option(
        "--penalty", help="Pessimism: a number, or `theory` for a guarantee on very many data.", metavar="NUMBER|theory"
    ),
]
Ridge = Annotated[float, typer.Option("--ridge", help="Ridge of the regressions.")]
Delta = Annotated[float, typer.Option("--delta", help="Probability that the theory's guarantee may fail.")]
Subsample = Annotated[
    bool, typer.Option("--subsample", help="Make stages independent, as the theory supposes; costs most of the data. See --trim.")
]
Trim = Annotated[float, typer.Option("--trim", help="With --subsample: how much it throws away.")]
Bounds = Annotated[str, typer.Option("--reward-bounds", help="Least and greatest reward that can occur.", metavar="LOW,HIGH")]


def offline(
    source: Source,
    features_name: Features,
    horizon: Horizon,
    set_name: options.SetName,
    radius: options.Radius = None,
    support: options.SupportName = None,
    variance_weighted: Weighted = False,
    v_min: WorstState = None,
    penalty: Penalty = "1.0",
    ridge: Ridge = 1.0,
    delta: Delta = 0.05,
    subsample: Subsample = False,
    trim: Trim = 10.0,
    reward_bounds: Bounds = "0,1",
    checkpoint_every: options.CheckpointEvery = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Learn a robust policy from logged data alone (DROP, DROP-V), and say where the data leave it in doubt.

    robust-rl offline data.npz --features tiles:8 --set tv --support free --radius 0.2 --variance-weighted --horizon 20

    robust-rl offline lake.npz --features onehot:16:4 --set tv --support free --radius 0.1 --horizon 10 --penalty 0.3

    `--set none` is pessimistic value iteration on the nominal model, with `--penalty 0` plain least squares.
    """
    data, phi = datasets.read(source), features.parse(features_name)
    worst = None if v_min is None else options.number_or_word("--v-min", v_min, "observed", "possible")
    if worst is None and phi.every_state() is None:
        worst = "possible"
    constants: dict[str, Any] = {
        "penalty": options.number_or_word("--penalty", penalty, "theory"),
        "ridge": ridge, "delta": delta, "subsample": subsample, "trim": trim, "seed": seed,
    }  # fmt: skip
    agent = (DROPV if variance_weighted else DROP)(
        data, options.uncertainty(set_name, radius, support), features=phi, horizon=horizon, v_min=worst,
        reward_bounds=options.bounds("--reward-bounds", reward_bounds), **constants,
    )  # fmt: skip
    fitted = agent.solver.problem.features
    spread = features.effective_features(fitted, data, horizon)
    if not json:
        covered = f"effective features a stage: at least {spread.min():.1f} of {fitted.dimension}"
        options.console.print(f"{source}: {data.statistics()}\n{covered}", markup=False)
    configuration = {"data": source, "features": features_name, "uncertainty": agent.uncertainty, "horizon": horizon}
    configuration |= {"variance_weighted": variance_weighted, "v_min": worst, "reward_bounds": reward_bounds} | constants
    run = running.begin(out, "offline", source, configuration, seed)
    agent.learn(run=run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    running.stop_if(agent.interrupted, run)
    found = findings(agent, data)
    result = found.summary() | {"effective_features": spread.tolist()}
    result |= {"run": str(run.path), "policy": str(run.result / "policy.safetensors")}
    write_json(run.result / "offline.json", result)
    text, page = f"{found}\npolicy: {result['policy']}", run.result / "report.html"
    running.conclude(run, json, result, text, lambda: write_offline_report(page, source, found))
