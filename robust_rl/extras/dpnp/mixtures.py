"""A mixture of Gaussians as the picture prior: its noise predictor is exact, so whatever a sampler gets wrong is its own fault.

With x_0 of mixture weights w_i, means mu_i and variances v_i (the same in every direction), at level t

    x_t ~ sum_i w_i N(sqrt(ab) mu_i, (ab v_i + 1 - ab) I),        eps_t = -sqrt(1 - ab) grad log p_t
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor


class GaussianMixture:
    """sum_i w_i N(mu_i, v_i I).

    Parameters
    ----------
    weights : (K,) array_like
        Positive; scaled to sum to 1.
    means : (K, ...) array_like
        mu_i, of the shape of a picture.
    variances : (K,) array_like
        v_i, above 0.

    Raises
    ------
    InvalidArgumentError
        A number is out of range or the shapes differ.

    Examples
    --------
    >>> import torch
    >>> two = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.1, 0.1])
    >>> x = torch.zeros(1, 1, dtype=torch.float64)
    >>> float(two.noise(x, 0.5))  # no side is nearer
    -0.0
    """

    def __init__(self, weights: Any, means: Any, variances: Any) -> None:
        w, mu, v = (torch.as_tensor(part, dtype=torch.float64) for part in (weights, means, variances))
        if w.ndim != 1 or v.shape != w.shape or mu.ndim < 2 or len(mu) != len(w):
            raise InvalidArgumentError(
                f"weights {tuple(w.shape)}, means {tuple(mu.shape)} and variances {tuple(v.shape)} must be (K,), (K, ...), (K,)"
            )
        if not (w.min() > 0 and v.min() > 0):
            raise InvalidArgumentError("weights and variances must be above 0")
        self.weights, self.means, self.variances = w / w.sum(), mu, v

    def noise(self, x: Tensor, ab: float) -> Tensor:
        """Return the exact eps at the points ``x`` (N, ...) of level ``ab``."""
        variance = ab * self.variances + 1 - ab
        away = ab**0.5 * self.means.flatten(1) - x.flatten(1)[:, None]  # (N, K, d)
        logs = self.weights.log() - 0.5 * away.square().sum(-1) / variance - 0.5 * away.shape[-1] * variance.log()
        score = ((logs.softmax(1) / variance)[..., None] * away).sum(1)
        noise: Tensor = -((1 - ab) ** 0.5) * score.reshape(x.shape)
        return noise

    def predictor(self, alphas_cumprod: Any) -> NoisePredictor:
        """Return the mixture as a discrete model with those levels."""
        ab = torch.as_tensor(alphas_cumprod, dtype=torch.float64).tolist()
        return NoisePredictor(lambda x, t: self.noise(x, ab[t]).to(x.dtype), ab)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` points, (count, ...)."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn((count, *self.means.shape[1:]), generator=generator, dtype=torch.float64)
        scale = self.variances[which].sqrt().reshape(-1, *[1] * (noise.ndim - 1))
        return self.means[which] + scale * noise


def linear_levels(count: int = 1000) -> Tensor:
    """Return ab_t of the schedule that most published networks use: betas linear from 1e-4 to 0.02, (count,)."""
    return (1 - torch.linspace(1e-4, 0.02, count, dtype=torch.float64)).cumprod(0)
