"""The accelerated deterministic sampler as a diffusers scheduler (arXiv:2403.03852; formulas in ``ode.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin  # noqa: F401  a saved pipeline's loading looks for it here

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.ode import VARIANTS, ab2_weight
from robust_rl.extras.accelerated_diffusion.scheduler_base import AcceleratedScheduler, blend


class AcceleratedDDIMScheduler(AcceleratedScheduler):
    """DDIM with a memory of one step: second order for the same number of network calls.

    A DDIM step plus a multiple of the difference between the noise predicted a step before and now. The first step of a
    run, which has none before it, is DDIM's.

        pipe.scheduler = AcceleratedDDIMScheduler.from_config(pipe.scheduler.config)

    Parameters
    ----------
    num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr
        The noise that the network was trained on, as for ``diffusers.DDPMScheduler``.
    clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value
        Whether and how predicted clean samples are cut off. Off by default, unlike in DDIMScheduler, because it undoes the
        acceleration. ``from_config`` takes over what a saved pipeline says; ``from_config(config, clip_sample=False)``
        overrides it.
    set_alpha_to_one
        Whether the last step ends at no noise at all, or at that of training index 0.
    steps_offset
        Added to the indices by "leading".
    prediction_type
        ``"epsilon"``, ``"sample"`` or ``"v_prediction"``.
    timestep_spacing
        ``"leading"``, ``"trailing"``, ``"linspace"``, ``"logsnr"`` or ``"quad"``; see
        :func:`~robust_rl.extras.accelerated_diffusion.select_timesteps`.
    variant
        ``"ab2_alpha"``, the authors' formula, or ``"ab2_sigma"``. The form that is analysed takes two calls a step: see
        :func:`~robust_rl.extras.accelerated_diffusion.sample_ode`.

    Raises
    ------
    InvalidArgumentError
        A word is unknown.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        clip_sample: bool = False,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
        variant: str = "ab2_alpha",
    ) -> None:
        if variant not in VARIANTS:
            raise InvalidArgumentError(f"variant is {variant!r}; it must be one of {', '.join(VARIANTS)}")
        self._build()
        self._epsilon_before: torch.Tensor | None = None

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
        generator: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Return the sample at the next selected timestep.

        Parameters
        ----------
        model_output
            What the network said of ``sample``; a learned variance in further channels is left out.
        timestep
            One of ``timesteps``. Where the one before it was not the step before, the step is DDIM's.
        sample
            The state now.
        eta, use_clipped_model_output, generator
            For pipelines that pass them; nothing is drawn here, and clipped samples are always used consistently.
        return_dict
            Whether to return an object with ``prev_sample`` and ``pred_original_sample``, or a tuple of both.

        Raises
        ------
        InvalidArgumentError
            The timestep was not selected, or eta isn't 0.
        """
        if eta:
            raise InvalidArgumentError(f"eta is {eta}; this sampler adds no noise (AcceleratedDDPMScheduler does)")
        position = self.index_for_timestep(timestep)
        ab, ab_to = self._level(position), self._level(position + 1)
        epsilon, original = self._prediction(model_output, sample, ab)
        previous = blend(original, epsilon, ab_to)  # DDIM
        if self._follows(position) and self._epsilon_before is not None:
            weight = ab2_weight(self.config.variant, self._level(position - 1), ab, ab_to)
            previous = previous + weight * (self._epsilon_before - epsilon)
        self._epsilon_before = None if self._last is None else epsilon
        return self._output(previous, original, return_dict)
