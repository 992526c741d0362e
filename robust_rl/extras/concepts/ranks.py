"""Tests of the rank of a table of counts.

Let P be the I x J table of frequencies of n rows, and R = D_r^{-1/2} P D_c^{-1/2} = U S V^T with its margins D_r, D_c. Under
the null hypothesis rank(P) <= r the trailing part

    Lambda = U_2^T R V_2,   sqrt(n) vec(Lambda) -> N(0, Omega)                                              (1)

with U_2, V_2 the singular vectors from the (r+1)-st on and Omega the covariance of its multinomial entries, so that
n vec(Lambda)^T Omega^+ vec(Lambda) is chi-square with (I - r)(J - r) degrees of freedom: the statistic of Kleibergen and Paap.
That the margins are estimated changes nothing, because R V_2 = 0 under the hypothesis.

U_2 and V_2 are made of random vectors that don't look at the data, less their part in the first r singular vectors; all of them
where they are few, or as many as MAX_DF allows. Leading singular vectors of the trailing part would be those that the noise has
made largest, and so, by a fixed share, would a rotation of all of them be.

``cca`` is the test of Bartlett and Lawley for canonical correlations of indicators, of which a table of rank r has r - 1:

    -(n - 1 - (I + J - 1)/2 + sum_{i<r} rho_i^{-2}) sum_{i>=r} log(1 - rho_i^2)                             (2)

It takes the indicators for normal variables and is approximate for it.

References: Kleibergen and Paap (2006), "Generalized reduced rank tests using the singular value decomposition"; Lawley (1959).
"""

from __future__ import annotations

import functools
import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from robust_rl.errors import InvalidArgumentError

Floats = NDArray[np.float64]
METHODS = ("kp", "cca")
MAX_DF = 30
"""Of a test: each further degree costs power and a column of Omega."""


@dataclass(frozen=True)
class RankTestResult:
    """A test of rank(P) <= r.

    Attributes
    ----------
    statistic, df, pvalue
        Of the chi-square test; with ``df`` 0 the table is too small to contradict, and ``pvalue`` is 1.
    singular_values
        Of the scaled table, largest first; the first is 1.
    """

    statistic: float
    df: int
    pvalue: float
    singular_values: Floats


def rank_test(table: object, r: int, method: str = "kp", *, min_expected: float = 8) -> RankTestResult:
    """Test whether a table of counts could come from a distribution whose table has rank r or less.

    Parameters
    ----------
    table
        Counts, shape (I, J).
    r
        The rank, >= 1.
    method
        ``"kp"``, or ``"cca"``.
    min_expected
        Rows and columns whose cells would count less than this, on average, are pooled.

    Raises
    ------
    InvalidArgumentError
        The table isn't one of counts, or an argument is out of range.

    Examples
    --------
    >>> rank_test([[30, 31], [60, 61]], 1).pvalue > 0.9
    True
    >>> rank_test([[80, 20], [30, 90]], 1).pvalue < 1e-6
    True
    """
    counts = np.asarray(table, float)
    if counts.ndim != 2 or not np.isfinite(counts).all() or counts.min(initial=0) < 0 or counts.sum() == 0:
        raise InvalidArgumentError(f"a table of counts is needed, of two axes and not all zero; this has shape {counts.shape}")
    if method not in METHODS:
        raise InvalidArgumentError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if r < 1:
        raise InvalidArgumentError(f"r is {r}; a rank to test is at least 1")
    if counts.shape[0] > counts.shape[1]:  # the longer side is pooled first
        counts = counts.T
    counts = _pooled(_pooled(counts.T, min_expected).T, min_expected)
    n = counts.sum()
    p = counts / n
    rows, columns = np.sqrt(p.sum(1)), np.sqrt(p.sum(0))
    u, s, vt = np.linalg.svd(p / rows[:, None] / columns, full_matrices=False)
    if min(p.shape) <= r:
        return RankTestResult(0.0, 0, 1.0, s)
    if method == "cca":
        statistic, df = _bartlett_lawley(s, r, n, p.shape)
    else:
        left = _complement(u[:, :r], MAX_DF) / rows[:, None]
        right = _complement(vt[:r].T, max(1, MAX_DF // left.shape[1])) / columns[:, None]
        statistic, df = _kleibergen_paap(p, left, right, n)
    return RankTestResult(statistic, df, float(chi2.sf(statistic, df)), s)


def _kleibergen_paap(p: Floats, left: Floats, right: Floats, n: float) -> tuple[float, int]:
    """Return the statistic of eq. 1 and its degrees; left = D_r^{-1/2} U_2, right = D_c^{-1/2} V_2."""
    i, j = np.nonzero(p)
    entries = (left[i][:, :, None] * right[j][:, None, :]).reshape(len(i), -1)
    mean = p[i, j] @ entries
    omega = (entries * p[i, j][:, None]).T @ entries - np.outer(mean, mean)
    solved = np.linalg.lstsq(omega, mean, rcond=1e-10)[0]
    return float(n * mean @ solved), len(mean)


def _complement(leading: Floats, count: int) -> Floats:
    """Return orthonormal directions without a part in the leading ones, at most so many."""
    size, r = leading.shape
    count = min(count, size - r)
    drawn = _random_vectors(size)[:, :count]
    return np.linalg.qr(drawn - leading @ (leading.T @ drawn))[0]


@functools.cache
def _random_vectors(size: int) -> Floats:
    return np.random.default_rng(size).normal(size=(size, size))


def _bartlett_lawley(s: Floats, r: int, n: float, shape: tuple[int, int]) -> tuple[float, int]:
    """Return the statistic of eq. 2 and its degrees."""
    squares = np.clip(s[1:] ** 2, 1e-12, 1 - 1e-12)
    factor = n - 1 - (sum(shape) - 1) / 2 + (1 / squares[: r - 1]).sum()
    return float(max(factor, 1.0) * -np.log1p(-squares[r - 1 :]).sum()), (shape[0] - r) * (shape[1] - r)


def _pooled(counts: Floats, expected: float) -> Floats:
    """Return the table with its two smallest rows added up until a cell's mean expected count is enough in each."""
    rows = [(row.sum(), i, row) for i, row in enumerate(counts) if row.any()]
    heapq.heapify(rows)
    while len(rows) > 1 and rows[0][0] < expected * counts.shape[1]:
        (some, _, one), (more, i, other) = heapq.heappop(rows), heapq.heappop(rows)
        heapq.heappush(rows, (some + more, i + len(counts), one + other))
    return np.array([row for _, _, row in sorted(rows, key=lambda entry: entry[1])])
