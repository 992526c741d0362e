"""Which noise levels a sampler visits.

A sampler of T steps is given its levels as a vector ``alpha_bars`` of length T + 1, ab_0 > ab_1 > ... > ab_T: it begins at
ab_T and ends at ab_0 (1 for clean samples). The paper's step sizes are h_t = 1 - ab_t / ab_{t-1}.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.diffusion_common import Array, alpha_bar_of, level_table, noise_ratio

SPACINGS = ("leading", "trailing", "linspace", "logsnr", "quad")


def check_levels(alpha_bars: Sequence[float] | Array) -> Array:
    """Return the levels of a sampler as float64.

    Raises
    ------
    InvalidArgumentError
        There are fewer than two, they don't decrease within [0, 1], or the noisiest is pure noise.
    """
    levels = level_table(alpha_bars)
    if len(levels) < 2:
        raise InvalidArgumentError("alpha_bars needs two levels at least, where a sampler ends and where it begins")
    if levels[-1] <= 0:
        raise InvalidArgumentError("alpha_bars ends at 0, pure noise, where the score says nothing; end it above 0")
    return levels


def log_snr_levels(steps: int, clean: float = 1 - 1e-3, noisy: float = math.exp(-10)) -> Array:
    """Return levels uniform in the logarithm of signal to noise, (steps + 1,), from ``clean`` to ``noisy``.

    >>> log_snr_levels(2, clean=0.8, noisy=0.2).round(3)
    array([0.8, 0.5, 0.2])
    """
    if steps < 1:
        raise InvalidArgumentError(f"steps is {steps}; it must be at least 1")
    if not 0 < noisy < clean < 1:
        raise InvalidArgumentError(f"clean is {clean} and noisy {noisy}; it must be 0 < noisy < clean < 1")
    return np.asarray(alpha_bar_of(np.geomspace(noise_ratio(clean), noise_ratio(noisy), steps + 1)))


def theory_levels(steps: int, c0: float = 2.0, c1: float = 4.0) -> Array:
    """Return the levels that the theorems suppose, (steps + 1,) beginning with 1.

    beta_1 = T^-c0,  beta_t = (c1 log T / T) min(beta_1 (1 + c1 log T / T)^t, 1): exponentially small at first.

    Raises
    ------
    InvalidArgumentError
        The constants make a step of 1 or more: T is too small for them.
    """
    rate = c1 * math.log(steps) / steps if steps > 1 else math.inf
    if not rate < 1:
        raise InvalidArgumentError(f"c1 log T / T is {rate:.3g} for T = {steps}; it must be below 1: take more steps, or less c1")
    beta = rate * np.minimum(steps**-c0 * (1 + rate) ** np.arange(1.0, steps + 1), 1.0)
    beta[0] = steps**-c0
    return np.concatenate([[1.0], np.cumprod(1 - beta)])


def select_timesteps(
    spacing: str, steps: int, alphas_cumprod: Sequence[float] | Array, steps_offset: int = 0
) -> NDArray[np.int64]:
    """Return which of a network's training indices to visit, decreasing; at most ``steps`` of them.

    Parameters
    ----------
    spacing
        ``"leading"``, ``"trailing"``, ``"linspace"``: as diffusers rounds them. ``"logsnr"``: uniform in log signal to
        noise, nearest index, duplicates removed (so fewer than ``steps`` if many). ``"quad"``: the authors' CIFAR setting,
        squares up to 0.8 N, duplicates removed; it leaves out the noisiest fifth.
    steps
        Network calls asked for, from 1 to N.
    alphas_cumprod
        The network's N training levels.
    steps_offset
        Added by ``"leading"``.

    Raises
    ------
    InvalidArgumentError
        The spacing is unknown, or the number of steps is out of range.
    """
    count = len(alphas_cumprod)
    if spacing not in SPACINGS:
        raise InvalidArgumentError(f"timestep_spacing is {spacing!r}; it must be one of {', '.join(SPACINGS)}")
    if not 1 <= steps <= count:
        raise InvalidArgumentError(f"num_inference_steps is {steps}; the network knows {count} levels, so take 1 to {count}")
    chosen: Any
    if spacing == "linspace":
        chosen = np.linspace(0, count - 1, steps).round()
    elif spacing == "leading":
        chosen = np.arange(steps) * (count // steps) + steps_offset
    elif spacing == "trailing":
        chosen = np.round(np.arange(count, 0, -count / steps))[:steps] - 1  # for some, arange rounds to one too many
    elif spacing == "quad":
        chosen = np.linspace(0, math.sqrt(0.8 * count), steps) ** 2
    else:
        chosen = _uniform_in_log_snr(steps, level_table(alphas_cumprod))
    return np.unique(np.clip(chosen.astype(np.int64), 0, count - 1))[::-1].copy()


def _uniform_in_log_snr(steps: int, alphas_cumprod: Array) -> NDArray[np.int64]:
    usable = alphas_cumprod[alphas_cumprod > 0]  # pure noise has no logarithm; the level before it stands for it
    known = np.log(noise_ratio(usable))
    wanted = np.linspace(known[0], known[-1], steps) if steps > 1 else known[-1:]
    right = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    nearest = np.where(wanted - known[right - 1] < known[right] - wanted, right - 1, right)
    if len(usable) < len(alphas_cumprod):
        nearest[-1] = len(alphas_cumprod) - 1
    return np.asarray(nearest, dtype=np.int64)
