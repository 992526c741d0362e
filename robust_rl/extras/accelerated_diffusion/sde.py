"""Stochastic samplers: DDPM, and the accelerated one (section 4 of the specification).

    DDPM          Y_{t-1} = (Y_t + h_t s_t(Y_t) + sqrt(h_t) Z) / sqrt(alpha_t)                                   (1)
    accelerated   Y_t^+   = Y_t + sqrt(h_t/2) Z                                                                  (2)
                  Y_{t-1} = (Y_t^+ + h_t s_t(Y_t^+) + sqrt(h_t/2) Z^+) / sqrt(alpha_t)

Half of the noise comes before the score is asked, at the noised point but for time t. Both noises stand **inside** the
bracket: with the second one outside, as the repository's README prints it, a step's variance is wrong by h^2/2 and the
acceleration is lost. For data N(0, v I) the variance after an accelerated step is right up to h^3/(2 v^2).

======  ==============  ==================================================
symbol  here            meaning, shape
======  ==============  ==================================================
Y_t     y               state, any shape
ab_t    alpha_bars[t]   levels, (T + 1,) decreasing
h_t     h               1 - alpha_t,  alpha_t = ab_t / ab_{t-1}
s_t     score(y, t)     gradient of log q_t
Z, Z^+  early, late     independent N(0, I), shape of y
======  ==============  ==================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.levels import check_levels
from robust_rl.extras.diffusion_common import Array

METHODS = ("accelerated", "ddpm")


def sample_sde(
    score: Callable[[Any, int], Any],
    y: Any,
    alpha_bars: Sequence[float] | Array,
    method: str = "accelerated",
    *,
    generator: Any = None,
    noise_at_end: bool = False,
) -> Any:
    """Carry a state from the noisiest level to the cleanest, with fresh noise on the way; T calls of ``score``.

    Parameters
    ----------
    score
        ``(y, t) -> array like y``: gradient of the log density at level ``alpha_bars[t]``, t from T down to 1.
    y
        The state at ``alpha_bars[-1]``: an array or tensor of any shape.
    alpha_bars
        Levels, (T + 1,), decreasing; the first is where the sampler ends, 1 for clean samples.
    method
        ``"accelerated"`` or ``"ddpm"``.
    generator
        A ``numpy.random.Generator`` for arrays, a ``torch.Generator`` for tensors; None draws from a fresh one, or from
        torch's own.
    noise_at_end
        Whether the last step adds its last noise, as the theorems have it; pictures are better without.

    Returns
    -------
    array like y
        The state at ``alpha_bars[0]``.

    Raises
    ------
    InvalidArgumentError
        The method is unknown or the levels don't decrease from 1 at most to above 0.
    """
    levels = check_levels(alpha_bars)
    if method not in METHODS:
        raise InvalidArgumentError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    draw = _normal(y, generator)
    for t in range(len(levels) - 1, 0, -1):
        late = draw() if t > 1 or noise_at_end else 0.0
        if method == "ddpm":
            y = ddpm_step(score, y, t, levels, late)
        else:
            y = accelerated_step(score, y, t, levels, draw(), late)
    return y


def ddpm_step(score: Callable[[Any, int], Any], y: Any, t: int, levels: Array, late: Any) -> Any:
    """Return Y_{t-1} of eq. 1."""
    alpha = levels[t] / levels[t - 1]
    h = 1 - alpha
    return (y + h * score(y, t) + math.sqrt(h) * late) / math.sqrt(alpha)


def accelerated_step(score: Callable[[Any, int], Any], y: Any, t: int, levels: Array, early: Any, late: Any) -> Any:
    """Return Y_{t-1} of eq. 2."""
    alpha = levels[t] / levels[t - 1]
    h = 1 - alpha
    noised = y + math.sqrt(h / 2) * early
    return (noised + h * score(noised, t) + math.sqrt(h / 2) * late) / math.sqrt(alpha)


def _normal(y: Any, generator: Any) -> Callable[[], Any]:
    """Return a function that draws N(0, I) in the likeness of y."""
    if hasattr(y, "new_empty"):  # a tensor
        return lambda: y.new_empty(y.shape).normal_(generator=generator)
    rng = np.random.default_rng() if generator is None else generator
    return lambda: rng.standard_normal(np.shape(y))
