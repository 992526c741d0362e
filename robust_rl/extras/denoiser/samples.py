"""Looking at what a network in training draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from numpy.typing import NDArray

from robust_rl.training import Callback, Trainer

if TYPE_CHECKING:
    from robust_rl.extras.denoiser.training import DenoiserTraining


class SampleSheets(Callback):
    """Draws a sheet of samples now and then, from the same noise each time: ``<directory>/step_000500.png``.

    Parameters
    ----------
    directory
        Where the sheets go; made if need be.
    every
        Steps between sheets.
    count
        Samples on a sheet.
    inference_steps
        Network calls a sheet, with diffusers' DPMSolverMultistepScheduler.
    """

    def __init__(self, directory: Path, every: int, count: int = 32, inference_steps: int = 20) -> None:
        self.directory, self.every, self.count, self.inference_steps = directory, every, count, inference_steps

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Draw when it is time, and after the last step."""
        training = trainer.trainable
        if trainer.step % self.every == 0 or training.done:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"step_{trainer.step:06d}.png"
            contact_sheet(draw(training, self.count, self.inference_steps)).save(path)


def draw(training: DenoiserTraining, count: int, inference_steps: int = 20, seed: int = 0) -> NDArray[np.float32]:
    """Return samples of the averaged network, (count, channels, size, size); the training is left as it was."""
    pipeline = training.pipeline()
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    pictures = pipeline(count, generator, num_inference_steps=inference_steps, output_type="np").images
    return np.asarray(np.moveaxis(pictures, -1, 1) * 2 - 1, dtype=np.float32)


def contact_sheet(pictures: NDArray[np.floating], columns: int = 8, scale: int | None = None) -> Any:
    """Return pictures side by side as one Pillow image.

    Parameters
    ----------
    pictures
        (n, 1 or 3, height, width) in [-1, 1]; what lies outside is cut off.
    columns
        Pictures a row.
    scale
        Pixels an edge for each pixel; None takes what makes a picture about 64 pixels high.
    """
    from PIL import Image

    count, channels, height, width = pictures.shape
    scale = max(1, 64 // height) if scale is None else scale
    rows = -(-count // columns)
    sheet = np.full((rows * columns, channels, height + 1, width + 1), 255, dtype=np.uint8)
    sheet[:count, :, :height, :width] = np.clip((pictures + 1) * 127.5, 0, 255).round()
    sheet = sheet.reshape(rows, columns, channels, height + 1, width + 1).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    sheet = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
