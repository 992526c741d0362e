"""PCS, the proximal consistency sampler, for a linear operator and Gaussian noise: one exact draw by one linear solve.

    z ~ exp( -|y - A z|^2 / (2 sigma^2) - |z - x|^2 / (2 eta^2) ),  a Gaussian; perturb, then solve:

    x' = x + eta e1,   y' = y + sigma e2,   e1, e2 standard normal                                          (1)
    z  = argmin_z  (gamma/2) |A z - y'|^2 + (1/2) |z - x'|^2,   gamma = eta^2 / sigma^2                     (2)

=======  =============  ==============================
symbol   here           meaning, shape
=======  =============  ==============================
x, z     ``x``, ``z``   chains, (N, ...)
y        ``y``          measurement, (N, ...)
eta      ``eta``        coupling of x and z
sigma    ``sigma``      standard deviation of the noise
=======  =============  ==============================

Source: arXiv:2403.17042, PCS for linear inverse problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance, normal
from robust_rl.extras.dpnp.physics import GaussianLikelihood, fit

MAX_ITERATIONS = 1000


class PCS(Protocol):
    """What the loop asks of a consistency sampler."""

    def __call__(self, x: Tensor, eta: float, chance: Chance) -> tuple[Tensor, Mapping[str, float]]:
        """Draw z (N, ...) given x (N, ...); return numbers to log beside it."""
        ...

    def fit(self, x: Tensor) -> dict[str, float]:
        """Return how well the chains x explain the measurement; see :func:`robust_rl.extras.dpnp.physics.fit`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what the next call depends on."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state` returned."""
        ...


class GaussianPCS:
    """The exact draw, equations 1 and 2.

    Parameters
    ----------
    y : (N, ...) or (1, ...) tensor
        The measurement of each chain, or one for all.
    physics
        Linear: with ``A``, ``A_adjoint``, and ``prox_l2`` if it has one. What ``prox_l2`` leaves of the error is removed by
        conjugate gradients, so its tolerance doesn't matter.
    sigma : float
        Standard deviation of the noise, above 0.

    Raises
    ------
    InvalidArgumentError
        ``sigma`` is not above 0.
    ConvergenceError
        On drawing: the solve doesn't converge.
    """

    def __init__(self, y: Tensor, physics: Any, sigma: float) -> None:
        if not sigma > 0:
            raise InvalidArgumentError(f"sigma is {sigma:g}; it must be above 0")
        self.y, self.physics, self.sigma = y, physics, sigma
        self.log_likelihood = GaussianLikelihood(y, physics, sigma)

    def __call__(self, x: Tensor, eta: float, chance: Chance) -> tuple[Tensor, Mapping[str, float]]:
        """Draw z given x."""
        y = self.y.expand(len(x), *self.y.shape[1:])
        x, y = x + eta * normal(x, chance), y + self.sigma * normal(y, chance)  # eq. 1
        return prox(self.physics, x, y, eta**2 / self.sigma**2), {}

    def fit(self, x: Tensor) -> dict[str, float]:
        """Return the chains' mean log-likelihood and residual."""
        return fit(self.log_likelihood, x)

    def __repr__(self) -> str:
        return f"GaussianPCS(sigma={self.sigma!r})"

    def state(self) -> dict[str, Tensor]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing is remembered."""


@torch.no_grad()
def prox(physics: Any, x: Tensor, y: Tensor, gamma: float) -> Tensor:
    """Return argmin_z (gamma/2) |A z - y|^2 + (1/2) |z - x|^2 (equation 2), to the square root of the type's precision.

    Raises
    ------
    ConvergenceError
        Conjugate gradients don't converge.
    """
    z = physics.prox_l2(x, y, gamma) if hasattr(physics, "prox_l2") else x
    gradient = gamma * physics.A_adjoint(physics.A(z) - y) + z - x
    right = x + gamma * physics.A_adjoint(y)
    tolerance = torch.finfo(x.dtype).eps * squared(right)  # of squared norms
    direction, error = -gradient, squared(gradient)
    for _ in range(MAX_ITERATIONS):
        if bool((error <= tolerance).all()):
            return z
        curved = gamma * physics.A_adjoint(physics.A(direction)) + direction
        step = error / inner(direction, curved).clamp_min(torch.finfo(x.dtype).tiny)
        z, gradient = z + step * direction, gradient + step * curved
        error, before = squared(gradient), error
        direction = error / before.clamp_min(torch.finfo(x.dtype).tiny) * direction - gradient
    raise ConvergenceError(
        f"the linear solve of PCS did not converge in {MAX_ITERATIONS} iterations; is A_adjoint of {type(physics).__name__} "
        "the adjoint of A, and A linear?"
    )


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each chain, (N, 1, ...)."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def squared(a: Tensor) -> Tensor:
    """Return the squared norm of each chain, (N, 1, ...)."""
    return inner(a, a)
