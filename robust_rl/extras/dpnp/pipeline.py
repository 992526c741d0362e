"""DPnP as a diffusers pipeline, around any unconditional pixel-space network and its scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor
from robust_rl.extras.dpnp.pixels import pixel_range
from robust_rl.extras.dpnp.posterior import Posterior
from robust_rl.extras.dpnp.sampler import DPnP
from robust_rl.extras.dpnp.settings import posterior_sampler
from robust_rl.training.optional import require

DiffusionPipeline: Any = require("diffusers", "robust-rl[diffusion]").DiffusionPipeline

Move = Callable[[Tensor], Tensor]
StepEnd = Callable[[Any, int, int, dict[str, Any]], dict[str, Any] | None]


class DPnPPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Samples the posterior of a picture given a measurement of it.

    Parameters
    ----------
    unet
        A network as ``UNet2DModel`` is, whose pictures lie in [-1, 1].
    scheduler
        That it was trained with, variance preserving; of it only the noise levels and the prediction type count.

    Examples
    --------
    ::

        physics = deepinv.physics.Inpainting((1, 32, 32), mask=0.5, noise_model=deepinv.physics.GaussianNoise(0.1))
        pipe = DPnPPipeline.from_pretrained("models/patches")
        posterior = pipe(y, physics, num_samples=19)
        posterior.mean, posterior.std, posterior.interval(0.9), posterior.samples, posterior.diagnostics
    """

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    def sampler(self, y: Tensor, physics: Any, *, generator: Chance | None = None, **options: Any) -> DPnP:
        """Return the chains without a step made: a Trainable, for runs that are logged and resumed.

        Parameters are those of a call; the chains live on the model's scale.
        """
        y = y.to(self.device)
        if not y.is_complex():
            y = y.to(torch.promote_types(self.unet.dtype, torch.float32))
        chosen = torch.Generator().manual_seed(int(torch.randint(2**31, ()))) if generator is None else generator
        model = NoisePredictor.from_diffusers(self.unet, self.scheduler)
        return posterior_sampler(model, y, physics, shape=picture_shape(self.unet), generator=chosen, **options)

    @torch.no_grad()
    def __call__(
        self,
        y: Tensor,
        physics: Any,
        log_likelihood: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        num_samples: int = 16,
        preset: str = "exact",
        generator: Chance | None = None,
        sigma: float | None = None,
        pixels: tuple[float, float] | None = None,
        start: Tensor | None = None,
        moves: Sequence[Move] = (),
        callback_on_step_end: StepEnd | None = None,
        return_dict: bool = True,
        **settings: Any,
    ) -> Posterior | tuple[Tensor]:
        """Draw independent samples.

        Parameters
        ----------
        y : (1, ...) tensor
            One measurement, with a batch axis.
        physics, log_likelihood, num_samples, preset, sigma, pixels, start, moves, **settings
            As in :func:`~robust_rl.extras.dpnp.settings.posterior_sampler`.
        generator : torch.Generator or list of them, optional
            One, or one for each sample. Default: seeded from torch's global one.
        callback_on_step_end : callable, optional
            ``(pipeline, iteration, level, {"samples": ...})`` after each iteration; samples that it returns, on the model's
            scale, replace those of the chains.
        return_dict : bool
            False returns ``(samples,)``.

        Returns
        -------
        Posterior
            On the operator's scale.

        Raises
        ------
        InvalidArgumentError
            Operator, measurement and model don't fit, or a setting is out of range.
        """
        if len(y) != 1:
            raise InvalidArgumentError(f"y has {len(y)} measurements; give one a call, or a batch to DPnPReconstructor")
        chains = self.sampler(
            y, physics, log_likelihood=log_likelihood, num_samples=num_samples, preset=preset, generator=generator, sigma=sigma,
            pixels=pixels, start=start, moves=moves, **settings,
        )  # fmt: skip
        with self.progress_bar(total=len(chains.etas)) as bar:
            while not chains.done:
                level = chains.levels[chains.iteration]
                chains.step()
                if callback_on_step_end is not None:
                    told = callback_on_step_end(self, chains.iteration - 1, level, {"samples": chains.x})
                    chains.x = (told or {}).get("samples", chains.x)
                bar.update()
        found = Posterior(pixel_range(physics, pixels).from_model(chains.x), chains.history)
        return found if return_dict else (found.samples,)


def picture_shape(unet: Any) -> tuple[int, int, int]:
    """Return (C, H, W) of the pictures a network was made for.

    Raises
    ------
    InvalidArgumentError
        The network doesn't say.
    """
    size = getattr(unet.config, "sample_size", None)
    if size is None:
        raise InvalidArgumentError("the network's configuration has no sample_size, so the size of its pictures is unknown")
    height, width = (size, size) if isinstance(size, int) else size
    return int(unet.config.in_channels), int(height), int(width)
