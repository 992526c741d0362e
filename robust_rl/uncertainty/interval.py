"""Interval sets:  U = { q : l <= q <= u, sum q = 1 },  among them the L-infinity ball  l = max(p - k, 0), u = min(p + k, 1).

The worst case starts from q = l and raises entries to u in ascending order of z until the mass is 1 (O-maximisation of
interval MDPs). The entry t that is raised last is the threshold: z_t is the multiplier of sum q = 1, and for the L-infinity
ball the price of the radius is the sum of |z_i - z_t| over the entries that the radius actually binds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl._numba import dot, njit, vectorised
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import RectangularSet, SupportedSet
from robust_rl.uncertainty.layout import Layout, Model, lay_out
from robust_rl.uncertainty.sweeps import Sweeps, folded, shared

Array = NDArray[np.float64]


@njit
def raise_from_below(z, order, lower, upper, q):  # type: ignore[no-untyped-def]
    """Fill q and return the position, in order, of the last entry raised."""
    q[:] = lower
    left = 1.0 - np.sum(lower)
    threshold = 0
    for t in range(len(z)):
        i = order[t]
        threshold = t
        room = upper[i] - lower[i]
        if room >= left:
            q[i] += max(left, 0.0)
            break
        q[i] = upper[i]
        left -= room
    return threshold


@njit
def _interval_row(p, z, order, radius, lower, upper, q):  # type: ignore[no-untyped-def]
    threshold = raise_from_below(z, order, lower, upper, q)
    return dot(q, z), z[order[threshold]]


@njit
def _ball_row(p, z, order, radius, lower, upper, q):  # type: ignore[no-untyped-def]
    reach = max(radius, 1e-12)  # at radius 0 the price is that of the radii just above
    level = z[order[raise_from_below(z, order, np.maximum(p - reach, 0.0), np.minimum(p + reach, 1.0), q)]]
    if radius == 0.0:
        q[:] = p
    price = 0.0
    for i in range(len(p)):
        if (z[i] > level and p[i] > radius) or (z[i] < level and p[i] + radius < 1):
            price += abs(z[i] - level)
    return dot(q, z), price


@njit
def _start(radius, slack):  # type: ignore[no-untyped-def]
    return 0.0, slack


@njit
def _step_between(state, z, lower, upper, radius, slack):  # type: ignore[no-untyped-def]
    value, left = state
    raised = min(upper - lower, left)
    return value + (lower + raised) * z, left - raised


@njit
def _step_around(state, z, p, u, radius, slack):  # type: ignore[no-untyped-def]
    return _step_between(state, z, max(p - radius, 0.0), min(p + radius, 1.0), radius, slack)


@njit
def _finish(state, lowest, radius, slack):  # type: ignore[no-untyped-def]
    return state[0]


@njit
def _full_interval(lower, upper, z, order, lowest, radius, slack, memory):  # type: ignore[no-untyped-def]
    """The lower bounds are one product; no more of the row is visited in order than what is raised."""
    value, left = dot(lower, z), slack
    for t in range(len(z)):
        k = order[t]
        room = upper[k] - lower[k]
        if room >= left:
            return value + left * z[k], memory
        value += room * z[k]
        left -= room
    return value, memory


@njit
def _full_ball(p, u, z, order, lowest, radius, slack, memory):  # type: ignore[no-untyped-def]
    value, left = _above(p, z, radius), slack
    for t in range(len(z)):
        k = order[t]
        room = min(p[k] + radius, 1.0) - max(p[k] - radius, 0.0)
        if room >= left:
            return value + left * z[k], memory
        value += room * z[k]
        left -= room
    return value, memory


@vectorised
def _above(p, z, radius):  # type: ignore[no-untyped-def]
    """Sum of max(p - radius, 0) z."""
    total = 0.0
    for i in range(len(p)):
        total += max(p[i] - radius, 0.0) * z[i]
    return total


_short_intervals = folded(_start, _step_between, _finish, ordered=True)
_full_intervals = shared(_full_interval)
_short_balls = folded(_start, _step_around, _finish, ordered=True)
_full_balls = shared(_full_ball)


@njit
def short_intervals(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows between bounds."""
    _short_intervals(*arguments)


@njit
def full_intervals(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows between bounds."""
    _full_intervals(*arguments)


@njit
def short_balls(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows around p."""
    _short_balls(*arguments)


@njit
def full_balls(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows around p."""
    _full_balls(*arguments)


class LInfinity(SupportedSet):
    """Ball ``max_i |q_i - p_i| <= radius``: every transition probability is known up to the radius.

    Parameters
    ----------
    radius : float in [0, 1], or (S, A) array
        Largest change of one probability.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        See :mod:`robust_rl.uncertainty.layout`. Free rows are written out in full, S entries each.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is outside [0, 1] or the support isn't given.

    Examples
    --------
    >>> worst = LInfinity(0.1, support="nominal").worst_case([0.3, 0.3, 0.4], [1.0, 2.0, 3.0])
    >>> worst.q
    array([0.4, 0.3, 0.3])
    """

    name = "linf"
    norm = "largest change of one probability"
    row = _ball_row
    sweeps = Sweeps(short_balls, full_balls, ordered=True)
    every_state = True
    largest = 1.0

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return p and the radii, and as slack the mass that lower bounds leave to raise."""
        return layout.p, None, radii, layout.row_sums(np.minimum(layout.p, layout.spread(radii)))


class Interval(RectangularSet):
    """Interval MDP: ``lower <= q <= upper``, whatever the nominal row.

    Parameters
    ----------
    lower, upper : scalars, arrays that broadcast to (S, A, S), or CSR matrices of shape (S*A, S)
        Bounds on each transition probability. States with ``upper == 0`` are out of reach.

    Raises
    ------
    InvalidUncertaintyError
        If a bound is outside [0, 1], lower > upper somewhere, or a row admits no distribution; the message names the row.

    Examples
    --------
    >>> worst = Interval([0.1, 0.2, 0.0], [0.6, 0.9, 0.5]).worst_case([0.3, 0.4, 0.3], [3.0, 2.0, 1.0])
    >>> float(worst.value), worst.q
    (1.6, array([0.1, 0.4, 0.5]))
    """

    name = "interval"
    row = _interval_row
    sweeps = Sweeps(short_intervals, full_intervals, ordered=True)

    def __init__(self, lower: Any, upper: Any) -> None:
        self.lower, self.upper = _bound(lower, "lower"), _bound(upper, "upper")
        if not sparse.issparse(self.lower) and not sparse.issparse(self.upper) and np.any(np.greater(self.lower, self.upper)):
            raise InvalidUncertaintyError("Interval: lower exceeds upper somewhere; intervals must not be empty")

    def describe(self) -> dict[str, Any]:
        """Return the bounds."""
        return {"lower": self.lower, "upper": self.upper}

    def lay_out(self, model: Model) -> Layout:
        """Lay a model out over the states with a positive upper bound, and check that every row admits a distribution."""
        layout = lay_out(model, self._support(model), every_state=True)
        self.check(layout, lambda row: f"(s={row // model.num_actions}, a={row % model.num_actions})")
        return layout

    def _support(self, model: Model) -> Any:
        """States with a positive upper bound, and the nominal successors, which bounds of zero then keep empty."""
        if sparse.issparse(self.upper):
            return sparse.csr_array(self.upper + model.csr())
        shape = (model.num_states, model.num_actions, model.num_states)
        if self.upper.ndim == 3 and self.upper.shape != shape:
            raise InvalidUncertaintyError(f"Interval: upper has shape {self.upper.shape}; expected {shape}")
        reach = np.broadcast_to(self.upper, shape) > 0
        return "free" if reach.all() else reach | (model.csr().toarray().reshape(shape) > 0)

    def bounds(self, layout: Layout) -> tuple[Array, Array]:
        """Return lower and upper bound of each entry of the layout."""
        row, column = layout.coordinates()
        shape = (len(layout.row_reward), layout.num_states)
        return _entries(self.lower, row, column, shape, "lower"), _entries(self.upper, row, column, shape, "upper")

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return the bounds, and as slack the mass that lower bounds leave to raise."""
        lower, upper = bounds
        return lower, upper, radii, 1 - layout.row_sums(lower)

    def check(self, layout: Layout, where: Callable[[int], str]) -> None:
        """Raise InvalidUncertaintyError if a row's bounds cross, or admit no distribution."""
        lower, upper = self.bounds(layout)
        row, _ = layout.coordinates()
        crossed = np.flatnonzero(lower > upper)
        if crossed.size:
            e = crossed[0]
            raise InvalidUncertaintyError(f"Interval: lower {lower[e]:g} exceeds upper {upper[e]:g} in row {where(int(row[e]))}")
        lowest, highest = (np.bincount(row, bound, len(layout.row_reward)) for bound in (lower, upper))
        empty = layout.rows[(lowest[layout.rows] > 1 + 1e-9) | (highest[layout.rows] < 1 - 1e-9)]
        if empty.size:
            i = int(empty[0])
            raise InvalidUncertaintyError(
                f"Interval: row {where(i)} admits no distribution: lower bounds sum to {lowest[i]:.6g}, upper to {highest[i]:.6g}"
            )

    def _allowed(self, p: Array, allowed: ArrayLike | None) -> NDArray[np.bool_]:
        return np.ones(p.shape, dtype=bool) if allowed is None else np.broadcast_to(np.asarray(allowed, dtype=bool), p.shape)


def _bound(values: Any, name: str) -> Any:
    if sparse.issparse(values):
        matrix = sparse.csr_array(values, dtype=np.float64)
        entries = matrix.data
    else:
        matrix = entries = np.asarray(values, dtype=np.float64)
    if not ((entries >= 0) & (entries <= 1)).all():
        raise InvalidUncertaintyError(f"Interval: {name} has an entry outside [0, 1]; bounds are probabilities")
    return matrix


def _entries(bound: Any, row: NDArray[np.int64], column: NDArray[np.int32], shape: tuple[int, int], name: str) -> Array:
    if sparse.issparse(bound):
        if bound.shape != shape:
            raise InvalidUncertaintyError(f"Interval: {name} has shape {bound.shape}; expected {shape}")
        return np.ascontiguousarray(np.asarray(bound[row, column]).ravel(), dtype=np.float64)
    try:
        full = np.broadcast_to(bound, shape) if bound.ndim < 3 else bound.reshape(shape)
    except ValueError:
        raise InvalidUncertaintyError(
            f"Interval: {name} has shape {bound.shape}, which doesn't fit rows of shape {shape}"
        ) from None
    return np.ascontiguousarray(full[row, column])
