"""What the two accelerated schedulers share: levels, timesteps, and what a network's output says.

Of n selected training indices tau_n > ... > tau_1 the paper's levels are ab_i = alphas_cumprod[tau_i] and ab_0 = 1 (or
alphas_cumprod[0], with ``set_alpha_to_one=False``): its T is the number of network calls n. The level after a step is
looked up in the selection itself. (DDIMScheduler subtracts N // n instead, which misses it where n doesn't divide N.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from diffusers.configuration_utils import ConfigMixin
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from diffusers.utils import BaseOutput

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.levels import SPACINGS, select_timesteps
from robust_rl.extras.diffusion_common import check_prediction_type, epsilon_and_original, epsilon_of_original, level_table


@dataclass
class AcceleratedOutput(BaseOutput):
    """What ``step`` returns.

    Attributes
    ----------
    prev_sample
        The state to show the network next.
    pred_original_sample
        The clean sample that the network's output points to.
    """

    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor


class AcceleratedScheduler(SchedulerMixin, ConfigMixin):
    """The common part; use :class:`AcceleratedDDIMScheduler` or :class:`AcceleratedDDPMScheduler`.

    Subclasses register their arguments with diffusers' ``register_to_config`` and then call :meth:`_build`.
    """

    _compatibles = [kind.name for kind in KarrasDiffusionSchedulers]
    order = 1

    add_noise = DDPMScheduler.add_noise
    get_velocity = DDPMScheduler.get_velocity
    _threshold_sample = DDPMScheduler._threshold_sample

    def _build(self) -> None:
        c = self.config
        if c.timestep_spacing not in SPACINGS:
            raise InvalidArgumentError(f"timestep_spacing is {c.timestep_spacing!r}; it must be one of {', '.join(SPACINGS)}")
        check_prediction_type(c.prediction_type)
        schedule = DDPMScheduler(
            num_train_timesteps=c.num_train_timesteps,
            beta_start=c.beta_start,
            beta_end=c.beta_end,
            beta_schedule=c.beta_schedule,
            trained_betas=c.trained_betas,
            rescale_betas_zero_snr=c.rescale_betas_zero_snr,
        )
        self.betas, self.alphas, self.alphas_cumprod = schedule.betas, schedule.alphas, schedule.alphas_cumprod
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(len(self.alphas_cumprod) - 1, -1, -1)
        self._table = level_table(self.alphas_cumprod)
        self._selected: list[int] = []
        self._last: int | None = None  # position of the step before, None at the start of a run

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose which training indices to visit, and start a new run.

        Parameters
        ----------
        num_inference_steps
            Network calls. "logsnr" and "quad" may give fewer: ``len(scheduler.timesteps)`` is the truth.
        device
            Where ``timesteps`` shall lie.
        timesteps
            The indices themselves, decreasing, instead of a number.

        Raises
        ------
        InvalidArgumentError
            Neither or both are given, an index is unknown, or the first is pure noise for a network that predicts epsilon.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise InvalidArgumentError("give set_timesteps either num_inference_steps or timesteps")
        if timesteps is None:
            spacing, offset = self.config.timestep_spacing, self.config.steps_offset
            chosen = select_timesteps(spacing, int(num_inference_steps or 0), self._table, offset).tolist()
        else:
            chosen = _checked(timesteps, len(self._table))
        check_prediction_type(self.config.prediction_type, float(self._table[chosen[0]]))
        self._selected, self._last = chosen, None
        self.num_inference_steps = len(chosen)
        self.timesteps = torch.tensor(chosen, dtype=torch.int64, device=device)

    def scale_model_input(self, sample: torch.Tensor, timestep: int | torch.Tensor | None = None) -> torch.Tensor:
        """Return the sample as it is: a variance-preserving network takes it so."""
        return sample

    def index_for_timestep(self, timestep: int | torch.Tensor) -> int:
        """Return the position of a selected timestep, 0 for the noisiest.

        Raises
        ------
        InvalidArgumentError
            It was not selected, or nothing was.
        """
        if not self._selected:
            raise InvalidArgumentError("no timesteps are selected; call set_timesteps first")
        if int(timestep) not in self._selected:
            raise InvalidArgumentError(f"timestep {int(timestep)} is not among the selected {self._selected}; see set_timesteps")
        return self._selected.index(int(timestep))

    def _level(self, position: int) -> float:
        """Return ab at a position of the selection; after the last one, where sampling ends."""
        if position < len(self._selected):
            return float(self._table[self._selected[position]])
        return 1.0 if self.config.set_alpha_to_one else float(self._table[0])

    def _prediction(self, output: torch.Tensor, sample: torch.Tensor, ab: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return eps and x0, consistent with each other also where x0 is clipped."""
        epsilon, original = epsilon_and_original(output, sample, ab, self.config.prediction_type)
        if not (self.config.thresholding or self.config.clip_sample):
            return epsilon, original
        limit = self.config.clip_sample_range
        original = self._threshold_sample(original) if self.config.thresholding else original.clamp(-limit, limit)
        return epsilon_of_original(original, sample, ab), original

    def _follows(self, position: int) -> bool:
        """Whether this run has just made the step before, and note that this one is made."""
        follows = self._last is not None and self._last == position - 1
        self._last = position if position + 1 < len(self._selected) else None
        return follows

    @staticmethod
    def _output(previous: torch.Tensor, original: torch.Tensor, return_dict: bool) -> Any:
        return AcceleratedOutput(prev_sample=previous, pred_original_sample=original) if return_dict else (previous, original)


def blend(original: torch.Tensor, epsilon: torch.Tensor, ab: float) -> torch.Tensor:
    """Return sqrt(ab) x0 + sqrt(1 - ab) eps."""
    return math.sqrt(ab) * original + math.sqrt(1 - ab) * epsilon


def _checked(timesteps: Sequence[int], count: int) -> list[int]:
    chosen = [int(index) for index in np.asarray(timesteps).ravel()]
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise InvalidArgumentError(f"timesteps are {chosen}; the network knows 0 to {count - 1}")
    if any(later >= earlier for earlier, later in pairwise(chosen)):
        raise InvalidArgumentError(f"timesteps are {chosen}; they must decrease")
    return chosen
