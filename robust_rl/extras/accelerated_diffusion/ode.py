"""Deterministic samplers: Euler, DDIM, and the accelerated ones (sections 3a and 3b of the specification).

The probability-flow ODE of a variance-preserving model reads, with z = x / sqrt(ab),

    dz = eps d sg            or, in the score,     dz = -(1/2) sqrt(ab) s d(sg^2)                              (1)

Euler in sg^2 is the paper's baseline, Euler in sg is DDIM; both are first order. The accelerated samplers extrapolate
the integrand through the step before (two-step Adams-Bashforth), so they are second order for the same network calls:

    two_call    extrapolates s from t+1, t;  the state at t+1 is estimated anew, with a second call             (2)
    one_call    the same from the call at t+1 itself
    ab2_alpha   extrapolates eps linearly in ab: the authors' code                                              (3)
    ab2_sigma   extrapolates eps linearly in sg                                                                 (4)

======  ==============  ==============================================================
symbol  here            meaning, shape
======  ==============  ==============================================================
Y_t     y               state, any shape; T where it begins, 0 where it ends
ab_t    alpha_bars[t]   levels, (T + 1,) decreasing
h_t     h               1 - ab_t / ab_{t-1}
s_t     score(y, t)     gradient of log q_t
eps_t   epsilon         -sqrt(1 - ab_t) s_t(Y_t)
sg_t    sg              sqrt((1 - ab_t) / ab_t)
======  ==============  ==============================================================

The first step knows no step before it and is a plain one (Euler for two_call and one_call, DDIM for the others); a single
step of first order costs O(1/T^2), as the rest does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.levels import check_levels
from robust_rl.extras.diffusion_common import Array, noise_ratio

METHODS = ("ab2_alpha", "ab2_sigma", "one_call", "two_call", "ddim", "euler")
VARIANTS = ("ab2_alpha", "ab2_sigma")
"""Those that are a DDIM step plus a weight times a difference of noises."""


def sample_ode(score: Callable[[Any, int], Any], y: Any, alpha_bars: Sequence[float] | Array, method: str = "ab2_alpha") -> Any:
    """Carry a state from the noisiest level to the cleanest, without chance.

    Parameters
    ----------
    score
        ``(y, t) -> array like y``: gradient of the log density at level ``alpha_bars[t]``, t from T down to 1.
    y
        The state at ``alpha_bars[-1]``: an array or tensor of any shape.
    alpha_bars
        Levels, (T + 1,), decreasing; the first is where the sampler ends, 1 for clean samples.
    method
        ``"ab2_alpha"``, ``"ab2_sigma"``, ``"one_call"``, ``"ddim"``, ``"euler"``: T calls of ``score``;
        ``"two_call"``: 2 T - 1.

    Returns
    -------
    array like y
        The state at ``alpha_bars[0]``.

    Raises
    ------
    InvalidArgumentError
        The method is unknown or the levels don't decrease from 1 at most to above 0.

    Examples
    --------
    For data N(0, 1) the score is -y at every level, and nothing should move.

    >>> from robust_rl.extras.accelerated_diffusion import log_snr_levels
    >>> for method in ("ddim", "ab2_alpha"):
    ...     print(f"{method}: {sample_ode(lambda y, t: -y, 1.0, log_snr_levels(50), method):.4f}")
    ddim: 0.9587
    ab2_alpha: 0.9974
    """
    levels = check_levels(alpha_bars)
    if method not in METHODS:
        raise InvalidArgumentError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    last = len(levels) - 1
    before: Any = None  # the score or noise of the step before, if the method looks back
    for t in range(last, 0, -1):
        s = score(y, t)
        if method in ("euler", "one_call", "two_call"):
            correction = _score_correction(score, y, s, t, levels, before if method == "one_call" else None, method)
            y, before = euler_step(y, s, levels[t], levels[t - 1], correction), s
        else:
            epsilon = s * -math.sqrt(1 - levels[t])
            y = ddim_step(y, epsilon, levels[t], levels[t - 1])
            if method != "ddim" and t < last:
                y = y + ab2_weight(method, levels[t + 1], levels[t], levels[t - 1]) * (before - epsilon)
            before = epsilon
    return y


def euler_step(y: Any, s: Any, ab: float, ab_to: float, correction: Any = 0.0) -> Any:
    """Return Y_{t-1} = (Y_t + (h_t/2) s_t + correction) / sqrt(alpha_t): Euler in sg^2, the paper's baseline."""
    alpha = ab / ab_to
    return (y + (1 - alpha) / 2 * s + correction) / math.sqrt(alpha)


def ddim_step(y: Any, epsilon: Any, ab: float, ab_to: float) -> Any:
    """Return Y_{t-1} = Y_t / sqrt(alpha_t) + (sqrt(1 - ab_{t-1}) - sqrt((1 - ab_t) / alpha_t)) eps_t: Euler in sg."""
    alpha = ab / ab_to
    return y / math.sqrt(alpha) + (math.sqrt(1 - ab_to) - math.sqrt((1 - ab) / alpha)) * epsilon


def ab2_weight(variant: str, ab_before: float, ab: float, ab_to: float) -> float:
    """Return what multiplies eps_{t+1} - eps_t beside a DDIM step: sqrt(ab_{t-1}) times the integral of the extrapolation.

    Parameters
    ----------
    variant
        ``"ab2_alpha"`` or ``"ab2_sigma"``.
    ab_before, ab, ab_to
        ab_{t+1} < ab_t < ab_{t-1}: levels of the step before, now, and after the step. Any spacing; ``ab_before`` may be 0.

    >>> round(ab2_weight("ab2_sigma", 0.2, 0.5, 0.8), 12)  # sg = 2, 1, 1/2
    0.111803398875
    """
    sg_to, sg, sg_before = (float(noise_ratio(level)) for level in (ab_to, ab, ab_before))
    if variant == "ab2_sigma":
        return math.sqrt(ab_to) * (sg - sg_to) ** 2 / (2 * (sg_before - sg))  # eq. 4
    # eq. 3; asin sqrt(ab) = pi/2 - atan sg, and one arc tangent of the difference keeps its digits where both are small
    arc = math.atan((sg - sg_to) / (1 + sg * sg_to))
    return math.sqrt(ab_to) * (arc - ab * (sg - sg_to)) / (ab - ab_before)


def _score_correction(score: Callable[[Any, int], Any], y: Any, s: Any, t: int, levels: Array, before: Any, method: str) -> Any:
    """Return h_t^2 / (4 h_{t+1}) (s_t - sqrt(alpha_{t+1}) s_{t+1}), eq. 2; 0 in the first step and for Euler."""
    if method == "euler" or t == len(levels) - 1:
        return 0.0
    alpha_before, h = levels[t + 1] / levels[t], 1 - levels[t] / levels[t - 1]
    h_before = 1 - alpha_before
    if method == "two_call":
        before = score(math.sqrt(alpha_before) * (y - h_before / 2 * s), t + 1)  # at Y_t^-
    return h**2 / (4 * h_before) * (s - math.sqrt(alpha_before) * before)
