"""What DPnP asks of a measurement operator, and the likelihood that follows from it.

Any object will do that has ``A(x)``; deepinv's operators are such objects. Further methods are used where they exist:

=====================  ======================================================================================
``A(x)``               the noiseless measurement of a batch (N, ...); needed
``noise_model.sigma``  standard deviation of Gaussian noise; or plainly ``sigma``
``A_adjoint(y)``       with it and ``prox_l2``, the operator is linear and PCS exact
``prox_l2(z, y, g)``   argmin_x  (g/2) |A x - y|^2 + (1/2) |x - z|^2
``log_likelihood``     (x, y) -> (N,), differentiable; for noise that is not Gaussian
``pixel_range``        values that black and white have for it; without it (0, 1), as in deepinv
=====================  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError

LogLikelihood: TypeAlias = Callable[[Tensor], Tensor]
"""L(x): log p(y | x) up to a constant, (N, ...) -> (N,)."""


class GaussianLikelihood:
    """L(x) = -|y - A(x)|^2 / (2 sigma^2).

    Parameters
    ----------
    y : (N, ...) or (1, ...) tensor
        The measurement of each chain, or one for all.
    physics
        With ``A``.
    sigma : float
        Standard deviation of the noise, above 0.
    """

    def __init__(self, y: Tensor, physics: Any, sigma: float) -> None:
        self.y, self.physics, self.sigma = y, physics, sigma

    def __call__(self, x: Tensor) -> Tensor:
        """Return L of each chain, (N,)."""
        value: Tensor = -self._squares(x).sum(1) / (2 * self.sigma**2)
        return value

    def residual(self, x: Tensor) -> Tensor:
        """Return the root mean square of (y - A(x)) / sigma of each chain, (N,): about 1 where x explains y."""
        return self._squares(x).mean(1).sqrt() / self.sigma

    def _squares(self, x: Tensor) -> Tensor:
        away: Tensor = self.y - self.physics.A(x)
        return away.abs().square().flatten(1)


def tempered(log_likelihood: LogLikelihood, temperature: float) -> LogLikelihood:
    """Return L / temperature: below 1 it says more than was measured, above 1 less."""
    if temperature == 1:
        return log_likelihood
    if isinstance(log_likelihood, GaussianLikelihood):
        return GaussianLikelihood(log_likelihood.y, log_likelihood.physics, log_likelihood.sigma * temperature**0.5)
    return lambda x: log_likelihood(x) / temperature


def fit(log_likelihood: LogLikelihood, x: Tensor) -> dict[str, float]:
    """Return the mean of L over the chains x, and with Gaussian noise that of the residual."""
    with torch.no_grad():
        found = {"log_likelihood": float(log_likelihood(x).mean())}
        if isinstance(log_likelihood, GaussianLikelihood):
            found["residual"] = float(log_likelihood.residual(x).mean())
    return found


def noise_level(physics: Any) -> float | None:
    """Return the standard deviation of Gaussian noise that an operator names, or None."""
    sigma = getattr(getattr(physics, "noise_model", None), "sigma", getattr(physics, "sigma", None))
    if sigma is None:
        return None
    values = torch.as_tensor(sigma, dtype=torch.float64).unique()
    if len(values) != 1:
        raise InvalidArgumentError("the noise differs between measurements; give sigma=, one number for all")
    return float(values[0])


def is_linear(physics: Any) -> bool:
    """Whether an operator has the methods of a linear one."""
    return hasattr(physics, "prox_l2") and hasattr(physics, "A_adjoint")


def likelihood(y: Tensor, physics: Any, given: Callable[..., Tensor] | None, sigma: float | None) -> LogLikelihood:
    """Return L for a measurement: the one given, the operator's own, or that of Gaussian noise.

    Raises
    ------
    InvalidArgumentError
        The operator names no noise, and no likelihood of its own.
    """
    chosen = given if given is not None else getattr(physics, "log_likelihood", None)
    if chosen is not None:
        return lambda x: chosen(x, y)
    sigma = noise_level(physics) if sigma is None else sigma
    if sigma is None:
        raise InvalidArgumentError(
            f"{type(physics).__name__} names no Gaussian noise; give sigma=, or log_likelihood=, a function (x, y) -> (N,)"
        )
    if not sigma > 0:
        raise InvalidArgumentError(f"sigma is {sigma:g}; without noise there is no density to sample from, so give it above 0")
    return GaussianLikelihood(y, physics, sigma)


def check_measurement(y: Tensor, physics: Any, x: Tensor) -> None:
    """Raise InvalidArgumentError unless ``physics`` maps pictures like ``x`` (1, ...) to measurements like ``y``."""
    try:
        found = physics.A(x)
    except (RuntimeError, ValueError, IndexError) as error:
        raise InvalidArgumentError(
            f"{type(physics).__name__} cannot measure pictures of shape {tuple(x.shape[1:])}, which the model makes: {error}"
        ) from error
    if found.shape[1:] != y.shape[1:]:
        raise InvalidArgumentError(
            f"y has shape {tuple(y.shape)}, but {type(physics).__name__} measures the model's pictures {tuple(x.shape[1:])} as "
            f"{tuple(found.shape[1:])}; build the operator for the model's size, and give y a batch axis"
        )


def check_gradient(log_likelihood: LogLikelihood, x: Tensor) -> None:
    """Raise InvalidArgumentError unless L gives one number for each chain of ``x``, and a gradient."""
    with torch.enable_grad():
        value = log_likelihood(x.detach().requires_grad_())
    if value.shape != x.shape[:1]:
        raise InvalidArgumentError(f"log_likelihood gave shape {tuple(value.shape)} for {len(x)} chains; it must be ({len(x)},)")
    if not value.requires_grad:
        raise InvalidArgumentError(
            "log_likelihood has no gradient in x; write it in differentiable torch operations (no rounding, .detach() or numpy)"
        )
