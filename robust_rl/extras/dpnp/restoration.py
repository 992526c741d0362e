"""One picture measured, and its posterior: what ``robust-rl dpnp`` does, from files to a page with pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, loadable
from robust_rl.extras.devices import usable_device
from robust_rl.extras.dpnp.measurements import ETA_MAX, operator
from robust_rl.extras.dpnp.model_folder import load_pipeline
from robust_rl.extras.dpnp.pipeline import picture_shape
from robust_rl.extras.dpnp.posterior import Posterior
from robust_rl.training import save_arrays, write_json
from robust_rl.training.optional import require


class Restoration:
    """Measures a picture by a named operator, and samples what it may have been.

    Parameters
    ----------
    model : Path
        Folder of a diffusers pipeline.
    image : Path
        The picture; made grey or coloured as the model's are.
    name : str
        Operator: phase-retrieval, super-resolution, quantized, inpainting or blur.
    noise : float
        Standard deviation of the measurement's noise, above 0, for pictures in [-1, 1].
    samples : int
    seed : int
        Of the mask, the noise and the chains.
    fit : bool
        Cut the picture to the model's proportions and scale it, instead of refusing another size.
    device : str
        Where to sample, such as ``"cuda"``. Chance comes from the processor, so that a seed means the same everywhere.
    preset, **settings
        As in :func:`~robust_rl.extras.dpnp.settings.posterior_sampler`; settings that are None are left out.

    Attributes
    ----------
    sampler : DPnP
        A Trainable.

    Raises
    ------
    InvalidArgumentError
        The folder, the picture or a number is not what it must be.
    UnknownNameError
        There is no such operator.
    FileFormatError
        The model can't be read.
    """

    def __init__(
        self,
        model: Path,
        image: Path,
        name: str,
        *,
        noise: float = 0.1,
        samples: int = 16,
        seed: int = 0,
        fit: bool = False,
        preset: str = "exact",
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        if not noise > 0:
            raise InvalidArgumentError(
                f"noise is {noise:g}; without noise there is no density to sample from, so give it above 0"
            )
        self.name = name
        where = usable_device(device)
        pipeline = load_pipeline(model).to(where)
        shape = picture_shape(pipeline.unet)
        chance = torch.Generator().manual_seed(seed)
        self.physics = operator(name, shape, noise, chance)
        self.truth = read_picture(image, shape, fit)
        self.y: Tensor = self.physics(self.truth[None], chance)
        chosen = {key: value for key, value in settings.items() if value is not None}
        if preset == "exact" and name in ETA_MAX:
            chosen = {"eta_max": ETA_MAX[name]} | chosen
        self.sampler = pipeline.sampler(self.y, self.physics, generator=chance, num_samples=samples, preset=preset, **chosen)

    @property
    def posterior(self) -> Posterior:
        """Where the chains are, on the processor."""
        return Posterior(self.sampler.x.cpu(), self.sampler.history)

    def summary(self) -> dict[str, Any]:
        """Return PSNR of the posterior mean and, on average, of a sample, in dB for white - black = 2; and how it was made."""
        found = self.posterior
        return {
            "operator": self.name,
            "samples": len(found.samples),
            "psnr_mean": psnr(found.mean, self.truth),
            "psnr_sample": float(np.mean([psnr(sample, self.truth) for sample in found.samples])),
            "mean_std": float(found.std.mean()) if len(found.samples) > 1 else None,
            **self.sampler.history[-1],
        }

    def save(self, directory: Path) -> None:
        """Write pictures as PNG, samples as arrays, and the summary."""
        found = self.posterior
        arrays = {"samples": found.samples, "mean": found.mean, "measurement": self.y, "truth": self.truth}
        save_arrays(directory / "posterior.safetensors", {key: value.cpu() for key, value in arrays.items()})
        write_json(directory / "summary.json", self.summary())
        for name, picture in self.pictures().items():
            write_picture(directory / f"{name}.png", picture)

    def pictures(self) -> dict[str, Tensor]:
        """Return what there is to see, (C, H, W) each in [-1, 1]: input, mean, std (white is its largest value), samples."""
        found = self.posterior
        shown = {"input": self.truth, "mean": found.mean}
        if len(found.samples) > 1:
            shown["std"] = 2 * found.std / found.std.max().clamp_min(1e-12) - 1
        return shown | {"samples": sheet(found.samples[:16])}

    def write_report(self, path: Path) -> Path:
        """Write a page with the pictures and the course of the run."""
        from robust_rl.extras.dpnp.page import write_page

        return write_page(self, path)

    def __str__(self) -> str:
        found = self.summary()
        return f"{self.name}: PSNR {found['psnr_mean']:.2f} dB of the posterior mean, {found['psnr_sample']:.2f} dB of a sample"


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return 10 * math.log10(4 / max(float((picture - truth).square().mean()), 1e-12))


def sheet(samples: Tensor) -> Tensor:
    """Return samples (n, C, H, W) side by side in rows, black between them: (C, ...)."""
    side = math.ceil(math.sqrt(len(samples)))
    empty = -torch.ones(side * math.ceil(len(samples) / side) - len(samples), *samples.shape[1:])
    padded = torch.nn.functional.pad(torch.cat([samples.cpu(), empty.to(samples.dtype)]), (0, 1, 0, 1), value=-1.0)
    rows = [torch.cat(list(row), dim=-1) for row in padded.split(side)]
    return torch.cat(rows, dim=-2)[..., :-1, :-1]


def read_picture(path: Path, shape: tuple[int, int, int], fit: bool) -> Tensor:
    """Return a picture file as (C, H, W) in [-1, 1].

    Raises
    ------
    InvalidArgumentError
        There is none, it is no picture, or of another size.
    """
    pillow, ops = require("PIL.Image", "pillow"), require("PIL.ImageOps", "pillow")
    channels, height, width = shape
    if channels not in (1, 3):
        raise InvalidArgumentError(f"the model makes pictures of {channels} channels; a picture file can have 1 or 3")
    if not path.is_file():
        raise InvalidArgumentError(f"there is no picture {path}")
    with loadable(path, "a picture"), pillow.open(path) as file:
        picture = file.convert("L" if channels == 1 else "RGB")
    if fit:
        picture = ops.fit(picture, (width, height))
    if picture.size != (width, height):
        found = f"{picture.size[0]} x {picture.size[1]}"
        raise InvalidArgumentError(
            f"{path} is {found} pixels, the model's pictures are {width} x {height}; --fit cuts and scales it"
        )
    values = torch.from_numpy(np.asarray(picture, dtype=np.float32).copy() / 127.5 - 1)
    return values.reshape(height, width, channels).permute(2, 0, 1).contiguous()


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (C, H, W) in [-1, 1] as PNG, small ones enlarged."""
    pillow = require("PIL.Image", "pillow")
    values = ((picture.float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()
    times = max(1, 192 // max(values.shape[:2]))
    pillow.fromarray(values.repeat(times, 0).repeat(times, 1)).save(path)
