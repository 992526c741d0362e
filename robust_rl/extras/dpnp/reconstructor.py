"""DPnP as a deepinv ``Reconstructor``, so that it stands beside DPS, DiffPIR and DDRM in deepinv's benchmarks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robust_rl.extras.dpnp.noise_predictor import NoisePredictor
from robust_rl.extras.dpnp.pipeline import picture_shape
from robust_rl.extras.dpnp.pixels import pixel_range
from robust_rl.extras.dpnp.settings import posterior_sampler
from robust_rl.training.optional import require

Reconstructor: Any = require("deepinv.models", "deepinv").Reconstructor


class DPnPReconstructor(Reconstructor):  # type: ignore[misc]
    """``model(y, physics)`` is the posterior mean of each measurement of a batch.

    Parameters
    ----------
    unet, scheduler
        From diffusers.
    num_samples : int
        Chains averaged for each measurement.
    seed : int
    **options
        Of :func:`~robust_rl.extras.dpnp.settings.posterior_sampler`.
    """

    def __init__(self, unet: Any, scheduler: Any, *, num_samples: int = 16, seed: int = 0, **options: Any) -> None:
        super().__init__()
        self.unet, self.scheduler, self.num_samples, self.seed, self.options = unet, scheduler, num_samples, seed, options

    @torch.no_grad()
    def samples(self, y: Tensor, physics: Any) -> Tensor:
        """Draw (B, num_samples, C, H, W) from the posteriors of y (B, ...), on the operator's scale."""
        chains = posterior_sampler(
            NoisePredictor.from_diffusers(self.unet, self.scheduler),
            y,
            physics,
            shape=picture_shape(self.unet),
            generator=torch.Generator().manual_seed(self.seed),
            num_samples=self.num_samples,
            **self.options,
        )
        while not chains.done:
            chains.step()
        pictures = pixel_range(physics, self.options.get("pixels")).from_model(chains.x)
        return pictures.reshape(len(y), self.num_samples, *pictures.shape[1:])

    def forward(self, y: Tensor, physics: Any, **kwargs: Any) -> Tensor:
        """Return the posterior means, (B, C, H, W)."""
        return self.samples(y, physics).mean(1)
