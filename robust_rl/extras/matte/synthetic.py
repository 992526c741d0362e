"""Vectors whose content and style are known, and meet the assumptions of the theorems.

    c~, s~ ~ N(0, I)
    c = A_u c~ + b_u
    s = scale_u(c) * (tanh(s~) + s~ / 2) + shift_u(c)               monotone in s~, different by domain
    x = g(c, s) + noise

g is a sum of a map of c, on the first ``content_outputs`` dimensions of x, and a map of s, on the last ``style_outputs``; each
is a layer of leaky ReLUs between linear ones. Every style dimension thus touches fewer outputs than any content dimension, and
where they overlap only in part. Source: specification of the check in MATTE's theorem 1; the construction is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SyntheticVectors:
    """Vectors and what made them.

    Attributes
    ----------
    x : array (n, 20)
    domain : array (n,)
        Number of each row's domain.
    c, s : arrays (n, 3), (n, 2)
        The true content and style.
    """

    x: Array
    domain: NDArray[np.intp]
    c: Array
    s: Array


def synthetic_vectors(
    n: int,
    *,
    c_dim: int = 3,
    s_dim: int = 2,
    outputs: int = 20,
    content_outputs: int = 16,
    style_outputs: int = 6,
    domains: int = 8,
    dependence: float = 1.0,
    noise: float = 0.05,
    seed: int = 0,
) -> SyntheticVectors:
    """Draw vectors.

    Parameters
    ----------
    n
        Rows.
    c_dim, s_dim, outputs, domains
        Sizes of c, s, x and u.
    content_outputs, style_outputs
        Outputs that content touches, the first, and that style touches, the last.
    dependence
        How strongly style depends on content; 0 leaves the domain alone.
    noise
        Deviation of what is added to x.
    seed
        Of the mechanism and the rows.
    """
    rng = np.random.default_rng(seed)
    domain = rng.integers(domains, size=n)
    rotation, stretch = _mixing(rng, c_dim), rng.uniform(0.5, 1.6, (domains, c_dim))
    c_noise, s_noise = rng.normal(size=(n, c_dim)), rng.normal(size=(n, s_dim))
    c = (c_noise * stretch[domain]) @ rotation.T + rng.normal(size=(domains, c_dim))[domain]
    shift = dependence * np.tanh(_by_domain(rng, domains, c_dim, s_dim, c, domain))
    scale = 0.7 + 0.6 / (1 + np.exp(-dependence * _by_domain(rng, domains, c_dim, s_dim, c, domain)))
    offset = 0.7 * rng.normal(size=(domains, s_dim))
    s = scale * (np.tanh(s_noise) + 0.5 * s_noise) + shift + offset[domain]
    x = np.zeros((n, outputs))
    x[:, :content_outputs] += _leaky(rng, c, content_outputs)
    x[:, outputs - style_outputs :] += _leaky(rng, s, style_outputs)
    return SyntheticVectors(x + noise * rng.normal(size=x.shape), domain, c, s)


def _by_domain(rng: np.random.Generator, domains: int, c_dim: int, s_dim: int, c: Array, domain: NDArray[np.intp]) -> Array:
    """Return a map of c that differs by domain, (n, s_dim)."""
    weights = rng.normal(size=(domains, c_dim, s_dim)) / np.sqrt(c_dim)
    mapped: Array = np.einsum("nc,ncs->ns", c, weights[domain])
    return mapped


def _leaky(rng: np.random.Generator, z: Array, outputs: int) -> Array:
    """Return a leaky-ReLU map of z to ``outputs`` dimensions, injective since both layers widen."""
    width = max(outputs, 2 * z.shape[1])
    first = z @ _mixing(rng, max(width, z.shape[1]))[: z.shape[1]] * np.sqrt(width / z.shape[1]) + 0.5 * rng.normal(size=width)
    hidden = np.where(first > 0, first, 0.3 * first)
    mapped: Array = hidden @ _mixing(rng, width)[:, :outputs]
    return mapped


def _mixing(rng: np.random.Generator, dim: int) -> Array:
    q, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    return q
