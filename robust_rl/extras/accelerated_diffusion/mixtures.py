"""Gaussian mixtures: data whose noised densities, scores and quantiles are known exactly.

If X_0 is a mixture of N(mu_k, v_k I) then X_t = sqrt(ab) X_0 + sqrt(1 - ab) W is one of N(sqrt(ab) mu_k, (ab v_k + 1 - ab) I).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, ndtr

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.diffusion_common import Array


class GaussianMixture:
    """A mixture of isotropic Gaussians in d dimensions.

    Parameters
    ----------
    weights
        (K,), positive; scaled to sum to 1.
    means
        (K, d), or (K,) in one dimension.
    deviations
        Standard deviations, (K,), positive.

    Raises
    ------
    InvalidArgumentError
        Shapes differ, or a weight or deviation isn't positive.
    """

    def __init__(self, weights: Sequence[float], means: Any, deviations: Sequence[float]) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)
        self.means = np.asarray(means, dtype=np.float64)
        self.means = self.means[:, None] if self.means.ndim == 1 else self.means
        self.deviations = np.asarray(deviations, dtype=np.float64)
        if not self.weights.shape == self.deviations.shape == self.means.shape[:1]:
            shapes = f"{self.weights.shape}, {self.means.shape}, {self.deviations.shape}"
            raise InvalidArgumentError(f"weights, means and deviations have shapes {shapes}; they must agree on the components")
        if not ((self.weights > 0).all() and (self.deviations > 0).all()):
            raise InvalidArgumentError("weights and deviations must be positive")
        self.weights = self.weights / self.weights.sum()

    @property
    def dimension(self) -> int:
        """Number of dimensions d."""
        return int(self.means.shape[1])

    def score(self, x: NDArray[Any], alpha_bar: float) -> Array:
        """Return the gradient of the log density at level ``alpha_bar``, for points (..., d)."""
        means, variances = self._noised(alpha_bar)
        share = np.exp(log_softmax(self._log_terms(x, alpha_bar), axis=-1))  # which component, (..., K)
        pull = share / variances
        return np.asarray(pull @ means - pull.sum(axis=-1, keepdims=True) * x)

    def scores(self, alpha_bars: Sequence[float] | Array) -> Callable[[NDArray[Any], int], Array]:
        """Return ``score(x, t)`` at the levels of a sampler."""
        return lambda x, t: self.score(x, float(alpha_bars[t]))

    def density(self, x: NDArray[Any], alpha_bar: float = 1.0) -> Array:
        """Return the density at a level, for points (..., d)."""
        return np.asarray(np.exp(logsumexp(self._log_terms(x, alpha_bar), axis=-1)))

    def quantiles(self, probabilities: Array, alpha_bar: float = 1.0) -> Array:
        """Return points (n, 1) below which the mass is as given, (n,), increasing; in one dimension.

        Raises
        ------
        InvalidArgumentError
            The mixture has more dimensions.
        """
        if self.dimension != 1:
            raise InvalidArgumentError(f"quantiles are those of one dimension; the mixture has {self.dimension}")
        means, variances = self._noised(alpha_bar)
        deviations = np.sqrt(variances)
        low = np.full(len(probabilities), (means[:, 0] - 40 * deviations).min())
        high = np.full(len(probabilities), (means[:, 0] + 40 * deviations).max())
        for _ in range(80):  # bisection: 2^-80 of the range is below a float's spacing
            middle = (low + high) / 2
            below = ndtr((middle[:, None] - means[:, 0]) / deviations) @ self.weights < probabilities
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((low + high) / 2)[:, None]

    def sample(self, count: int, rng: np.random.Generator, alpha_bar: float = 1.0) -> Array:
        """Return independent points, (count, d)."""
        means, variances = self._noised(alpha_bar)
        which = rng.choice(len(self.weights), size=count, p=self.weights)
        return np.asarray(means[which] + np.sqrt(variances[which])[:, None] * rng.standard_normal((count, self.dimension)))

    def _noised(self, alpha_bar: float) -> tuple[Array, Array]:
        return np.sqrt(alpha_bar) * self.means, alpha_bar * self.deviations**2 + 1 - alpha_bar

    def _log_terms(self, x: NDArray[Any], alpha_bar: float) -> Array:
        """Return log(w_k N(x; k)), (..., K)."""
        means, variances = self._noised(alpha_bar)
        squares = ((x[..., None, :] - means) ** 2).sum(axis=-1)
        return np.asarray(np.log(self.weights) - squares / (2 * variances) - self.dimension / 2 * np.log(2 * np.pi * variances))
