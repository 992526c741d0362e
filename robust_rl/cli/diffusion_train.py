"""``robust-rl diffusion-train``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from robust_rl.cli import options, running

Pictures = Annotated[str, typer.Argument(help="`digits`: scikit-learn's, 8x8. `patches`: of scikit-image's photographs, 32x32.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Optimiser steps. Default: 2500 for digits, 3000 for patches.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Pictures a step. Default: 64 for digits, 16 for patches.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Steps between checkpoints, held-out losses and sheets of samples.")]


def diffusion_train(
    pictures: Pictures,
    steps: Steps = None,
    batch_size: BatchSize = None,
    every: Every = 500,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a small diffusion model on pictures that lie inside installed packages; minutes on a CPU.

    robust-rl diffusion-train digits --out models/digits

    The folder is a run and a diffusers pipeline in one: `DDPMPipeline.from_pretrained("models/digits")`.
    """
    from robust_rl.extras.denoiser import recipe

    chosen = recipe(pictures)
    from robust_rl.extras.denoiser.run import train  # loads torch, which a misspelt name need not wait for

    run = running.directory(out, "diffusion-train", pictures)
    trained = train(
        chosen, run, steps=steps, batch_size=batch_size, every=every, seed=seed, name=pictures, device=device,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    running.stop_if(trained.interrupted, run)
    text, found = f"{pictures}: {trained}\nmodel: {run.path}", trained.summary() | {"model": str(run.path)}
    running.conclude(run, json, found, text, lambda: trained.write_report(run.result / "report.html"))
