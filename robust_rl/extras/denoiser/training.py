"""Training an epsilon-network (DDPM, Ho et al. 2020, arXiv:2006.11239, algorithm 1), an optimiser step at a time.

    repeat: x0 from the data, t uniform, eps ~ N(0, I)
            descend the gradient of || eps - eps_theta(sqrt(ab_t) x0 + sqrt(1 - ab_t) eps, t) ||^2          (eq. 14)
    the network that is kept averages those on the way: theta_bar <- d theta_bar + (1 - d) theta

======  =============  =====================================================
symbol  here           meaning, shape
======  =============  =====================================================
x0      pictures       the data, (n, channels, size, size), in [-1, 1]
ab      alpha_bar      alphas_cumprod of the noise schedule, (1000,)
theta   network        diffusers' UNet2DModel
d       decay          of the average; smaller in the first steps
======  =============  =====================================================
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.training import check_same_problem, load_arrays, load_torch_arrays, save_arrays, torch_arrays

STATE = "training.safetensors"
FORMAT = "robust-rl denoiser training"


class DenoiserTraining:
    """A Trainable whose step is one optimiser step of an epsilon-network.

    Parameters
    ----------
    pictures
        What to learn, (n, channels, size, size) in [-1, 1].
    network
        Arguments of ``diffusers.UNet2DModel`` beside sizes and channels, which the pictures say.
    steps
        Optimiser steps in all.
    batch_size
        Pictures a step.
    learning_rate
        AdamW's, reached after ``warm_up`` steps and falling to zero along a cosine.
    decay
        Of the average of the weights, in [0, 1).
    warm_up
        Steps in which the learning rate rises.
    seed
        Of the first weights and of everything drawn, the same on every device.
    device
        Where the network and the pictures lie.

    Attributes
    ----------
    network : UNet2DModel
        What is being trained.
    average : UNet2DModel
        The averaged network: the one to use.
    scheduler : DDPMScheduler
        The noise that it learns to predict.
    count : int
        Steps done.

    Raises
    ------
    InvalidArgumentError
        The pictures are out of range, or a number is.
    """

    def __init__(
        self,
        pictures: NDArray[np.float32],
        *,
        network: Mapping[str, Any],
        steps: int,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        decay: float = 0.999,
        warm_up: int = 100,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        _check(pictures, steps, batch_size, learning_rate, decay)
        self.device = torch.device(device)
        self.pictures = torch.from_numpy(np.ascontiguousarray(pictures, dtype=np.float32)).to(self.device)
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self.decay, self.warm_up, self.count = decay, warm_up, 0
        self.scheduler = DDPMScheduler(clip_sample=False)
        self.generator = torch.Generator().manual_seed(seed)
        self.network = _unet(pictures.shape, network, seed).to(self.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=learning_rate)

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.count >= self.steps

    def step(self) -> dict[str, float]:
        """Descend the gradient of one batch's loss, and move the average."""
        rows = torch.randint(len(self.pictures), (self.batch_size,), generator=self.generator).to(self.device)
        loss = self._loss(self.network, self.pictures[rows], self.generator)
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.count += 1
        self._average()
        return {"train/loss": loss.item(), "train/gradient_norm": norm.item(), "train/learning_rate": rate}

    @torch.no_grad()
    def held_out_loss(self, pictures: NDArray[np.float32], seed: int = 0) -> float:
        """Return the averaged network's loss on other pictures, with the same noise whenever it is asked."""
        generator = torch.Generator().manual_seed(seed)
        return float(self._loss(self.average, torch.from_numpy(pictures).to(self.device), generator))

    def pipeline(self) -> DDPMPipeline:
        """Return the averaged network as a diffusers pipeline; ``save_pretrained`` writes it as safetensors and JSON."""
        return DDPMPipeline(unet=self.average, scheduler=DDPMScheduler.from_config(self.scheduler.config))

    def save_checkpoint(self, directory: Path) -> None:
        """Write both networks, AdamW's moments and the generator."""
        arrays = torch_arrays(network=self.network, average=self.average, optimiser=self.optimiser)
        arrays["generator"] = self.generator.get_state()
        save_arrays(directory / STATE, arrays, {"count": self.count, "problem": self._problem()}, format=FORMAT)

    def load_checkpoint(self, directory: Path) -> None:
        """Take over what :meth:`save_checkpoint` wrote.

        Raises
        ------
        InvalidArgumentError
            The file is of another training.
        """
        arrays, metadata = load_arrays(directory / STATE, format=FORMAT)
        check_same_problem(metadata["problem"], self._problem())
        self.count = metadata["count"]
        self.generator.set_state(torch.from_numpy(arrays["generator"]))
        load_torch_arrays(arrays, network=self.network, average=self.average, optimiser=self.optimiser)

    def _loss(self, network: UNet2DModel, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        times = torch.randint(len(self.scheduler.alphas_cumprod), (len(pictures),), generator=generator).to(self.device)
        noise = torch.randn(pictures.shape, generator=generator).to(self.device)
        noisy = self.scheduler.add_noise(pictures, noise, times)
        return torch.nn.functional.mse_loss(network(noisy, times).sample, noise)  # eq. 14

    def _rate(self) -> float:
        rise = min(1.0, (self.count + 1) / max(self.warm_up, 1))
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * self.count / self.steps))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.decay, self.count / (10 + self.count))  # the first weights are noise: forget them soon
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def _problem(self) -> dict[str, Any]:
        return {
            "pictures": list(self.pictures.shape), "steps": self.steps, "batch_size": self.batch_size,
            "learning_rate": self.learning_rate, "decay": self.decay, "warm_up": self.warm_up,
            "parameters": self.network.num_parameters(),
        }  # fmt: skip


def _unet(shape: tuple[int, ...], network: Mapping[str, Any], seed: int) -> UNet2DModel:
    """Return a network whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(sample_size=shape[-1], in_channels=shape[1], out_channels=shape[1], **network)


def _check(pictures: NDArray[np.float32], steps: int, batch_size: int, learning_rate: float, decay: float) -> None:
    if pictures.ndim != 4 or len(pictures) == 0 or pictures.shape[2] != pictures.shape[3]:
        raise InvalidArgumentError(f"pictures have shape {pictures.shape}; it must be (n, channels, size, size), n at least 1")
    if not (np.isfinite(pictures).all() and np.abs(pictures).max() <= 1):
        raise InvalidArgumentError("pictures must lie in [-1, 1]; scale them")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise InvalidArgumentError(f"{name} is {value}; it must be at least 1")
    if not learning_rate > 0:
        raise InvalidArgumentError(f"learning_rate is {learning_rate}; it must be positive")
    if not 0 <= decay < 1:
        raise InvalidArgumentError(f"decay is {decay}; it must be in [0, 1)")
