"""Feature maps on the simplex: phi(s, a) >= 0 with sum_i phi_i(s, a) = 1, as d-rectangular uncertainty needs them.

With such features P(.|s, a) = sum_i phi_i(s, a) mu_i is a mixture of d factors, each of which an adversary may move on its own;
were a weight negative, or the sum not 1, a mixture of moved factors would no longer be a distribution.

Five maps describe the state by psi(s) on the simplex of R^k and keep a block of their own for each action:

    phi(s, a) = e_a (x) psi(s),    d = A k                                                                                    (1)

``OneHot`` and ``Aggregation`` take state indices; ``Tiles``, ``Hat`` and ``Radial`` numbers or vectors, (n,) or (n, m). What
they aren't told (number of states or actions, bounds) :meth:`FeatureMap.fit` reads from the data. ``Table`` is any phi of
finitely many states and actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.models.npz import read_array

Array = NDArray[np.float64]
Map = TypeVar("Map", bound="FeatureMap")
ROWS = 16_384  # observations whose features are held at a time


class FeatureMap:
    """Base of feature maps; one of your own needs ``num_actions``, ``dimension`` and ``__call__``.

    Attributes
    ----------
    num_actions : int
        A; actions are 0..A-1.
    dimension : int
        d.
    """

    num_actions: Any
    dimension: Any

    def __call__(self, observations: NDArray[Any], actions: NDArray[Any]) -> Array:
        """Return phi(s, a) of each row, (n, d)."""
        raise NotImplementedError(f"{type(self).__name__} must return phi(s, a), (n, d)")

    def fit(self: Map, data: OfflineDataset) -> Map:
        """Return the map with what it wasn't told read from the data."""
        return self

    def action_values(self, observations: NDArray[Any], weights: Array) -> Array:
        """Return <phi(s, a), w> for every action, (n, A)."""
        actions = range(self.num_actions)
        return np.stack([self(observations, np.full(len(observations), a)) @ weights for a in actions], axis=1)

    def every_state(self) -> NDArray[Any] | None:
        """Return all states there are, if the map knows."""
        return None


class StateFeatures(FeatureMap):
    """Eq. (1): a subclass gives ``encode`` and the number of state features, ``width``."""

    num_actions: int | None
    width: int

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return psi(s) of each row, (n, k)."""
        raise NotImplementedError(f"{type(self).__name__} must return psi(s), (n, k)")

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """The dimension d = A k."""
        return int(self.num_actions or 0) * self.width

    def __call__(self, observations: NDArray[Any], actions: NDArray[Any]) -> Array:
        """Return phi(s, a) of each row, (n, A k)."""
        rows, chosen = len(observations), _actions(actions, int(self.num_actions or 0))
        phi = np.zeros((rows, int(self.num_actions or 0), self.width))
        for begin in range(0, rows, ROWS):
            part = slice(begin, begin + ROWS)
            phi[np.arange(rows)[part], chosen[part]] = self.encode(observations[part])
        return phi.reshape(rows, -1)

    def action_values(self, observations: NDArray[Any], weights: Array) -> Array:
        """Return <phi(s, a), w> for every action, (n, A), without forming phi."""
        return np.asarray(self.encode(observations) @ weights.reshape(-1, self.width).T)

    def fit(self: Map, data: OfflineDataset) -> Map:
        """Return the map with the number of actions, if it isn't given, read from the data."""
        if self.num_actions is not None:
            return self
        return replace(self, num_actions=int(_actions(data.actions, None).max()) + 1)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Table(FeatureMap):
    """Features given for every state and action, ``phi`` (S, A, d), for states and actions that are indices."""

    phi: Array

    def __post_init__(self) -> None:
        if np.ndim(self.phi) != 3:
            raise InvalidArgumentError(f"phi has shape {np.shape(self.phi)}; expected (S, A, d)")
        object.__setattr__(self, "phi", np.asarray(self.phi, dtype=np.float64))
        check_rows(self.phi.reshape(-1, self.dimension), "Table")

    @property
    def num_actions(self) -> int:  # type: ignore[override]
        """A."""
        return int(self.phi.shape[1])

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """The dimension d."""
        return int(self.phi.shape[2])

    def __call__(self, observations: NDArray[Any], actions: NDArray[Any]) -> Array:
        """Return phi(s, a) of each row."""
        return np.asarray(self.phi[_states(observations, len(self.phi)), _actions(actions, self.num_actions)])

    def action_values(self, observations: NDArray[Any], weights: Array) -> Array:
        """Return <phi(s, a), w> for every action: the whole table once, since states repeat."""
        return np.asarray((self.phi @ weights)[_states(observations, len(self.phi))])

    def every_state(self) -> NDArray[Any]:
        """Return 0..S-1."""
        return np.arange(len(self.phi))


@dataclass(frozen=True)
class OneHot(StateFeatures):
    """One feature a state and action, d = S A: the tabular case. States and actions are indices."""

    num_states: int | None = None
    num_actions: int | None = None

    @property
    def width(self) -> int:  # type: ignore[override]
        """One feature a state."""
        return int(self.num_states or 0)

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return the unit vector of each state."""
        return _unit_vectors(_states(observations, self.width), self.width)

    def action_values(self, observations: NDArray[Any], weights: Array) -> Array:
        """Return the entries of w that belong to each state."""
        return np.asarray(weights.reshape(-1, self.width).T[_states(observations, self.width)])

    def fit(self, data: OfflineDataset) -> OneHot:
        """Return the map with the numbers of states and actions, where not given, one more than the largest seen."""
        full = super().fit(data)
        if full.num_states is not None:
            return full
        seen = np.concatenate([_states(data.observations, None), _states(data.next_observations, None)])
        return replace(full, num_states=int(seen.max()) + 1)

    def every_state(self) -> NDArray[Any] | None:
        """Return 0..S-1."""
        return None if self.num_states is None else np.arange(self.num_states)


@dataclass(frozen=True, eq=False)
class Aggregation(StateFeatures):
    """One feature a group of states and action: ``groups`` (S,) numbers the group of each state, from 0."""

    groups: Any
    num_actions: int | None = None

    def __post_init__(self) -> None:
        groups = np.asarray(self.groups)
        if groups.ndim != 1 or not len(groups) or groups.dtype.kind not in "iu" or groups.min() < 0:
            raise InvalidArgumentError("groups must be an array (S,) that numbers the group of each state, from 0")
        object.__setattr__(self, "groups", groups)

    @property
    def width(self) -> int:  # type: ignore[override]
        """The number of groups."""
        return int(self.groups.max()) + 1

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return the unit vector of each state's group."""
        return _unit_vectors(self.groups[_states(observations, len(self.groups))], self.width)

    def every_state(self) -> NDArray[Any]:
        """Return 0..S-1."""
        return np.arange(len(self.groups))


@dataclass(frozen=True, eq=False)
class BoxFeatures(StateFeatures):
    """Base of the maps on a box of R^m: ``bins`` along each axis from ``low`` to ``high``, the range of the data if not given.

    Observations beyond the box count as on its border.
    """

    bins: int
    low: Any = None
    high: Any = None
    num_actions: int | None = None

    fewest = 1

    def __post_init__(self) -> None:
        if self.bins < self.fewest:
            raise InvalidArgumentError(f"{type(self).__name__}: bins={self.bins}; it must be at least {self.fewest}")
        for name in ("low", "high"):
            bound = getattr(self, name)
            if bound is not None:
                object.__setattr__(self, name, np.atleast_1d(np.asarray(bound, dtype=np.float64)))
        if self.low is not None and self.high is not None and not (self.low < self.high).all():
            raise InvalidArgumentError(f"{type(self).__name__}: low={self.low} must be below high={self.high} along every axis")

    @property
    def width(self) -> int:  # type: ignore[override]
        """As many features as the grid has cells or knots."""
        return int(self.bins ** len(self.low))

    def fit(self: Any, data: OfflineDataset) -> Any:
        """Return the map with bounds and number of actions, where not given, read from the data."""
        points = np.concatenate([_points(data.observations), _points(data.next_observations)])
        low, high = points.min(axis=0), points.max(axis=0)
        flat = low == high  # an axis along which nothing ever differed still needs a width
        full = replace(
            self,
            low=low if self.low is None else self.low,
            high=np.where(flat, low + 1, high) if self.high is None else self.high,
        )
        return super(BoxFeatures, full).fit(data)

    def scaled(self, observations: NDArray[Any]) -> Array:
        """Return observations with the box as the unit cube, (n, m) in [0, 1]."""
        points = _points(observations)
        if points.shape[1] != len(self.low):
            raise InvalidArgumentError(f"{type(self).__name__}: observations have {points.shape[1]} axes, not {len(self.low)}")
        return np.asarray(np.clip((points - self.low) / (self.high - self.low), 0.0, 1.0))


class Tiles(BoxFeatures):
    """One feature a tile, ``bins`` tiles along each axis, and action."""

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return the unit vector of each observation's tile."""
        digits = np.minimum((self.scaled(observations) * self.bins).astype(np.intp), self.bins - 1)
        return _unit_vectors(np.ravel_multi_index(tuple(digits.T), (self.bins,) * digits.shape[1]), self.width)


class Hat(BoxFeatures):
    """Multilinear interpolation between ``bins`` knots along each axis: products of triangular functions."""

    fewest = 2

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return the weight of every knot: 1 at the knot itself, falling linearly to 0 at its neighbours."""
        place = self.scaled(observations) * (self.bins - 1)  # knots at 0, 1, .., bins - 1
        axes = np.maximum(1 - abs(place[:, :, None] - np.arange(self.bins)), 0.0)
        return _outer(axes)


@dataclass(frozen=True, eq=False)
class Radial(BoxFeatures):
    """Gaussian bumps around a grid of ``bins`` centres along each axis, divided by their sum; sigma is ``bandwidth`` spacings."""

    bandwidth: float = field(default=0.5, kw_only=True)

    fewest = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bandwidth > 0:
            raise InvalidArgumentError(f"Radial: bandwidth={self.bandwidth}; it is a share of the grid's spacing, above 0")

    def encode(self, observations: NDArray[Any]) -> Array:
        """Return the normalised bumps; on a grid they are products over the axes."""
        place = self.scaled(observations) * (self.bins - 1)
        exponent = -0.5 * ((place[:, :, None] - np.arange(self.bins)) / self.bandwidth) ** 2
        bumps = np.exp(exponent - exponent.max(axis=2, keepdims=True))  # so that no row underflows to 0
        return _outer(bumps / bumps.sum(axis=2, keepdims=True))


MAPS: dict[str, type[FeatureMap]] = {kind.__name__: kind for kind in (OneHot, Aggregation, Tiles, Hat, Radial, Table)}


def describe(features: FeatureMap) -> dict[str, Any]:
    """Return the arguments from which ``MAPS[type(features).__name__]`` makes the map again."""
    return {entry.name: getattr(features, entry.name) for entry in fields(features)}  # type: ignore[arg-type]


WORDS = "onehot[:STATES[:ACTIONS]], tiles:BINS, hat:BINS, radial:BINS[:BANDWIDTH], aggregation:GROUPS.npy, table:PHI.npy"


def parse(text: str) -> FeatureMap:
    """Return the map that a word stands for, such as ``tiles:8`` for ``Tiles(8)``.

    Parameters
    ----------
    text : str
        One of ``onehot``, ``onehot:16``, ``onehot:16:4``, ``tiles:8``, ``hat:8``, ``radial:8``, ``radial:8:0.7``, and, with their
        array in a ``.npy`` file, ``aggregation:groups.npy`` and ``table:phi.npy``.

    Raises
    ------
    InvalidArgumentError
        If it is none of these; the message lists them.
    FileFormatError
        If the array can't be read. Files can't execute code.

    Examples
    --------
    >>> parse("tiles:8").bins, parse("onehot:16:4").dimension
    (8, 64)
    """
    name, *arguments = text.split(":")
    try:
        if name == "onehot" and len(arguments) <= 2:
            return OneHot(*map(int, arguments))
        if name in ("tiles", "hat") and len(arguments) == 1:
            return {"tiles": Tiles, "hat": Hat}[name](int(arguments[0]))
        if name == "radial" and len(arguments) in (1, 2):
            return Radial(int(arguments[0]), bandwidth=float(arguments[1]) if arguments[1:] else 0.5)
        if name == "aggregation" and arguments:
            return Aggregation(_array_file(":".join(arguments)))
        if name == "table" and arguments:
            return Table(_array_file(":".join(arguments)))
    except (InvalidArgumentError, FileFormatError):
        raise
    except ValueError:  # a word that is no number
        pass
    raise InvalidArgumentError(f"features {text!r} aren't known; give one of {WORDS}")


def _array_file(path: str) -> NDArray[Any]:
    array = read_array(path, "an array of features")
    if array.dtype.kind not in "biuf":
        raise FileFormatError(f"{path} holds {array.dtype}; an array of features is made of numbers")
    return array


def effective_features(features: FeatureMap, data: OfflineDataset, horizon: int) -> Array:
    """Return (sum n)^2 / sum n^2 of each stage, (H,), where n_i is the sum of phi_i over its transitions.

    How many features, had they been met equally often, would be spread as widely: the counterpart of
    :attr:`robust_rl.datasets.Statistics.effective_pairs` for states that can't be counted. ``features`` are fitted.
    """
    met = np.zeros((horizon, features.dimension))
    for h in range(horizon):
        rows = data.at_stage(h)
        for begin in range(0, len(rows), ROWS):
            part = rows[begin : begin + ROWS]
            met[h] += features(data.observations[part], data.actions[part]).sum(axis=0)
    return np.asarray(met.sum(axis=1) ** 2 / (met**2).sum(axis=1))


def check_simplex(features: FeatureMap, observations: NDArray[Any], actions: NDArray[Any]) -> None:
    """Refuse features off the simplex on the given rows, a block of them at a time.

    Raises
    ------
    InvalidArgumentError
        With the reason: the shape is wrong, an entry is negative or not finite, or a row doesn't sum to 1 within 1e-8.
    """
    for begin in range(0, len(observations), ROWS):
        part = slice(begin, begin + ROWS)
        phi, count = np.asarray(features(observations[part], actions[part])), len(observations[part])
        if phi.shape != (count, features.dimension):
            raise InvalidArgumentError(f"{_name(features)}: phi has shape {phi.shape}; expected {(count, features.dimension)}")
        check_rows(phi, _name(features), begin)


def check_rows(phi: Array, name: str, first: int = 0) -> None:
    """Raise InvalidArgumentError unless every row of phi is on the simplex; rows are counted from ``first``."""
    sums = phi.sum(axis=1)
    wrong = np.flatnonzero(~((phi >= 0).all(axis=1) & (abs(sums - 1) <= 1e-8)))
    if wrong.size:
        row = wrong[0]
        low = phi[row].min()
        reason = f"has the entry {low:.9g}" if low < 0 else f"sums to {sums[row]:.9g}"
        raise InvalidArgumentError(
            f"{name}: phi of row {first + row} {reason}; d-rectangular sets need features that are non-negative and sum to 1, "
            "since P = sum_i phi_i mu_i mixes distributions: shift, then divide by the sum, or use Tiles, Hat or Radial"
        )


def _name(features: FeatureMap) -> str:
    return type(features).__name__


def _unit_vectors(indices: NDArray[np.intp], width: int) -> Array:
    vectors = np.zeros((len(indices), width))
    vectors[np.arange(len(indices)), indices] = 1.0
    return vectors


def _outer(axes: Array) -> Array:
    """Return the products over axes of one factor of each, (n, m, k) -> (n, k^m), the last axis fastest."""
    product = axes[:, 0]
    for axis in range(1, axes.shape[1]):
        product = (product[:, :, None] * axes[:, axis, None, :]).reshape(len(axes), -1)
    return product


def _points(observations: NDArray[Any]) -> Array:
    points = np.asarray(observations, dtype=np.float64)
    return points.reshape(len(points), -1)


def _states(observations: NDArray[Any], count: int | None) -> NDArray[np.intp]:
    return _indices(observations, count, "state")


def _actions(actions: NDArray[Any], count: int | None) -> NDArray[np.intp]:
    return _indices(actions, count, "action")


def _indices(values: ArrayLike, count: int | None, what: str) -> NDArray[np.intp]:
    """Return indices, or raise InvalidArgumentError naming one that isn't there."""
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"{what}s have shape {given.shape} and type {given.dtype}; these features need indices, (n,) of whole numbers"
        )
    wrong = given[(given < 0) | (given >= (np.inf if count is None else count))]
    if wrong.size:
        known = "count from 0" if count is None else f"are 0..{count - 1}"
        raise InvalidArgumentError(f"there is no {what} {wrong[0]}; {what}s {known}")
    return given.astype(np.intp, copy=False)
