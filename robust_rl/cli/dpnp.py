"""``robust-rl dpnp``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robust_rl.cli import options, running
from robust_rl.training import Trainer
from robust_rl.training.optional import require

Model = Annotated[Path, typer.Option("--model", help="Folder of a diffusers pipeline, as `robust-rl diffusion-train` leaves it.")]
Operator = Annotated[
    str, typer.Option("--operator", help="What measures: phase-retrieval, super-resolution, quantized, inpainting or blur.")
]
Image = Annotated[Path, typer.Option("--image", help="The picture that is measured, of the model's size; or see --fit.")]
Fit = Annotated[bool, typer.Option("--fit", help="Cut the picture to the model's proportions and scale it to its size.")]
Noise = Annotated[float, typer.Option("--noise", help="Standard deviation of the measurement's noise; black is -1, white 1.")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Independent samples.")]
Preset = Annotated[str, typer.Option("--preset", help="`exact`, or `paper-code`: what the authors' program does.")]
Iterations = Annotated[int | None, typer.Option("--iterations", help="Iterations in which eta falls. Default: 30.")]
EtaMax = Annotated[float | None, typer.Option("--eta-max", help="First coupling. Default: 1, for phase retrieval 2.")]
EtaMin = Annotated[float | None, typer.Option("--eta-min", help="Last coupling. Default: a third of the noise.")]
Denoiser = Annotated[str | None, typer.Option("--dds", help="Denoising sampler: ddim (default) or ddpm.")]
Calls = Annotated[int | None, typer.Option("--dds-steps", help="Network calls an iteration. Default: 20.")]
Langevin = Annotated[
    int | None, typer.Option("--pcs-steps", help="Langevin steps an iteration, nonlinear operators. Default: 50.")
]


def dpnp(
    model: Model,
    operator: Operator,
    image: Image,
    fit: Fit = False,
    noise: Noise = 0.1,
    samples: Samples = 16,
    preset: Preset = "exact",
    iterations: Iterations = None,
    eta_max: EtaMax = None,
    eta_min: EtaMin = None,
    dds: Denoiser = None,
    dds_steps: Calls = None,
    pcs_steps: Langevin = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a picture and sample what it may have been, with a diffusion model as the prior (DPnP).

    robust-rl dpnp --model models/digits --operator inpainting --image digit.png
    """
    require("torch", "robust-rl[diffusion]")
    from robust_rl.extras.dpnp.restoration import Restoration

    settings = {
        "noise": noise, "samples": samples, "seed": seed, "fit": fit, "preset": preset, "k": iterations, "eta_max": eta_max,
        "eta_min": eta_min, "dds": dds, "dds_steps": dds_steps, "pcs_steps": pcs_steps,
    }  # fmt: skip
    restored = Restoration(model, image, operator, device=device, **settings)  # type: ignore[arg-type]
    configuration = {"model": str(model), "operator": operator, "image": str(image)} | settings
    run = running.begin(out, "dpnp", f"{operator}-{image.stem}", configuration, seed)
    trainer = Trainer(run, checkpoint_every=1, progress=sys.stderr.isatty())
    trainer.fit(restored.sampler)
    running.stop_if(trainer.interrupted, run)
    restored.save(run.result)
    page, text = run.result / "report.html", f"{restored}\nrun: {run.path}"
    running.conclude(run, json, restored.summary(), text, lambda: restored.write_report(page))
