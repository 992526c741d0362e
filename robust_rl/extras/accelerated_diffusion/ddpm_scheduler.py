"""The accelerated stochastic sampler as a diffusers scheduler (arXiv:2403.03852; formulas in ``sde.py``).

The score is asked for at Y^+, the state with half of the next step's noise on it. So that a pipeline need not know, ``step``
returns its state already noised for the next call,

    Y_{i-1}^+ = (Y_i^+ + h_i s_i(Y_i^+)) / sqrt(alpha_i) + sqrt(h_i / (2 alpha_i) + h_{i-1} / 2) Z               (1)

with one draw for two independent noises. Only the first state is not noised so. Most loops scale their first noise by
``init_noise_sigma``, but not all (DDPMPipeline doesn't), and those that begin with a noised picture can't. Therefore the
first step of a run is DDPM's, with the variance of the posterior:

    Y_{n-1}^+ = (Y_n + h_n s_n(Y_n)) / sqrt(alpha_n) + sqrt(h_n (1 - ab_{n-1}) / (1 - ab_n) + h_{n-1} / 2) Z     (2)

Its error in the variance is h^2 ab_n times something bounded: nothing, where sampling starts from noise. With
``noised_start=True`` the first step is eq. 1 as well, and ``init_noise_sigma`` is sqrt(1 + h_n / 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin  # noqa: F401  a saved pipeline's loading looks for it here
from diffusers.utils.torch_utils import randn_tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.scheduler_base import AcceleratedScheduler
from robust_rl.extras.diffusion_common import score_of_epsilon


class AcceleratedDDPMScheduler(AcceleratedScheduler):
    """DDPM with half of each noise before the network is asked: one order faster in the variance.

        pipe.scheduler = AcceleratedDDPMScheduler.from_config(pipe.scheduler.config)

    It needs more steps than the deterministic sampler: with ten of a thousand, h is near 1 and expansions in it say little.

    Parameters
    ----------
    num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr
        The noise that the network was trained on, as for ``diffusers.DDPMScheduler``.
    clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value
        Whether and how predicted clean samples are cut off; off by default, and taken over by ``from_config``.
    set_alpha_to_one
        Whether the last step ends at no noise at all, or at that of training index 0.
    steps_offset
        Added to the indices by "leading".
    prediction_type
        ``"epsilon"``, ``"sample"`` or ``"v_prediction"``.
    timestep_spacing
        ``"leading"``, ``"trailing"``, ``"linspace"``, ``"logsnr"`` or ``"quad"``; see
        :func:`~robust_rl.extras.accelerated_diffusion.select_timesteps`.
    noised_start
        Whether the first state comes with its half of the noise, scaled by ``init_noise_sigma``, as the paper has it.
    noise_at_end
        Whether the last step adds its last noise; pictures are better without.

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
        noised_start: bool = False,
        noise_at_end: bool = False,
    ) -> None:
        self._build()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose which training indices to visit, and so ``init_noise_sigma`` if the start is noised; raises as the base does."""
        super().set_timesteps(num_inference_steps, device, timesteps)
        if self.config.noised_start:
            if self._level(0) <= 0:
                raise InvalidArgumentError("noised_start needs a first timestep that is not pure noise; leave it out")
            self.init_noise_sigma = math.sqrt(1 + self._h(0) / 2)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
    ) -> Any:
        """Return the state to show the network at the next selected timestep, noised for it.

        Parameters
        ----------
        model_output
            What the network said of ``sample``; a learned variance in further channels is left out.
        timestep
            One of ``timesteps``. Where the one before it was not the step before, a run begins (eq. 2).
        sample
            The state now.
        generator
            Of the noise; a list has one for each sample of the batch.
        return_dict
            Whether to return an object with ``prev_sample`` and ``pred_original_sample``, or a tuple of both.
        eta, use_clipped_model_output
            For pipelines that pass them to every scheduler; without effect.

        Raises
        ------
        InvalidArgumentError
            The timestep was not selected.
        """
        position = self.index_for_timestep(timestep)
        ab, h = self._level(position), self._h(position)
        epsilon, original = self._prediction(model_output, sample, ab)
        if ab > 0:
            mean = (sample + h * score_of_epsilon(epsilon, ab)) / math.sqrt(1 - h)
        else:
            mean = math.sqrt(self._level(position + 1)) * original  # from pure noise: h is 1
        noised = self._follows(position) or self.config.noised_start
        variance = self._noise_variance(position, noised)
        if variance > 0:
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            mean = mean + math.sqrt(variance) * noise
        return self._output(mean, original, return_dict)

    def _h(self, position: int) -> float:
        """Return h_i = 1 - ab_i / ab_{i-1}; 0 after the last step, where no noise is needed."""
        if position >= len(self._selected):
            return 0.0
        return 1 - self._level(position) / self._level(position + 1)

    def _noise_variance(self, position: int, noised: bool) -> float:
        """Return the variance of what eq. 1 or 2 adds; only with ``noise_at_end`` does the last step have any."""
        last = position + 1 == len(self._selected)
        if last and not self.config.noise_at_end:
            return 0.0
        ab, ab_to, h = self._level(position), self._level(position + 1), self._h(position)
        late = h * ab_to / (2 * ab) if noised else h * (1 - ab_to) / (1 - ab)
        return late + self._h(position + 1) / 2
