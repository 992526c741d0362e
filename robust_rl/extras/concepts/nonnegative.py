"""The smallest number of states of one hidden cause that explains a table.

A table of d variables with one common cause of r states is a sum of r non-negative tables of rank one:

    P(x_1, ..., x_d) = sum_h p(h) prod_i p(x_i | h)                                                          (1)

The smallest such r is the table's non-negative rank. It is fitted by expectation and maximisation, which for two variables is the
non-negative factorisation of least Kullback-Leibler divergence, and tested by the likelihood ratio against the table itself. For
two variables the non-negative rank is at least the rank; for three and more it also says whether one cause explains all of them.

Source: for tensors Chen et al., arXiv:2406.07020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.em import climb, random_start
from robust_rl.extras.concepts.posterior import Posterior, Rows


@dataclass(frozen=True)
class NonnegativeRank:
    """Tests of growing numbers of states.

    Attributes
    ----------
    rank
        The first that is not rejected; None if all are.
    pvalues
        Of 1, 2, ... states.
    """

    rank: int | None
    pvalues: list[float]


def nonnegative_rank(
    table: object, max_rank: int = 4, *, alpha: float = 0.01, restarts: int = 10, seed: int = 0
) -> NonnegativeRank:
    """Return the smallest number of states of one cause that a table of counts doesn't contradict.

    Parameters
    ----------
    table
        Counts, one axis a variable.
    max_rank
        Largest number to try.
    alpha
        Level of each test.
    restarts, seed
        Random starts of each fit.

    Raises
    ------
    InvalidArgumentError
        The table isn't one of counts.

    Examples
    --------
    >>> nonnegative_rank([[30, 31], [60, 61]]).rank, nonnegative_rank([[90, 10], [10, 90]]).rank
    (1, 2)
    """
    counts = np.asarray(table)
    if counts.ndim < 2 or counts.sum() <= 0 or counts.min() < 0 or np.any(counts != np.round(counts)):
        raise InvalidArgumentError(f"a table of counts with at least two axes is needed; this has shape {counts.shape}")
    counts, pvalues, rng = counts.astype(np.int64), [], np.random.default_rng(seed)
    for r in range(1, max_rank + 1):
        df = _degrees(counts.shape, r)
        fitted = _independent(counts) if r == 1 else _mixed(counts, r, restarts, rng)
        statistic = 2 * (_log_likelihood(counts, counts / counts.sum()) - fitted)
        pvalues.append(float(chi2.sf(statistic, df)) if df > 0 else 1.0)
        if pvalues[-1] > alpha:
            return NonnegativeRank(r, pvalues)
    return NonnegativeRank(None, pvalues)


def _degrees(shape: tuple[int, ...], r: int) -> int:
    if len(shape) == 2:
        return max(0, shape[0] - r) * max(0, shape[1] - r)
    return math.prod(shape) - 1 - (r - 1) - r * sum(size - 1 for size in shape)


def _independent(counts: NDArray[np.int64]) -> float:
    n, product = counts.sum(), np.ones(())
    for axis in range(counts.ndim):
        others = tuple(i for i in range(counts.ndim) if i != axis)
        product = np.multiply.outer(product, counts.sum(axis=others) / n)
    return _log_likelihood(counts, product)


def _mixed(counts: NDArray[np.int64], r: int, restarts: int, rng: np.random.Generator) -> float:
    """Return the log-likelihood of eq. 1, fitted."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_node("cause", latent=True)
    graph.add_nodes_from((f"X{i}" for i in range(counts.ndim)), latent=False)
    graph.add_edges_from(("cause", f"X{i}") for i in range(counts.ndim))
    sizes = {"cause": r} | {f"X{i}": size for i, size in enumerate(counts.shape)}
    cells = np.argwhere(counts > 0)
    posterior = Posterior(graph, sizes, Rows(cells, counts[counts > 0], np.arange(len(cells))))
    starts = [random_start(posterior, rng) for _ in range(restarts)]
    return climb(posterior, starts, 3000, 1e-4).log_likelihood


def _log_likelihood(counts: NDArray[np.int64], p: NDArray[np.float64]) -> float:
    seen = counts > 0
    return float((counts[seen] * np.log(p[seen])).sum())
