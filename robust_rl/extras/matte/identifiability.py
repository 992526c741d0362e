"""How well estimated latents determine the true ones.

block_r2   share of the variance of the true block that a kernel ridge regression on the estimated block predicts, on rows held
out: 1 if the block is identified up to an invertible map
mcc        mean absolute correlation of true and estimated components, best one-to-one matching: 1 if each is identified alone
leakage    what an estimate knows of a block beyond what it must: block_r2 from [estimate, given] less block_r2 from given
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from robust_rl.errors import InvalidArgumentError

Array = NDArray[np.float64]
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
WIDTHS = (0.1, 0.3, 1.0, 3.0)
"""Squared widths of the kernel, in medians of the squared distance."""
MOST = 600
"""Rows that a regression is fitted to, and scored on, at most; its cost is cubic."""


def block_r2(true: ArrayLike, estimate: ArrayLike, *, seed: int = 0) -> float:
    """Return R2 of the true block from the estimated one, by kernel ridge regression, on rows held out.

    Parameters
    ----------
    true, estimate
        (n, p) and (n, q). Half of the rows are fitted, a quarter chooses ridge and width, a quarter is scored; 600 at most each.
    seed
        Of the division.

    Returns
    -------
    float
        Mean over the columns of ``true``, each by its own variance. Below 0 where the estimate is worse than the mean.

    Raises
    ------
    InvalidArgumentError
        Fewer than 20 rows, or rows that don't match.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(400, 1))
    >>> bool(block_r2(np.tanh(x), x + np.sin(x)) > 0.95)
    True
    """
    y, x = _columns(true, estimate)
    order = np.random.default_rng(seed).permutation(len(x))
    fit, choose, score = np.split(order, [len(x) // 2, 3 * len(x) // 4])
    fit, choose, score = fit[:MOST], choose[:MOST], score[:MOST]
    x = (x - x[fit].mean(0)) / (x[fit].std(0) + 1e-12)
    mean = y[fit].mean(0)
    within, to_choose, to_score = (cdist(x[rows], x[fit], "sqeuclidean") for rows in (fit, choose, score))
    found = []
    for width in (width * np.median(within) for width in WIDTHS):
        values, vectors = eigh(np.exp(-within / (2 * width)))  # once for all ridges
        projected = vectors.T @ (y[fit] - mean)
        guides, judges = (np.exp(-distances / (2 * width)) @ vectors for distances in (to_choose, to_score))
        for ridge in RIDGES:
            weights = projected / (values + ridge)[:, None]
            found.append((_r2(y[choose], guides @ weights + mean), _r2(y[score], judges @ weights + mean)))
    return max(found)[1]


def leakage(true: ArrayLike, estimate: ArrayLike, given: ArrayLike, *, seed: int = 0) -> float:
    """Return how much more of ``true`` the estimate and ``given`` predict together than ``given`` alone; 0 is none.

    Content leaks style if its estimate tells of s more than the true content and the domain do: those may tell of s by nature.
    """
    both = np.concatenate([_table(estimate), _table(given)], axis=1)
    return block_r2(true, both, seed=seed) - block_r2(true, given, seed=seed)


def mcc(true: ArrayLike, estimate: ArrayLike, *, method: str = "pearson") -> float:
    """Return the mean absolute correlation of components under the best matching.

    Parameters
    ----------
    true, estimate
        (n, p) and (n, q), q at least p.
    method
        ``"pearson"``, or ``"spearman"``, which forgives monotone maps.

    Raises
    ------
    InvalidArgumentError
        Another method, or shapes that don't fit.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(400, 2))
    >>> round(mcc(x, -x[:, ::-1] ** 3, method="spearman"), 6)
    1.0
    """
    y, x = _columns(true, estimate)
    if method not in ("pearson", "spearman"):
        raise InvalidArgumentError(f"method {method!r}; it must be pearson or spearman")
    if x.shape[1] < y.shape[1]:
        raise InvalidArgumentError(f"{x.shape[1]} estimated components for {y.shape[1]} true ones; give at least as many")
    if method == "spearman":
        y, x = rankdata(y, axis=0), rankdata(x, axis=0)
    y, x = ((block - block.mean(0)) / (block.std(0) + 1e-12) for block in (y, x))
    correlation = np.abs(y.T @ x) / len(x)
    return float(correlation[linear_sum_assignment(-correlation)].mean())


def _r2(y: Array, guess: Array) -> float:
    return float(1 - np.mean(np.square(y - guess).mean(0) / (y.var(0) + 1e-12)))


def _table(block: ArrayLike) -> Array:
    table = np.asarray(block, dtype=np.float64)
    return table[:, None] if table.ndim == 1 else table


def _columns(true: ArrayLike, estimate: ArrayLike) -> tuple[Array, Array]:
    y, x = _table(true), _table(estimate)
    if len(y) != len(x) or len(y) < 20:
        raise InvalidArgumentError(f"{len(y)} true and {len(x)} estimated rows; give as many of both, 20 at least")
    return y, x
