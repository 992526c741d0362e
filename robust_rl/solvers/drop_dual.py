"""The exact inner problem of DROP, for all d coordinates at once.

    nu_i = max_{alpha >= m} f_i(alpha),    f_i(alpha) = sum_t w_ti min(V_t, alpha) - rho_i (alpha - m)                        (1)

with ridge weights w_t = Lambda^{-1} phi_t and m = min_s V(s) <= min_t V_t. They may be negative, so f_i is piecewise linear
but not concave and a local search can stop at a local maximum. Its maximum is at a breakpoint, m or some V_t: beyond the
largest V_t the slope is -rho_i. With V_1 <= V_2 <= .. and the running sums A = sum_{t<=k} w_t V_t and B = sum_{t>k} w_t,

    f(V_k) = A + V_k B - rho (V_k - m),    f(m) = m sum_t w_t.                                                                (2)

Where rho_i = 0 the factor can't move and (1) has nothing to choose: nu_i = sum_t w_ti V_t, the least-squares value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl._numba import njit

Array = NDArray[np.float64]
ENTRIES = 1 << 21  # ridge weights held at a time, 16 MB


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


def exact_dual(phi: Array, values: Array, inverse: Array, radius: Array, lowest: float) -> Array:
    """Return nu of eq. (1), (d,).

    Parameters
    ----------
    phi : (K, d) array
        Features; for a weighted regression, already divided by the variances.
    values : (K,) array
        V at each next state.
    inverse : (d, d) array
        Lambda^{-1}, symmetric.
    radius : (d,) array
        rho, in total variation.
    lowest : float
        m, at most the smallest of ``values``.
    """
    order = np.argsort(values, kind="stable")
    above = phi.sum(axis=0) @ inverse  # B before the first row
    below, best = np.zeros(len(inverse)), lowest * above  # f(m)
    block = max(ENTRIES // len(inverse), 1)
    for begin in range(0, len(order), block):
        rows = order[begin : begin + block]
        _scan(phi[rows] @ inverse, values[rows], radius, lowest, below, above, best)
    return np.where(radius == 0, below, best)
