"""DPnP: posterior sampling for inverse problems with an unconditional diffusion model as the prior (arXiv:2403.17042).

Names are looked up when first used, so that importing this package loads neither torch nor diffusers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.dpnp.dds import DDSDDIM, DDSDDPM
    from robust_rl.extras.dpnp.mala import LangevinPCS
    from robust_rl.extras.dpnp.mixtures import GaussianMixture, linear_levels
    from robust_rl.extras.dpnp.moves import flip_channel, flip_sign
    from robust_rl.extras.dpnp.noise_predictor import NoisePredictor
    from robust_rl.extras.dpnp.nonlinear import CodedPhaseRetrieval, QuantizedSensing, coded_masks
    from robust_rl.extras.dpnp.operators import Blur, Inpainting, SuperResolution, gaussian_kernel
    from robust_rl.extras.dpnp.pcs import GaussianPCS
    from robust_rl.extras.dpnp.pipeline import DPnPPipeline
    from robust_rl.extras.dpnp.posterior import Posterior
    from robust_rl.extras.dpnp.reconstructor import DPnPReconstructor
    from robust_rl.extras.dpnp.sampler import DPnP
    from robust_rl.extras.dpnp.schedule import geometric_schedule
    from robust_rl.extras.dpnp.settings import posterior_sampler

_HOMES = {
    "Blur": "operators",
    "CodedPhaseRetrieval": "nonlinear",
    "DDSDDIM": "dds",
    "DDSDDPM": "dds",
    "DPnP": "sampler",
    "DPnPPipeline": "pipeline",
    "DPnPReconstructor": "reconstructor",
    "GaussianMixture": "mixtures",
    "GaussianPCS": "pcs",
    "Inpainting": "operators",
    "LangevinPCS": "mala",
    "NoisePredictor": "noise_predictor",
    "Posterior": "posterior",
    "QuantizedSensing": "nonlinear",
    "SuperResolution": "operators",
    "coded_masks": "nonlinear",
    "flip_channel": "moves",
    "flip_sign": "moves",
    "gaussian_kernel": "operators",
    "geometric_schedule": "schedule",
    "linear_levels": "mixtures",
    "posterior_sampler": "settings",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "DDSDDIM",
    "DDSDDPM",
    "Blur",
    "CodedPhaseRetrieval",
    "DPnP",
    "DPnPPipeline",
    "DPnPReconstructor",
    "GaussianMixture",
    "GaussianPCS",
    "Inpainting",
    "LangevinPCS",
    "NoisePredictor",
    "Posterior",
    "QuantizedSensing",
    "SuperResolution",
    "coded_masks",
    "flip_channel",
    "flip_sign",
    "gaussian_kernel",
    "geometric_schedule",
    "linear_levels",
    "posterior_sampler",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
