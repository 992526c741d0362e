"""What an (s,a)-rectangular uncertainty set is to the rest of the library.

A set gives a numba row function (see :mod:`robust_rl.uncertainty.kernels`) and the numbers it needs for each row. From these
come the public contract ``worst_case(p, z)`` for single and batched rows, and the Bellman backup over a whole model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.backup import RowBackup
from robust_rl.uncertainty.expectation import EXPECTATION
from robust_rl.uncertainty.kernels import no_bounds
from robust_rl.uncertainty.layout import EMPTY, Layout, Model, Support, check_support, lay_out
from robust_rl.uncertainty.sweeps import Sweeps

Array = NDArray[np.float64]
# a divergence below this moves the value by less than 1e-15 standard deviations, its square root
NEGLIGIBLE = 1e-30


class WorstCase(NamedTuple):
    """Answer to one inner problem, or a batch of them.

    value : (...) the lowest expectation ``min_q q . z``
    q : (..., S) a distribution that attains it
    multiplier : (...) the price of the constraint; for sets with a radius, minus the derivative of the value in the radius
    """

    value: Array
    q: Array
    multiplier: Array


class RectangularSet:
    """Base of the (s,a)-rectangular sets: each row (s, a) has a set of its own.

    A subclass names its command-line ``name``, its ``row`` function, whether that needs z sorted, and whether under free
    support it uses more than the worst of the states that a row doesn't reach. That is enough to be solved; a set with
    ``sweeps`` of its own (see :mod:`robust_rl.uncertainty.sweeps`) is solved fast. Sets solved by a root finder give in
    ``error`` how far a value may be off, beyond rounding, relative to the size of z; certificates are widened by it.
    """

    name: ClassVar[str]
    row: ClassVar[Any]
    sweeps: ClassVar[Sweeps | None] = None
    sort: ClassVar[bool] = True
    every_state: ClassVar[bool] = False
    error: float = 0.0
    support: Support = "nominal"
    randomises: bool = False  # whether optimal policies may be randomised

    def radii(self, shape: tuple[int, ...]) -> Array:
        """Return one radius a row, (n,), for rows laid out in ``shape``."""
        return np.zeros(int(np.prod(shape)))

    def bounds(self, layout: Layout) -> tuple[Array, Array]:
        """Return lower and upper bounds on q, one for each entry of the layout; empty for sets without bounds."""
        return no_bounds()

    def parameters(self, layout: Layout, radii: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array | None, Array, Array]:
        """Return what the set's sweeps read: p and u of each entry, radius and slack of each row."""
        return layout.p, None, radii, radii

    def choose_sweeps(self, radii: Array) -> Sweeps | None:
        """Return the compiled sweeps for rows of these radii."""
        return self.sweeps

    def backup(self, layout: Layout, shape: tuple[int, ...], discount: float) -> RowBackup:
        """Return the set on a layout whose rows have the given shape."""
        return RowBackup(self, layout, self.radii(shape), discount)

    def of_kernels(self) -> RectangularSet:
        """Return an (s,a)-rectangular set that contains every kernel of this one, and leaves the rewards alone."""
        return self

    def check(self, layout: Layout, where: Callable[[int], str]) -> None:
        """Raise InvalidUncertaintyError if the set is empty for a row of the layout; ``where`` names a row."""

    def lay_out(self, model: Model) -> Layout:
        """Lay a model out over this set's support."""
        return lay_out(model, self.support, every_state=self.every_state)

    def worst_case(self, p: ArrayLike, z: ArrayLike, *, allowed: ArrayLike | None = None) -> WorstCase:
        """Minimise ``q . z`` over the set around ``p``.

        Parameters
        ----------
        p : (..., S) array
            Nominal distributions.
        z : (..., S) array
            What each next state is worth, ``r(s,a,s') + gamma V(s')``. p and z are broadcast against each other.
        allowed : (..., S) boolean array, optional
            States that q may use. Needed for ``support="reachable"``, which a lone row can't tell, unless p has shape (S, A, S).

        Returns
        -------
        WorstCase
            Value (...), worst case q (..., S) and multiplier (...); float32 if both p and z are.

        Raises
        ------
        InvalidUncertaintyError
            If p isn't a distribution, shapes disagree, or the support can't be told.
        """
        p, z = np.asarray(p), np.asarray(z)
        layout, shape = self._lay_out_rows(p, z, allowed)
        values, multipliers, q, *_ = self.backup(layout, shape, 0.0).worst_case(np.zeros(p.shape[-1]), layout.rows)
        answer = values.reshape(shape), full_rows(layout, q).reshape(*shape, -1), multipliers.reshape(shape)
        single = p.dtype == z.dtype == np.float32
        parts: Any = [part.astype(np.float32) for part in answer] if single else answer
        return WorstCase(*parts)

    def _lay_out_rows(self, p: NDArray[Any], z: NDArray[Any], allowed: ArrayLike | None) -> tuple[Layout, tuple[int, ...]]:
        """Lay out rows that belong to no model, and return their shape; z enters as r(s,a,s'), with V = 0."""
        p, z = _checked_rows(p, z)
        p = np.broadcast_to(p, np.broadcast_shapes(p.shape, z.shape))
        shape, states = p.shape[:-1], p.shape[-1]
        pattern = self._allowed(p, allowed).reshape(-1, states)
        layout = _single_rows(p.reshape(-1, states), np.broadcast_to(z, p.shape).reshape(-1, states), pattern)
        self.check(layout, lambda row: str(tuple(int(i) for i in np.unravel_index(row, shape))) if shape else "p")
        return layout, shape

    def _allowed(self, p: Array, allowed: ArrayLike | None) -> NDArray[np.bool_]:
        if allowed is not None:
            mask = np.broadcast_to(np.asarray(allowed, dtype=bool), p.shape)
        elif isinstance(self.support, np.ndarray):
            mask = np.broadcast_to(self.support, p.shape)
        elif self.support == "free":
            return np.ones(p.shape, dtype=bool)
        elif self.support == "nominal":
            return p > 0
        elif p.ndim == 3:
            return np.broadcast_to((p > 0).any(axis=1, keepdims=True), p.shape)
        else:
            raise InvalidUncertaintyError(f'{self!r}: a lone row does not tell what is "reachable"; give allowed=')
        if (mask < (p > 0)).any():
            raise InvalidUncertaintyError(
                f"{self!r}: allowed excludes a state that p reaches; a support must include all successors"
            )
        return mask

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        mine, others = self.describe(), other.describe()  # type: ignore[attr-defined]
        return all(_same(mine[name], others[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def restore(cls, arguments: dict[str, Any]) -> RectangularSet:
        """Rebuild a set from what :meth:`describe` returned."""
        return cls(**arguments)

    def describe(self) -> dict[str, Any]:
        """Return the constructor's arguments, from which :func:`robust_rl.uncertainty.from_description` rebuilds the set."""
        raise NotImplementedError(f"{type(self).__name__} must return its constructor's arguments")

    def __repr__(self) -> str:
        arguments = (f"{name}={_short(value)}" for name, value in self.describe().items())
        return f"{type(self).__name__}({', '.join(arguments)})"


class RadiusSet(RectangularSet):
    """Base of the sets with one number a row, scalar or (S, A), on the nominal support.

    A subclass says in ``norm`` what the number measures, its ``largest`` value, and at which ``point`` the set holds the nominal
    row alone.
    """

    norm: ClassVar[str]
    largest: ClassVar[float] = np.inf
    point: ClassVar[float] = 0.0
    argument: ClassVar[str] = "radius"

    def __init__(self, radius: ArrayLike) -> None:
        self.radius = checked_radius(radius, f"{type(self).__name__}: {self.argument}", self.norm, self.largest)

    def radii(self, shape: tuple[int, ...]) -> Array:
        """Return one radius a row. Raises InvalidUncertaintyError if an array of radii doesn't fit the rows."""
        try:
            return np.ascontiguousarray(np.broadcast_to(self.radius, shape), dtype=np.float64).reshape(-1)
        except ValueError:
            raise InvalidUncertaintyError(
                f"{type(self).__name__} has radii of shape {np.shape(self.radius)}, which don't fit rows of shape {shape}"
            ) from None

    def choose_sweeps(self, radii: Array) -> Sweeps | None:
        """Return the compiled sweeps; where nothing can move, those of the nominal problem."""
        return self.sweeps if radii.any() else EXPECTATION

    def describe(self) -> dict[str, Any]:
        """Return the radius."""
        return {"radius": self.radius}


class SupportedSet(RadiusSet):
    """Base of the sets with a radius and a choice of support."""

    def __init__(self, radius: ArrayLike, *, support: Support | None = None) -> None:
        super().__init__(radius)
        self.support = check_support(support, type(self).__name__)

    def describe(self) -> dict[str, Any]:
        """Return radius and support."""
        return {"radius": self.radius, "support": self.support}


def full_rows(layout: Layout, of_entries: Array) -> Array:
    """Return what a layout has of each entry as (n, S), 0 elsewhere."""
    full = np.zeros((len(layout.rows), layout.num_states))
    full[np.repeat(layout.rows, np.diff(layout.ptr)), layout.indices] = of_entries
    return full


def checked_radius(radius: ArrayLike, name: str, norm: str, largest: float) -> float | Array:
    """Return the radius, scalar or array, or raise InvalidUncertaintyError naming the set, its norm and the allowed range."""
    try:
        values = np.asarray(radius, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidUncertaintyError(f"{name} {radius!r} is not a number") from None
    bad = values[~((values >= 0) & (values <= largest) & np.isfinite(values))]
    if bad.size:
        interval = f"[0, {largest:g}]" if np.isfinite(largest) else "[0, inf)"
        raise InvalidUncertaintyError(f"{name} {bad.flat[0]:g} is outside {interval} ({norm})")
    return float(values) if values.ndim == 0 else values.copy()


def _checked_rows(p: NDArray[Any], z: NDArray[Any]) -> tuple[Array, Array]:
    """Return p and z in double precision, or raise InvalidUncertaintyError."""
    tolerance = 1e-5 if p.dtype == np.float32 else 1e-8
    p, z = p.astype(np.float64, copy=False), z.astype(np.float64, copy=False)
    if p.ndim == 0 or z.ndim == 0 or z.shape[-1] != p.shape[-1]:
        raise InvalidUncertaintyError(f"p has shape {p.shape} and z {z.shape}; their last axes must be the same states")
    try:
        np.broadcast_shapes(p.shape, z.shape)
    except ValueError:
        raise InvalidUncertaintyError(f"p has shape {p.shape} and z {z.shape}, which don't broadcast together") from None
    if not np.isfinite(z).all():
        raise InvalidUncertaintyError("z has an entry that is NaN or infinite")
    if not (np.isfinite(p) & (p >= 0)).all() or (abs(p.sum(axis=-1) - 1) > tolerance).any():
        raise InvalidUncertaintyError(f"p has a row that is not a probability vector (non-negative, sum 1 within {tolerance:g})")
    return (p / p.sum(axis=-1, keepdims=True) if tolerance > 1e-8 else p), z


def _single_rows(p: Array, z: Array, allowed: NDArray[np.bool_]) -> Layout:
    pattern = sparse.csr_array(allowed)
    at = (np.repeat(np.arange(len(p)), np.diff(pattern.indptr)), pattern.indices)
    ptr = pattern.indptr.astype(np.int64)
    return Layout(
        ptr, ptr[:-1].copy(), pattern.indices.astype(np.int32), np.ascontiguousarray(p[at]), np.ascontiguousarray(z[at]),
        np.zeros(len(p)), EMPTY, np.arange(len(p)), p.shape[1],
    )  # fmt: skip


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, RectangularSet) or isinstance(other, RectangularSet):
        return bool(one == other)
    if sparse.issparse(one) or sparse.issparse(other):
        return bool(sparse.issparse(one) and sparse.issparse(other) and one.shape == other.shape and (one != other).nnz == 0)
    return bool(np.array_equal(one, other))


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size > 6:
        return f"<{value.dtype} array of shape {value.shape}, {value.min():g} to {value.max():g}>"
    if sparse.issparse(value):
        return f"<csr of shape {value.shape}>"
    return repr(value)
