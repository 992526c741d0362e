"""An unconditional diffusion model, seen as a predictor of noise at its own noise levels.

The model knows x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) eps. DPnP works on unscaled pictures m = x_0 + sg eps instead:

    sg_t = sqrt((1 - ab_t) / ab_t),        E(m, sg_t) = eps_t(sqrt(ab_t) m)

=======  ============  ========================================
symbol   here          meaning, shape
=======  ============  ========================================
ab_t     (argument)    cumulative product of the alphas, (T,)
sg_t     ``levels``    noise over signal, ascending, (T,)
E        ``__call__``  the noise in m, of the shape of m
=======  ============  ========================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.diffusion_common import check_prediction_type, epsilon_and_original, level_table, noise_ratio


class NoisePredictor:
    """E(m, sg) at the levels of a discrete model.

    Parameters
    ----------
    predict : callable
        (x_t, t) -> eps, for a batch x_t (N, ...) and the index t of a level. Its outputs are used as they are: a model that
        clips its picture is no longer the score of anything.
    alphas_cumprod : (T,) array_like
        Falling, in [0, 1).

    Attributes
    ----------
    levels : (T,) tensor of float64
        sg_t; infinite where the signal is gone.
    calls : int
        How often the model has been asked.

    Raises
    ------
    InvalidArgumentError
        ``alphas_cumprod`` doesn't fall, or leaves [0, 1).
    """

    def __init__(self, predict: Callable[[Tensor, int], Tensor], alphas_cumprod: Any) -> None:
        ab = level_table(alphas_cumprod)
        if ab[0] == 1:
            raise InvalidArgumentError("alphas_cumprod begins with 1, a level without noise; leave it out")
        self.predict, self.calls = predict, 0
        self.signal: list[float] = np.sqrt(ab).tolist()
        self.levels = torch.from_numpy(noise_ratio(ab))

    def __call__(self, m: Tensor, index: int) -> Tensor:
        """Return E(m, sg) at the level of that index."""
        self.calls += 1
        return self.predict(self.signal[index] * m, index)

    def nearest(self, eta: float) -> int:
        """Return the index of the level nearest to ``eta``, by their ratio.

        Raises
        ------
        InvalidArgumentError
            ``eta`` lies outside the model's levels.
        """
        low, high = float(self.levels[0]), float(self.levels[self.levels.isfinite()][-1])
        if not low * (1 - 1e-9) <= eta <= high * (1 + 1e-9):
            side = "the smallest" if eta < low else "the largest"
            raise InvalidArgumentError(
                f"eta {eta:g} is beyond {side} noise level of this model, whose levels reach from {low:.4g} to {high:.4g}; "
                "choose eta_min and eta_max between them"
            )
        return int((self.levels.log() - torch.tensor(eta, dtype=torch.float64).log()).abs().argmin())

    @classmethod
    def from_diffusers(cls, unet: Any, scheduler: Any) -> NoisePredictor:
        """Wrap a network and its scheduler from diffusers; of the scheduler only the levels and the prediction type count.

        Raises
        ------
        InvalidArgumentError
            The scheduler has no ``alphas_cumprod``, or another type of prediction.
        """
        if not hasattr(scheduler, "alphas_cumprod"):
            raise InvalidArgumentError(
                f"{type(scheduler).__name__} has no alphas_cumprod; use a variance-preserving one, such as DDPMScheduler"
            )
        kind = getattr(scheduler.config, "prediction_type", "epsilon")
        check_prediction_type(kind)  # epsilon does at zero terminal SNR, too: that level is beyond every eta
        ab = scheduler.alphas_cumprod.tolist()

        @torch.no_grad()
        def predict(x: Tensor, t: int) -> Tensor:
            out = unet(x.to(unet.dtype), t, return_dict=False)[0].to(x.dtype)
            return epsilon_and_original(out, x, ab[t], kind)[0]  # type: ignore[no-any-return]

        return cls(predict, ab)
