"""Weighted L1 ball:  U = { q on the support : sum_i w_i |q_i - p_i| <= kappa }.

At a price lambda of the constraint, mass that moves goes to a state r of least  z_i + lambda w_i,  and a state i gives away
all that it has once  z_i - lambda w_i > z_r + lambda w_r.  As lambda falls from infinity to 0 this changes at two kinds of knot:

========  ====================================  ===========================================  ========================
knot      lambda                                what happens                                 kappa spent
========  ====================================  ===========================================  ========================
giving    max_r (z_i - z_r) / (w_i + w_r)       donor i moves p_i to the receiver            p_i (w_i + w_r)
handover  (z_r - z_s) / (w_s - w_r), w_s > w_r  receiver r hands all it was given on to s    its excess (w_s - w_r)
========  ====================================  ===========================================  ========================

The receivers, over all lambda, are the lower envelope of the lines  z_i + lambda w_i.  Walking down the knots until kappa is
spent gives the value, which is convex and piecewise linear in kappa, the worst case, and as multiplier the lambda of the last
knot: minus the right derivative of the value in kappa. Equal weights have one receiver, a lowest z, and no handover: the L1
ball. If kappa ends inside a knot, part of it is moved.

References: Ho, Petrik and Wiesemann (2018, 2021) for homotopy on weighted L1 sets; the form above is linear programming duality.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from robust_rl._numba import dot, njit
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import Array, SupportedSet
from robust_rl.uncertainty.layout import Layout, Support
from robust_rl.uncertainty.sweeps import Sweeps, gathered


@njit
def _envelope(w, z, order, receivers, handover):  # type: ignore[no-untyped-def]
    """Write the lower envelope of z + lambda w, from lambda = 0 up, and where each line of it begins; return its length."""
    size = 0
    for t in range(len(z)):
        i = order[t]
        if size > 0 and w[i] >= w[receivers[size - 1]]:
            continue
        start = 0.0
        while size > 0:
            j = receivers[size - 1]
            start = (z[i] - z[j]) / (w[j] - w[i])
            if start > handover[size - 1]:
                break
            size -= 1
            start = 0.0
        receivers[size], handover[size] = i, start
        size += 1
    return size


@njit
def _giving(i, w, z, receivers, handover, size):  # type: ignore[no-untyped-def]
    """The lambda below which i gives; 0 if it never does. Bisection for the line of the envelope that z_i - lambda w_i meets."""
    if z[i] <= z[receivers[0]]:
        return 0.0
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        r, price = receivers[middle], handover[middle]
        if z[i] - price * w[i] > z[r] + price * w[r]:
            low = middle
        else:
            high = middle
    r = receivers[low]
    knot = (z[i] - z[r]) / (w[i] + w[r])
    # a receiver hands over before it gives: rounding must not swap the two
    return min(knot, handover[high]) if high < size else knot


@njit
def _sort_by(knots, donors):  # type: ignore[no-untyped-def]
    """Write the order of ascending knots into donors."""
    if len(knots) > 32:
        donors[:] = np.argsort(knots, kind="mergesort")
        return
    for i in range(len(knots)):
        t = i
        while t > 0 and knots[donors[t - 1]] > knots[i]:
            donors[t] = donors[t - 1]
            t -= 1
        donors[t] = i


@njit
def _knots(w, z, order):  # type: ignore[no-untyped-def]
    """Return receivers, where they hand over, how many there are, the donors in ascending order of knot, and the knots."""
    places, prices = np.empty((2, len(z)), np.int64), np.empty((2, len(z)))
    receivers, donors, handover, knots = places[0], places[1], prices[0], prices[1]
    size = _envelope(w, z, order, receivers, handover)
    for i in range(len(z)):
        knots[i] = _giving(i, w, z, receivers, handover, size)
    _sort_by(knots, donors)
    return receivers, handover, size, donors, knots


@njit
def _walk(p, w, z, kappa, path):  # type: ignore[no-untyped-def]
    """Walk down the knots until kappa is spent.

    Returns how much the expectation falls, the multiplier, the place in ``donors`` and in ``receivers`` where the walk ends,
    the receiver's excess there, and the mass moved within the last knot: negative if that is a handover.
    """
    receivers, handover, size, donors, knots = path
    left, excess, fall = kappa, 0.0, 0.0
    t, r = len(z) - 1, size - 1
    while True:
        while t >= 0 and p[donors[t]] <= 0.0:
            t -= 1
        giving = knots[donors[t]] if t >= 0 else 0.0
        if handover[r] >= giving:
            if r == 0:
                return fall, 0.0, t, r, excess, 0.0
            i, s = receivers[r], receivers[r - 1]
            unit = w[s] - w[i]
            if excess > 0.0 and excess * unit >= left:
                moved = min(left / unit, excess)
                return fall + moved * (z[i] - z[s]), handover[r], t, r, excess, -moved
            left -= excess * unit
            fall += excess * (z[i] - z[s])
            r -= 1
        else:
            i, s = donors[t], receivers[r]
            unit = w[i] + w[s]
            if p[i] * unit >= left:
                moved = min(left / unit, p[i])
                return fall + moved * (z[i] - z[s]), giving, t, r, excess, moved
            left -= p[i] * unit
            fall += p[i] * (z[i] - z[s])
            excess += p[i]
            t -= 1


@njit
def row(p, z, order, kappa, weights, unused, q):  # type: ignore[no-untyped-def]
    """Write the worst case into q; return the value and the multiplier."""
    path = _knots(weights, z, order)
    receivers, _, _, donors, _ = path
    _, multiplier, t, r, excess, moved = _walk(p, weights, z, kappa, path)
    q[:] = p
    for k in range(t + 1, len(p)):
        q[donors[k]] = 0.0
    q[receivers[r]] += excess
    if moved > 0.0:
        q[donors[t]] -= moved
        q[receivers[r]] += moved
    elif moved < 0.0:
        q[receivers[r]] += moved
        q[receivers[r - 1]] -= moved
    return dot(q, z), multiplier


@njit
def _short_row(p, w, z, order, lowest, kappa, slack, memory):  # type: ignore[no-untyped-def]
    return dot(p, z) - _walk(p, w, z, kappa, _knots(w, z, order))[0], memory


_short_rows = gathered(_short_row, ordered=True)


@njit
def short_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows."""
    _short_rows(*arguments)


@njit
def full_rows(ptr, p, w, row_reward, radius, slack, memory, z, order, lowest, groups, rows, first, last, out, best):  # type: ignore[no-untyped-def]
    """Sweep over full rows that share z. If they share the weights too (one a state), then also the knots, found once."""
    shared = len(w) == len(z)
    path = _knots(w[: len(z)], z, order)
    for s in range(first, last):
        highest, chosen = -np.inf, np.uint64(0)
        for j in range(groups[s], groups[s + np.uint64(1)]):
            i = rows[j]
            a, b = ptr[i], ptr[i + np.uint64(1)]
            own = w
            if not shared:
                own = w[a:b]
                path = _knots(own, z, order)
            x = row_reward[i] + dot(p[a:b], z) - _walk(p[a:b], own, z, radius[i], path)[0]
            if x > highest:
                highest, chosen = x, i
        out[s], best[s] = highest, chosen


class WeightedL1(SupportedSet):
    """Ball ``sum_i weights_i |q_i - p_i| <= radius``: some transition probabilities are known better than others.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Weighted L1 distance. With weights of 1 it is that of :class:`L1`.
    weights : (S,) array, (S*A, S) or (S, A, S) array
        What it costs to change the probability of each next state; positive.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        Where the mass may go; see :mod:`robust_rl.uncertainty.layout`. Free rows are written out in full, S entries each.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative, a weight isn't positive, the weights don't fit the rows, or the support isn't given.

    Examples
    --------
    >>> worst = WeightedL1(1.0, weights=[1.0, 3.0, 1.0], support="free").worst_case([0.5, 0.5, 0.0], [1.0, 3.0, 0.0])
    >>> float(worst.value), worst.q
    (1.25, array([0.5 , 0.25, 0.25]))
    """

    name = "weighted-l1"
    norm = "weighted L1 distance"
    row = row
    sweeps = Sweeps(short_rows, full_rows, ordered=True)
    every_state = True

    def __init__(self, radius: ArrayLike, *, weights: ArrayLike, support: Support | None = None) -> None:
        super().__init__(radius, support=support)
        self.weights = _checked_weights(weights)

    def describe(self) -> dict[str, Any]:
        """Return radius, weights and support."""
        return {"radius": self.radius, "weights": self.weights, "support": self.support}

    def bounds(self, layout: Layout) -> tuple[Array, Array]:
        """Return the weight of each entry of the layout, which is what the row function reads in place of bounds."""
        row, column = layout.coordinates()
        shape = (len(layout.row_reward), layout.num_states)
        try:
            full = np.broadcast_to(self.weights, shape) if self.weights.ndim < 3 else self.weights.reshape(shape)
        except ValueError:
            raise InvalidUncertaintyError(
                f"WeightedL1: weights have shape {self.weights.shape}, which doesn't fit {shape[0]} rows over {shape[1]} states"
            ) from None
        entries = np.ascontiguousarray(full[row, column])
        return entries, entries

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return p and the weights, those of the states alone where all rows share them and z."""
        shared = layout.shares_order and self.weights.ndim == 1
        return layout.p, self.weights if shared else bounds[0], radii, radii


def _checked_weights(weights: ArrayLike) -> Array:
    try:
        values = np.array(weights, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise InvalidUncertaintyError(f"WeightedL1: weights {weights!r} are not numbers") from None
    if values.ndim == 0:
        raise InvalidUncertaintyError(
            "WeightedL1: weights must be one number a state, (S,), or (S, A, S); for equal weights use L1"
        )
    bad = np.argwhere(~((values > 0) & np.isfinite(values)))
    if bad.size:
        at = tuple(int(i) for i in bad[0])
        raise InvalidUncertaintyError(
            f"WeightedL1: weights[{', '.join(map(str, at))}] is {values[at]:g}; weights must be positive and finite"
        )
    return values
