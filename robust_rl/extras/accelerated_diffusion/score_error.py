"""Scores that are wrong by a known amount.

The theorems allow l2 errors of the score; the deterministic sampler's bound asks for an accurate Jacobian besides. A wave
added to the score has both in hand: its height is the l2 error, its height times its frequency that of the Jacobian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.diffusion_common import Array


def disturbed(
    score: Callable[[Any, int], Any],
    alpha_bars: Sequence[float] | Array,
    size: float,
    frequency: float = 1.0,
    seed: int = 0,
) -> Callable[[Any, int], Any]:
    """Return the score with a wave added:  s_t(x) + size / sqrt(1 - ab_t) * sqrt(2) sin(w x / sqrt(1 - ab_t) + phase_t).

    In units of the noise, as networks predict it, the error is ``size`` at every level: sqrt(1 - ab) times the score error
    has mean square size^2 over the phase, and its Jacobian size^2 frequency^2. The phases are drawn anew for each level,
    independent coordinates alike.

    Parameters
    ----------
    score
        ``(x, t) -> array like x``, the exact one.
    alpha_bars
        The levels that t counts.
    size
        Root mean square error of the predicted noise, >= 0.
    frequency
        Waves: 2 pi / frequency noise deviations a wave.
    seed
        Of the phases.

    Raises
    ------
    InvalidArgumentError
        The size is negative.
    """
    if not size >= 0:
        raise InvalidArgumentError(f"size is {size}; an error is at least 0")
    phases = 2 * math.pi * np.random.default_rng(seed).random(len(alpha_bars))

    def wrong(x: Any, t: int) -> Any:
        deviation = math.sqrt(1 - alpha_bars[t])
        return score(x, t) + size * math.sqrt(2) / deviation * np.sin(frequency / deviation * x + phases[t])

    return wrong
