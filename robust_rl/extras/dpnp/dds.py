"""DDS, the denoising diffusion sampler: one draw of  x ~ p*(x) exp(-|x - z|^2 / (2 eta^2))  from the unconditional model alone.

DDS-DDPM. X_0 given X = z at level eta *is* the wanted law: run the reverse diffusion from there, over levels sg > sg' to 0:

    x <- x + 2 (sg' - sg) E(x, sg) + sqrt(sg^2 - sg'^2) w                                                   (1)

DDS-DDIM. At level a = sg^2 that diffusion has the marginal p_a(m) N(z; m, (eta^2 - a) I). In the coordinates

    a = eta^2 sin^2(theta),   m = z + eta cos(theta) u                                                      (2)

its probability flow loses every singular factor:

    du/dtheta = E(z + eta cos(theta) u, eta sin(theta)),   u(pi/2) ~ N(0, I) exactly,   x = z + eta u(0)    (3)

Both use levels of the model only, spaced evenly in theta; eta itself is one.

=======  ==========  ====================================
symbol   here        meaning, shape
=======  ==========  ====================================
z        ``z``       where PCS left the chains, (N, ...)
eta      ``level``   index of a level of the model
E        ``model``   the noise predictor
theta    ``angles``  pi/2 at level eta, 0 at none
=======  ==========  ====================================

Source: arXiv:2403.17042, sections on DDS; coordinates (2) and the second-order step are this library's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance, normal
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor


class DDS(Protocol):
    """What the loop asks of a denoising sampler."""

    def __call__(self, z: Tensor, level: int, chance: Chance) -> Tensor:
        """Draw x (N, ...) given z (N, ...) at eta, the level of that index."""
        ...


@dataclass(frozen=True)
class DDSDDPM:
    """The reverse diffusion, equation 1.

    Parameters
    ----------
    model : NoisePredictor
    steps : int
        Network calls at most; fewer if the model has fewer levels below eta.
    """

    model: NoisePredictor = field(repr=False)
    steps: int = 20

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def __call__(self, z: Tensor, level: int, chance: Chance) -> Tensor:
        """Draw x given z."""
        nodes, _ = descent(self.model.levels, level, self.steps)
        sigmas = [*self.model.levels[nodes].tolist(), 0.0]
        x = z
        for index, sg, lower in zip(nodes, sigmas, sigmas[1:], strict=False):
            x = x + 2 * (lower - sg) * self.model(x, index)  # eq. 1
            if lower > 0:
                x = x + math.sqrt(sg**2 - lower**2) * normal(x, chance)
        return x


@dataclass(frozen=True)
class DDSDDIM:
    """The probability flow, equation 3.

    Parameters
    ----------
    model : NoisePredictor
    steps : int
        Network calls at most; fewer if the model has fewer levels below eta.
    order : 1 or 2
        2 extrapolates from the call before (Adams-Bashforth), at no further calls: better from about 20 steps, worse below 10.
    """

    model: NoisePredictor = field(repr=False)
    steps: int = 20
    order: int = 1

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.order not in (1, 2):
            raise InvalidArgumentError(f"order is {self.order}; it must be 1 or 2")

    def __call__(self, z: Tensor, level: int, chance: Chance) -> Tensor:
        """Draw x given z."""
        eta = float(self.model.levels[level])
        nodes, angles = descent(self.model.levels, level, self.steps)
        u, last, before = normal(z, chance), None, 0.0
        for index, theta, lower in zip(nodes, angles, [*angles[1:], 0.0], strict=True):
            step = lower - theta
            slope = self.model(z + eta * math.cos(theta) * u, index)
            ahead = slope if self.order == 1 or last is None else slope + 0.5 * step / before * (slope - last)
            u = u + step * ahead  # eq. 3
            last, before = slope, step
        return z + eta * u


def descent(levels: Tensor, level: int, steps: int) -> tuple[list[int], list[float]]:
    """Return at most ``steps`` levels from ``level`` down, about evenly spaced in theta: their indices and angles, falling."""
    angles = torch.asin(levels[: level + 1] / levels[level])
    wanted = torch.linspace(math.pi / 2, 0, steps + 1, dtype=torch.float64)[:-1]
    nodes = sorted({int((angles - theta).abs().argmin()) for theta in wanted}, reverse=True)
    return nodes, angles[nodes].tolist()


def check_steps(steps: int) -> None:
    """Raise InvalidArgumentError unless there is a step."""
    if steps < 1:
        raise InvalidArgumentError(f"steps is {steps}; a denoising sampler needs at least 1")
