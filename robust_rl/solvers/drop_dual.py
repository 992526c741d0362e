"""The exact inner problem of DROP, for all d coordinates at once.

    nu_i = max_{alpha >= m} f_i(alpha),    f_i(alpha) = sum_t w_ti min(V_t, alpha) - rho_i (alpha - m)                        (1)

with ridge weights w_t = Lambda^{-1} phi_t and m = min_s V(s) <= min_t V_t. They may be negative, so f_i is piecewise linear
but not concave and a local search can stop at a local maximum. Its maximum is at a breakpoint, m or some V_t: beyond the
largest V_t the slope is -rho_i. With V_1 <= V_2 <= .. and the running sums A = sum_{t<=k} w_t V_t and B = sum_{t>k} w_t,

    f(V_k) = A + V_k B - rho (V_k - m),    f(m) = m sum_t w_t,    slope beyond V_k: B - rho.                                  (2)

The weights of all transitions are a product of (K, d) with (d, d), as dear as Lambda itself, and most of it isn't needed. Sums
of phi_t and phi_t V_t over blocks of consecutive V give (2) at the ends of blocks. From a block's left end, where the slope is
B - rho, to its right end the slope rises to no more than B - rho + N and falls to no less than its last value less N, with

    N_i = sum_j max(-[Lambda^{-1}]_ij, 0) sum_{t in block} phi_tj  >=  sum_{t in block} max(-w_ti, 0)                         (3)

because phi >= 0. That bounds f_i inside the block, and only where the bound exceeds the best end are weights formed.

Where rho_i = 0 the factor can't move and (1) has nothing to choose: nu_i = sum_t w_ti V_t, the least-squares value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit

Array = NDArray[np.float64]
BLOCKS, FEWEST = 512, 64  # at most so many blocks, of at least so many transitions


@njit
def _block_sums(phi, precision, values, order, size):  # type: ignore[no-untyped-def]
    """Return the sums of weighted phi_t and of phi_t V_t over blocks of ``size`` transitions in order, each (blocks, d)."""
    blocks = (len(order) + size - 1) // size
    plain, valued = np.zeros((blocks, phi.shape[1])), np.zeros((blocks, phi.shape[1]))
    for k in range(len(order)):
        block, t = k // size, order[k]
        for i in range(phi.shape[1]):
            weighted = precision[t] * phi[t, i]
            plain[block, i] += weighted
            valued[block, i] += weighted * values[t]
    return plain, valued


@njit
def _scan(weights, values, radius, lowest, below, above, best):  # type: ignore[no-untyped-def]
    """Go on with eq. (2) over rows of ascending value: weights (c, d), values (c,)."""
    for t in range(len(values)):
        value = values[t]
        for i in range(weights.shape[1]):
            weight = weights[t, i]
            below[i] += weight * value
            above[i] -= weight
            best[i] = max(best[i], below[i] + value * above[i] - radius[i] * (value - lowest))


def exact_dual(phi: Array, values: Array, inverse: Array, radius: Array, lowest: float, precision: Array | None = None) -> Array:
    """Return nu of eq. (1), (d,).

    Parameters
    ----------
    phi : (K, d) array
        Features, non-negative.
    values : (K,) array
        V at each next state.
    inverse : (d, d) array
        Lambda^{-1}, symmetric.
    radius : (d,) array
        rho, in total variation.
    lowest : float
        m, at most the smallest of ``values``.
    precision : (K,) array, optional
        1 / sigma^2_t by which phi_t is weighted, above 0; None weights all alike.
    """
    phi, order = np.ascontiguousarray(phi), np.argsort(values, kind="stable")
    precision = np.ones(len(phi)) if precision is None else precision
    size = max(-(-len(order) // BLOCKS), FEWEST)
    plain, valued = _block_sums(phi, precision, values, order, size)
    below = _running(valued) @ inverse  # A at the left end of each block, and at the last right end
    above = (plain.sum(axis=0) - _running(plain)) @ inverse  # B
    if not radius.any():
        return np.asarray(below[-1])
    ends = np.concatenate([[lowest], values[order[np.minimum(np.arange(size, len(order) + size, size), len(order)) - 1]]])
    at_ends = below + ends[:, None] * above - radius * (ends[:, None] - lowest)  # eq. 2
    best = at_ends.max(axis=0)
    rise = plain @ np.maximum(-inverse, 0.0)  # eq. 3
    open_blocks = _bound(at_ends, above - radius, rise, ends) > best
    for block in np.flatnonzero(open_blocks.any(axis=1)):
        rows, some = order[block * size : (block + 1) * size], np.flatnonzero(open_blocks[block])
        found = best[some]
        weights = (phi[rows] * precision[rows, None]) @ inverse[:, some]
        _scan(weights, values[rows], radius[some], lowest, below[block, some], above[block, some], found)
        best[some] = found
    return np.asarray(np.where(radius == 0, below[-1], best))


def _running(sums: Array) -> Array:
    """Return sums over the blocks before each, and over all."""
    return np.asarray(np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)]))


def _bound(at_ends: Array, slope: Array, rise: Array, ends: Array) -> Array:
    """Return what f can't exceed in each block: it climbs from its left end, or falls to its right one, at the extreme slope."""
    width = np.diff(ends)[:, None]
    from_left = at_ends[:-1] + width * np.maximum(slope[:-1] + rise, 0.0)
    from_right = at_ends[1:] + width * np.maximum(rise - slope[1:], 0.0)
    return np.minimum(from_left, from_right)
