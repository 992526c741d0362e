r"""How far a distribution may be from what n independent draws from it show.

n(s') draws out of n came out as s', phat = n(.)/n; every bound fails with probability at most delta.

Weissman (2003), theorem 2.1, with phi >= 2, for a distribution on m outcomes. Total variation is the largest difference over
events, an event and its complement give the same, and the empty one gives 0, so Hoeffding for 2^m - 2 events says

    P( TV(p, phat) >= t )  <=  (2^m - 2) exp(-2 n t^2)                                                                    (1)

Hoeffding (1963), theorem 2, for one probability, and Clopper and Pearson (1934), by the exact binomial tails, delta / 2 each:

    |p(s') - phat(s')|  <=  sqrt( ln(2 / delta) / (2 n) )                                                                 (2)
    B(delta/2; k, n-k+1)  <=  p(s')  <=  B(1 - delta/2; k+1, n-k),     k = n(s'),  B the quantile of the beta law         (3)

Distance to a distribution p0 that was fixed before the draws. TV(p, p0) = p(E) - p0(E) for one event E, which p and p0 fix and
the draws don't move. So one upper confidence bound on one binomial probability is enough, however many outcomes there are; which
event it is isn't known, hence the largest over all:

    TV(p, p0)  <=  max_E  U(n(E)) - p0(E),     U(k) = B(1 - delta; k+1, n-k)                                              (4)

Outcomes that were never drawn only lower (4), so E runs over the events of those drawn: 2^w of w. By Hoeffding's wider U,
U(k) = k/n + sqrt( ln(1/delta) / (2n) ), the maximum is

    TV(p, p0)  <=  TV(phat, p0) + sqrt( ln(1/delta) / (2 n) )                                                             (5)

(5) is never below (4), since the exact tail inverted in (4) is never above Hoeffding's; so it may stand in wherever 2^w is too
many. At n draws that all agree with a certain p0, (4) falls like ln(1/delta) / n, and (5) like its square root.

======  =========  ==============================================
symbol  here       meaning
======  =========  ==============================================
n       n          draws
k       k          draws that came out as the state, or in the event
m       outcomes   number of possible outcomes
delta   delta      probability that the bound fails
======  =========  ==============================================

(4) and (5) are derived here. References: Weissman, Ordentlich, Seroussi, Verdu and Weinberger (2003), "Inequalities for the L1
deviation of the empirical distribution"; Hoeffding (1963); Clopper and Pearson (1934).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.special import betainccinv, betaincinv

Array = NDArray[np.float64]
MOST_OUTCOMES = 8  # 256 events a row; beyond, eq. 5
BLOCK = 1_000_000  # events held at a time


def weissman(n: ArrayLike, outcomes: ArrayLike, delta: ArrayLike) -> Array:
    """Return the radius in total variation around phat, eq. 1; 1 without draws, 0 where there is but one outcome."""
    n, m = np.asarray(n, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        events = m * np.log(2.0) + np.log1p(-(2.0 ** (1 - m)))  # ln(2^m - 2)
        radius = np.sqrt(np.maximum(events - np.log(delta), 0.0) / (2 * n))
    return np.where(m <= 1, 0.0, np.where(n > 0, np.fmin(radius, 1.0), 1.0))


def hoeffding(k: ArrayLike, n: ArrayLike, delta: ArrayLike) -> tuple[Array, Array]:
    """Return lower and upper bound on a probability, eq. 2; 0 and 1 without draws."""
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    draws = np.maximum(n, 1.0)
    reach = np.sqrt(np.log(2 / np.asarray(delta)) / (2 * draws))
    lower, upper = np.maximum(k / draws - reach, 0.0), np.minimum(k / draws + reach, 1.0)
    return np.where(n > 0, lower, 0.0), np.where(n > 0, upper, 1.0)


def clopper_pearson(k: ArrayLike, n: ArrayLike, delta: ArrayLike) -> tuple[Array, Array]:
    """Return lower and upper bound on a probability, eq. 3; 0 and 1 without draws."""
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    half = np.asarray(delta) / 2
    lower = betaincinv(np.maximum(k, 1.0), n - k + 1, half)
    return np.where(k > 0, lower, 0.0), binomial_upper(k, n, half)


def binomial_upper(k: ArrayLike, n: ArrayLike, delta: ArrayLike) -> Array:
    """Return the upper bound U(k) of eq. 4 on a probability."""
    k, n = np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64)
    return np.where(k < n, betainccinv(k + 1, np.maximum(n - k, 1.0), delta), 1.0)


def distance(counts: sparse.csr_array, fixed: sparse.csr_array) -> Array:
    """Return TV(phat, p0) of every row, (n,); 0 in rows without draws."""
    n = np.asarray(counts.sum(axis=1)).ravel()
    empirical = sparse.diags_array(1 / np.maximum(n, 1.0)) @ counts
    apart = np.asarray(abs(empirical - fixed).sum(axis=1)).ravel() / 2
    return np.where(n > 0, apart, 0.0)


def distance_bound(counts: sparse.csr_array, fixed: sparse.csr_array, delta: Array) -> Array:
    """Return the bound on TV(p, p0) of every row, (n,): eq. 4, or eq. 5 for rows of many outcomes; 1 without draws.

    Parameters
    ----------
    counts : CSR of shape (rows, S), without stored zeros
    fixed : CSR of shape (rows, S)
        p0, which doesn't depend on the draws.
    delta : (rows,) array
    """
    n, drawn = np.asarray(counts.sum(axis=1)).ravel(), np.diff(counts.indptr)
    with np.errstate(divide="ignore"):
        bound = distance(counts, fixed) + np.sqrt(np.log(1 / delta) / (2 * n))  # eq. 5
    for outcomes in np.unique(drawn[(drawn > 0) & (drawn <= MOST_OUTCOMES)]):
        alike = np.flatnonzero(drawn == outcomes)
        for rows in np.array_split(alike, 1 + len(alike) * 2**outcomes // BLOCK):
            entries = counts.indptr[rows][:, None] + np.arange(outcomes)
            p0 = np.asarray(fixed[np.repeat(rows, outcomes), counts.indices[entries].ravel()]).reshape(entries.shape)
            bound[rows] = _largest_over_events(counts.data[entries], p0, delta[rows])
    return np.asarray(np.clip(bound, 0.0, 1.0))


def _largest_over_events(counts: Array, p0: Array, delta: Array) -> Array:
    """Return eq. 4 for rows (rows, w) of outcomes that were drawn."""
    outcomes = counts.shape[1]
    events = (np.arange(2**outcomes)[:, None] >> np.arange(outcomes)) & 1
    inside = counts @ events.T
    upper = binomial_upper(inside, counts.sum(axis=1)[:, None], delta[:, None])
    return np.asarray((upper - p0 @ events.T).max(axis=1))
