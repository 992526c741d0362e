"""``robust-rl calibrate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from robust_rl import envs
from robust_rl.calibration import calibrate as calibrated
from robust_rl.cli import options, running
from robust_rl.training import save_arrays, write_json

Simulator = Annotated[str, typer.Option("--simulator", help="Gymnasium id or model file, as for `solve`.")]
Log = Annotated[
    Path,
    typer.Option(
        "--log",
        help="The real system's transitions: .npz with states, actions, next_states (or observations, actions, "
        "next_observations), or with counts (S, A, S).",
    ),
]
Confidence = Annotated[float, typer.Option("--confidence", help="Probability with which the real system is to be covered.")]
Support = Annotated[
    str,
    typer.Option(
        "--support", help="Where the real system may go: `free` assumes nothing; `nominal` and `reachable` as for `solve`."
    ),
]
VisitedOnly = Annotated[
    bool,
    typer.Option(
        "--visited-only", help="Assume of pairs that the log never visits that they are no farther off than the others."
    ),
]
Generative = Annotated[
    bool, typer.Option("--generative", help="Numbers of visits were fixed before logging, not the result of trajectories.")
]


def calibrate(
    simulator: Simulator,
    log: Log,
    confidence: Confidence = 0.95,
    support: Support = "free",
    visited_only: VisitedOnly = False,
    generative: Generative = False,
    env_arg: options.EnvArgs = None,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Tell how large the radius must be, so that the real system, which a log comes from, is covered.

    robust-rl calibrate --simulator FrozenLake-v1 --log real.npz --confidence 0.95
    """
    arguments = options.environment_arguments(env_arg)
    world, _ = options.environment(simulator, arguments)
    model = envs.tabular(envs.make(world, **arguments)) if isinstance(world, str) else world
    found = calibrated(
        model, log, confidence=confidence, support=support, visited_only=visited_only,  # type: ignore[arg-type]
        sampling="generative" if generative else "trajectories",
    )  # fmt: skip
    radius = math.ceil(found.radius.max() * 1e6) / 1e6  # type: ignore[union-attr]
    configuration = {
        "simulator": simulator,
        "env_kwargs": arguments,
        "log": str(log),
        "confidence": confidence,
        "support": support,
    }
    configuration |= {"visited_only": visited_only, "generative": generative}
    run = running.begin(out, "calibrate", simulator, configuration)
    given = "".join(f" --env-arg {argument}" for argument in env_arg or [])
    use = f"robust-rl solve {simulator}{given} --set tv --radius {radius:g} --support {support} --discount 0.99"
    result = {
        "radius": radius,
        "guarantee": found.guarantee,
        "drivers": found.drivers.to_dict(),
        "use": use,
        "run": str(run.path),
    }
    write_json(run.result / "calibration.json", result)
    arrays = {"radius": found.radius, "visits": found.visits, "distance": found.distance}
    save_arrays(run.result / "calibration.safetensors", arrays)
    run.finish()
    if json:
        options.print_json(result)
        return
    unseen = int((found.visits.ravel() == 0)[model.active_rows].sum())
    options.console.print(
        f"{simulator}, {log}: {found.visits.sum()} transitions, {unseen} of {model.active_rows.sum()} pairs never visited\n"
        f"radius: {radius:g} in total variation, for all pairs\nguarantee: {found.guarantee}\n{found.drivers}\n"
        f"each pair's radius: {run.result / 'calibration.safetensors'}\nnext: {use}",
        markup=False,
    )
    if unseen and not visited_only:
        options.note(f"{unseen} pairs were never visited and may do anything: radius 1; log them, or assume: --visited-only")
