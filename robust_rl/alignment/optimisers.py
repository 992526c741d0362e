"""Two ways to minimise the tabular loss: AdamW, as models are trained, and a solver over bounded logits, to compare it with.

The difference between the two is optimisation error. Logits are bounded, ``|theta| <= 10``, or the rewards that they stand for,
``|beta (theta - theta_ref)| <= R``: the class of bounded rewards over which theory minimises. Such a bound is what makes online
VPO well-posed, whose loss has no minimum otherwise; nor is that loss convex, so that the solver's minimum is local: the better
of those reached from two starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robust_rl.alignment.loss import Mode
from robust_rl.alignment.tabular import Array, gradient, loss

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """What AdamW remembers: averages of the gradient and of its square, shaped as the parameters, and the number of steps."""

    first: Array
    second: Array
    steps: int = 0

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Moments:
        """Return the state before the first step."""
        return cls(np.zeros(shape), np.zeros(shape))


def adamw(theta: Array, slope: Array, moments: Moments, *, rate: float, decay: float) -> Array:
    """Return theta after a step of AdamW (Loshchilov and Hutter 2019); ``moments`` is brought up to date."""
    moments.steps += 1
    moments.first = FIRST_DECAY * moments.first + (1 - FIRST_DECAY) * slope
    moments.second = SECOND_DECAY * moments.second + (1 - SECOND_DECAY) * slope**2
    mean = moments.first / (1 - FIRST_DECAY**moments.steps)
    size = np.sqrt(moments.second / (1 - SECOND_DECAY**moments.steps)) + EPSILON
    return np.asarray(theta * (1 - rate * decay) - rate * mean / size)


def bounded_minimum(
    starts: list[Array],
    reference: Array,
    wins: Array,
    calibration: Array,
    *,
    beta: float,
    alpha: float,
    mode: Mode,
    bound: float,
    around: Array | float = 0.0,
) -> Array:
    """Return the lowest minimum of one run's loss over ``|theta - around| <= bound`` that L-BFGS-B reaches from the starts."""
    from scipy.optimize import minimize

    shape, options = reference.shape, {"beta": beta, "alpha": alpha, "mode": mode}

    def objective(flat: Array) -> tuple[float, Array]:
        theta = flat.reshape(shape)
        slope = gradient(theta, reference, wins, calibration, **options)  # type: ignore[arg-type]
        return loss(theta, reference, wins, calibration, **options), slope.ravel()  # type: ignore[arg-type]

    centre = np.broadcast_to(around, shape)
    low, high = centre - bound, centre + bound
    limits: Any = list(zip(low.ravel(), high.ravel(), strict=True))
    found = [
        minimize(objective, np.clip(start, low, high).ravel(), jac=True, method="L-BFGS-B", bounds=limits) for start in starts
    ]
    return np.asarray(min(found, key=lambda result: result.fun).x.reshape(shape))
