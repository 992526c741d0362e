"""A training from data to a model folder, with what a person wants to see of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.extras.denoiser.data import PictureSet
from robust_rl.extras.denoiser.recipes import Recipe, denoiser_training
from robust_rl.extras.denoiser.samples import SampleSheets
from robust_rl.extras.denoiser.training import DenoiserTraining
from robust_rl.extras.devices import usable_device
from robust_rl.training import Evaluation, Figure, RunDirectory, Section, Trainer, write_report
from robust_rl.training.optional import require


@dataclass(frozen=True)
class TrainedDenoiser:
    """What :func:`train` leaves: the training, its run, and whether a signal ended it early."""

    training: DenoiserTraining
    pictures: PictureSet
    run: RunDirectory
    interrupted: bool

    @cached_property
    def held_out_loss(self) -> float:
        """The averaged network's loss on the pictures that were kept out."""
        return self.training.held_out_loss(self.pictures.held_out)

    def summary(self) -> dict[str, Any]:
        """Return steps, parameters and the held-out loss of the averaged network."""
        return {
            "steps": self.training.count,
            "parameters": self.training.average.num_parameters(),
            "held_out_loss": self.held_out_loss,
        }

    def __str__(self) -> str:
        steps, parameters = self.training.count, self.training.average.num_parameters()
        return f"{steps} steps, {parameters} parameters, held-out loss {self.held_out_loss:.4f}"

    def write_report(self, path: Path) -> Path:
        """Write a page with the losses and the sheets of samples."""
        sheets = sorted((self.run.result / "samples").glob("step_*.png"))
        shown = [Figure(sheet.read_bytes(), f"after {int(sheet.stem[5:])} steps") for sheet in sheets]
        sections = [
            Section("Loss", "Mean square error of the predicted noise, whose variance is 1.", [Figure(self._curves())]),
            Section("Samples", "From the same noise each time, 20 steps of DPMSolverMultistep.", shown[::-1]),
        ]
        return write_report(path, "Denoiser", sections, subtitle=str(self))

    def _curves(self) -> Any:
        plt = require("matplotlib.figure", "robust-rl[report]")
        lines = self.run.metrics()
        figure = plt.Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.add_subplot()
        steps, losses = _series(lines, "train/loss")
        width = max(1, len(losses) // 100)
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, label=f"training, mean of {width} steps")
        axes.plot(*_series(lines, "eval/loss"), "o-", label="held out, averaged network")
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
        return figure


def train(
    chosen: Recipe,
    run: RunDirectory,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    every: int = 500,
    seed: int = 0,
    name: str = "pictures",
    device: str = "cpu",
    progress: bool = False,
) -> TrainedDenoiser:
    """Train a recipe's network in a run directory, which becomes a diffusers pipeline folder too; goes on with what is there.

    Parameters
    ----------
    chosen
        From :func:`~robust_rl.extras.denoiser.recipe`.
    run
        Where it is logged, saved, and left as a pipeline (``model_index.json``, ``unet/``, ``scheduler/``).
    steps, batch_size
        Instead of the recipe's.
    every
        Steps between checkpoints, held-out losses and sheets of samples (``result/samples/``).
    seed
        Of weights, batches and noise.
    name
        What ``run.json`` calls the pictures.
    device
        Where to train, such as ``"cuda"``. A run can go on on another one.
    progress
        Whether to show a bar on stderr.

    Raises
    ------
    InvalidArgumentError
        A number is out of range, or torch has no such device.
    FileFormatError
        The run is of another training.
    """
    where = usable_device(device)
    pictures = chosen.pictures()
    training = denoiser_training(chosen, pictures, steps=steps, batch_size=batch_size, seed=seed, device=where)
    configuration = {"pictures": name, "steps": training.steps, "batch_size": training.batch_size, "network": chosen.network}
    run.start(configuration, seed=seed, command="robust-rl diffusion-train")
    looks = [
        Evaluation(lambda fitted: {"loss": fitted.held_out_loss(pictures.held_out)}, every),
        SampleSheets(run.result / "samples", every),
    ]
    trainer = Trainer(run, callbacks=looks, checkpoint_every=every, progress=progress)
    trainer.fit(training)
    if not trainer.interrupted:
        training.pipeline().save_pretrained(run.path)
    return TrainedDenoiser(training, pictures, run, trainer.interrupted)


def _series(lines: Sequence[dict[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = [(line["step"], line[key]) for line in lines if key in line]
    return np.array([step for step, _ in pairs]), np.array([value for _, value in pairs])
