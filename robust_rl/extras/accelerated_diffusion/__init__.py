"""Fewer network calls for the same pictures: accelerated samplers of Li et al., ICML 2024 (arXiv:2403.03852).

Training-free: a trained network stays as it is, only where its score is asked for changes.

    pipe.scheduler = AcceleratedDDIMScheduler.from_config(pipe.scheduler.config)     # deterministic
    pipe.scheduler = AcceleratedDDPMScheduler.from_config(pipe.scheduler.config)     # stochastic

``sample_ode`` and ``sample_sde`` do the same for any function ``score(x, t)``, with the baselines beside them.
Names are looked up when first used, so that importing this package loads neither torch nor diffusers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.accelerated_diffusion.ddim_scheduler import AcceleratedDDIMScheduler
    from robust_rl.extras.accelerated_diffusion.ddpm_scheduler import AcceleratedDDPMScheduler
    from robust_rl.extras.accelerated_diffusion.laws import sde_law, total_variation, wasserstein
    from robust_rl.extras.accelerated_diffusion.levels import log_snr_levels, select_timesteps, theory_levels
    from robust_rl.extras.accelerated_diffusion.mixtures import GaussianMixture
    from robust_rl.extras.accelerated_diffusion.ode import sample_ode
    from robust_rl.extras.accelerated_diffusion.score_error import disturbed
    from robust_rl.extras.accelerated_diffusion.sde import sample_sde

_HOMES = {
    "AcceleratedDDIMScheduler": "ddim_scheduler",
    "AcceleratedDDPMScheduler": "ddpm_scheduler",
    "GaussianMixture": "mixtures",
    "disturbed": "score_error",
    "log_snr_levels": "levels",
    "sample_ode": "ode",
    "sample_sde": "sde",
    "sde_law": "laws",
    "select_timesteps": "levels",
    "theory_levels": "levels",
    "total_variation": "laws",
    "wasserstein": "laws",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "AcceleratedDDIMScheduler",
    "AcceleratedDDPMScheduler",
    "GaussianMixture",
    "disturbed",
    "log_snr_levels",
    "sample_ode",
    "sample_sde",
    "sde_law",
    "select_timesteps",
    "theory_levels",
    "total_variation",
    "wasserstein",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
