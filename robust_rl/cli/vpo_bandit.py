"""``robust-rl vpo-bandit``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from robust_rl.cli import options, running
from robust_rl.training import Trainer

Mode = Annotated[str, typer.Option("--mode", help="`offline`: pessimism on logged pairs. `online`: optimism in rounds of duels.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Strength of the value term, above 0, in the sum form of the loss.")]
Beta = Annotated[float, typer.Option("--beta", help="Weight of the KL term.")]
Arms = Annotated[int, typer.Option("--arms", help="Responses.")]
Contexts = Annotated[int, typer.Option("--contexts", help="Contexts (prompts).")]
Pairs = Annotated[int, typer.Option("--pairs", help="Logged pairs, offline.")]
Rounds = Annotated[int | None, typer.Option("--rounds", help="Steps. Default: offline 50 (bounded: 1), online 500.")]
Calibration = Annotated[str, typer.Option("--calibration", help="What the value term averages: reference, chosen or rejected.")]
Optimiser = Annotated[str, typer.Option("--optimiser", help="adamw, or bounded: L-BFGS-B over bounded logits.")]
Schedule = Annotated[str, typer.Option("--schedule", help="constant, or sqrt: alpha times the square root of the pairs so far.")]
Repeats = Annotated[int, typer.Option("--repeats", help="Bandits to average over, each played by VPO and by DPO.")]


def vpo_bandit(
    mode: Mode,
    alpha: Alpha = 10.0,
    beta: Beta = 0.1,
    arms: Arms = 10,
    contexts: Contexts = 1,
    pairs: Pairs = 20,
    rounds: Rounds = None,
    calibration: Calibration = "reference",
    optimiser: Optimiser = "adamw",
    schedule: Schedule = "constant",
    repeats: Repeats = 20,
    checkpoint_every: options.CheckpointEvery = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Learn bandits from comparisons by VPO, and by DPO on the same pairs; draw suboptimality and regret.

    robust-rl vpo-bandit --mode offline --pairs 20
    """
    from robust_rl.alignment import Comparison

    configuration = {
        "mode": mode, "alpha": alpha, "beta": beta, "arms": arms, "contexts": contexts, "pairs": pairs, "rounds": rounds,
        "calibration": calibration, "optimiser": optimiser, "schedule": schedule, "repeats": repeats, "seed": seed,
    }  # fmt: skip
    compared = Comparison(**configuration)  # type: ignore[arg-type]
    run = running.begin(out, "vpo-bandit", mode, configuration, seed)
    trainer = Trainer(run, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    trainer.fit(compared.learner)
    running.stop_if(trainer.interrupted, run)
    compared.save(run.result)
    page, text = run.result / "report.html", f"{mode}, {arms} responses: {compared}"
    running.conclude(run, json, compared.summary(), text, lambda: compared.write_report(page))
