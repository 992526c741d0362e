"""Any convex set, given as cvxpy constraints:  U = { q : q >= 0, sum q = 1, constraints(q, p) }.

The constraints are compiled once for each number of entries that rows have, as one problem with p and z as parameters (cvxpy's
DPP rules). z is scaled to [0, 1] first, so that the solver's tolerances mean the same for all units.

A solver's answer is good to its tolerance only. How far the value may be off is estimated from the solver's tolerance and
the constraints' multipliers, which say what a violated constraint is worth; a row for which that exceeds ``tolerance`` is an
error, and certificates are widened by ``tolerance`` times the size of z.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import ConvergenceError, FileFormatError, InvalidUncertaintyError, MissingDependencyError
from robust_rl.uncertainty.backup import RowBackup, RowsWorstCase
from robust_rl.uncertainty.base import Array, RectangularSet
from robust_rl.uncertainty.layout import Layout, Support, check_support
from robust_rl.uncertainty.nominal import Nominal

Constraints = Callable[[Any, Any], Sequence[Any]]
# what each solver calls its tolerances
TOLERANCES = {
    "CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "SCS": ("eps_abs", "eps_rel"),
    "OSQP": ("eps_abs", "eps_rel"),
}
TIGHTER, SAFETY = 1e-3, 4.0  # the solver is asked for a thousandth; errors seen were up to 3.4 times the estimate without safety


class CustomSet(RectangularSet):
    """A convex set around each nominal row, given by a function that writes cvxpy constraints.

    Slower than the library's own sets by a factor of thousands (a conic problem a row), and good to ``tolerance`` only; worth
    it for sets that aren't there. It can't be chosen on the command line. A policy file keeps a description of it: a policy
    that was loaded predicts, but to solve again the set must be given anew.

    Parameters
    ----------
    constraints : callable
        ``constraints(q, p)`` returns a list of cvxpy constraints on the variable q, (k,), beside q being a distribution; p,
        (k,), is a parameter that stands for the nominal row. Both hold the row's allowed states in ascending order. The set
        must contain a distribution for every row, which it does if it contains p.
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        See :mod:`robust_rl.uncertainty.layout`. Free rows have S entries each, others as many as there are allowed states.
    solver : {"CLARABEL", "SCS", "OSQP"}, optional
        Default: CLARABEL, which comes with cvxpy.
    tolerance : float
        How far a value may be off, relative to the spread of z.

    Raises
    ------
    MissingDependencyError
        If cvxpy isn't installed.
    InvalidUncertaintyError
        If the constraints aren't convex in q, break the DPP rules in p, aren't cvxpy constraints, or admit no distribution for
        a row; the message names them.
    ConvergenceError
        If the solver fails on a row, or isn't as exact as ``tolerance`` there.

    Notes
    -----
    There is no radius, so the multiplier is NaN.

    Examples
    --------
    >>> import cvxpy as cp
    >>> ball = CustomSet(lambda q, p: [cp.norm1(q - p) <= 0.4], support="free")
    >>> round(float(ball.worst_case([0.5, 0.5, 0.0], [1.0, 3.0, 0.0]).value), 5)
    1.4
    """

    name = "custom"
    sort = False
    every_state = True

    def __init__(
        self,
        constraints: Constraints,
        *,
        support: Support | None = None,
        solver: str | None = None,
        tolerance: float = 1e-6,
    ) -> None:
        if not callable(constraints):
            raise InvalidUncertaintyError(
                f"CustomSet: constraints is {constraints!r}; give a function (q, p) -> list of cvxpy constraints"
            )
        self.support = check_support(support, "CustomSet")
        self.solver = solver or "CLARABEL"
        if self.solver not in TOLERANCES:
            raise InvalidUncertaintyError(f"CustomSet: solver {solver!r} is not one of {', '.join(TOLERANCES)}")
        if not 1e-9 <= tolerance < 1:
            raise InvalidUncertaintyError(f"CustomSet: tolerance is {tolerance!r}; it must be in [1e-9, 1)")
        self.constraints, self.error = constraints, float(tolerance)
        self.description = describe_function(constraints)
        _cvxpy()

    def describe(self) -> dict[str, Any]:
        """Return what can be told of the set: the text of its constraints, and the other arguments."""
        return {
            "constraints": self.description, "support": self.support, "solver": self.solver, "tolerance": self.error,
        }  # fmt: skip

    @classmethod
    def restore(cls, arguments: dict[str, Any]) -> CustomSet:
        """Return a set that can tell what it was, and nothing else: the inverse of :meth:`describe`, as far as there is one."""
        described = cls.__new__(cls)
        described.description, described.support = arguments["constraints"], arguments["support"]
        described.solver, described.error = arguments["solver"], arguments["tolerance"]
        described.constraints = described._missing
        return described

    def of_kernels(self) -> RectangularSet:
        """Return the set itself; of one that was read from a file, which can't be solved for anyway, the nominal kernel."""
        return Nominal() if self.constraints == self._missing else self

    def backup(self, layout: Layout, shape: tuple[int, ...], discount: float) -> RowBackup:
        """Return the set on a layout whose rows have the given shape."""
        return CustomBackup(self, layout, shape, discount)

    def _missing(self, q: Any, p: Any) -> Sequence[Any]:
        raise FileFormatError(
            f"this set was read from a file, which holds only its description, {self.description!r}; "
            "to solve, give CustomSet(...) with its constraints again"
        )


class CustomBackup(RowBackup):
    """The backup of a set given by cvxpy constraints: a row at a time, by a conic solver."""

    def __init__(self, custom: CustomSet, layout: Layout, shape: tuple[int, ...], discount: float) -> None:
        super().__init__(custom, layout, np.zeros(len(layout.row_reward)), discount)
        self.custom, self.shape = custom, shape
        self._problems: dict[int, _Problem] = {}

    def worst_case(self, value: Array, rows: NDArray[np.int64], *, kernel: bool = True) -> RowsWorstCase:
        """Return the worst case of the given rows at a value; multipliers are NaN."""
        layout, count = self.layout, len(self.layout.row_reward)
        values, q = np.full(count, np.nan), np.zeros(len(layout.p) if kernel else 0)
        for i in rows:
            a, b = layout.ptr[i], layout.ptr[i + 1]
            z = self.discount * value[layout.indices[layout.first[i] : layout.first[i] + b - a]]
            z = z + layout.reward[a:b] if layout.reward.size else z
            worst = self._solve(int(i), layout.p[a:b], z)
            values[i] = layout.row_reward[i] + worst @ z
            if kernel:
                q[a:b] = worst
        nothing = np.zeros(0)
        return RowsWorstCase(values, np.full(count, np.nan), q, nothing.astype(np.int64), nothing)

    def _solve(self, row: int, p: Array, z: Array) -> Array:
        """Return the worst case of one row."""
        lowest, spread = z.min(), np.ptp(z)
        if len(p) not in self._problems:
            self._problems[len(p)] = _Problem(self.custom, len(p))
        index = tuple(int(i) for i in np.unravel_index(row, self.shape)) if self.shape else ()
        where = f"row {index}" if len(index) != 2 else f"row (s={index[0]}, a={index[1]})"
        return self._problems[len(p)].solve(p, (z - lowest) / spread if spread > 0 else np.zeros(len(z)), where)


class _Problem:
    """The compiled problem for rows of one length."""

    def __init__(self, custom: CustomSet, length: int) -> None:
        cp = _cvxpy()
        self.custom = custom
        self.q = cp.Variable(length, nonneg=True, name="q")
        self.p, self.z = cp.Parameter(length, nonneg=True, name="p"), cp.Parameter(length, nonneg=True, name="z")
        self.constraints = [cp.sum(self.q) == 1, *_written(custom, self.q, self.p, cp)]
        self.problem = cp.Problem(cp.Minimize(self.z @ self.q), self.constraints)
        self.precision = custom.error * TIGHTER
        self.options = dict.fromkeys(TOLERANCES[custom.solver], self.precision)

    def solve(self, p: Array, z: Array, where: str) -> Array:
        """Return q for z in [0, 1]. Raises as :class:`CustomSet` says."""
        cp = _cvxpy()
        self.p.value, self.z.value = p, z
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of inaccurate solutions, which are refused below
                self.problem.solve(solver=self.custom.solver, warm_start=True, **self.options)
        except cp.error.SolverError as error:
            raise ConvergenceError(f"CustomSet: {self.custom.solver} failed on {where}: {error}") from None
        if self.problem.status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            raise InvalidUncertaintyError(
                f"CustomSet: the constraints admit no distribution for {where}; they should hold for the nominal row itself"
            )
        if self.problem.status != cp.OPTIMAL:
            raise ConvergenceError(
                f"CustomSet: {self.custom.solver} stopped on {where} with {self.problem.status!r}; "
                f"give a tolerance above {self.custom.error:g}, or another solver"
            )
        prices = sum(float(np.abs(part).sum()) for constraint in self.constraints for part in _duals(constraint))
        estimate = SAFETY * self.precision * (1 + prices)
        if not estimate <= self.custom.error:
            raise ConvergenceError(
                f"CustomSet: on {where} the value may be off by {estimate:.2g} of the spread of z, more than tolerance="
                f"{self.custom.error:g}: the set is so thin there that the solver's precision matters; allow a larger tolerance"
            )
        q = np.maximum(self.q.value, 0.0)
        return np.asarray(q / q.sum())


def _duals(constraint: Any) -> list[Any]:
    value = constraint.dual_value
    return [part for part in (value if isinstance(value, list) else [value]) if part is not None]


def _written(custom: CustomSet, q: Any, p: Any, cp: Any) -> list[Any]:
    """Return the user's constraints, checked."""
    written = custom.constraints(q, p)
    if not isinstance(written, (list, tuple)):
        raise InvalidUncertaintyError(f"CustomSet: constraints(q, p) returned {written!r}; return a list of cvxpy constraints")
    for k, constraint in enumerate(written):
        if not isinstance(constraint, cp.constraints.constraint.Constraint):
            raise InvalidUncertaintyError(f"CustomSet: constraint {k} is {constraint!r}, not a cvxpy constraint such as x <= y")
        if not constraint.is_dcp():
            raise InvalidUncertaintyError(f"CustomSet: constraint {k}, {constraint}, is not convex by cvxpy's rules (DCP)")
        if not constraint.is_dcp(dpp=True):
            raise InvalidUncertaintyError(
                f"CustomSet: constraint {k}, {constraint}, breaks cvxpy's rules for parameters (DPP): p may enter affinely, or "
                "in a function convex in q and p together; it may not, say, multiply itself or divide"
            )
        foreign = [x.name() for x in constraint.parameters() if x.id != p.id]
        if foreign:
            raise InvalidUncertaintyError(
                f"CustomSet: constraint {k} has parameters besides p: {', '.join(foreign)}; use numbers"
            )
    return list(written)


def describe_function(function: Callable[..., Any]) -> str:
    """Return a function's text and the values of the names in it, so that two sets can be told apart.

    >>> radius = 0.5
    >>> def ball(q, p): return [abs(q - p) <= radius]
    >>> describe_function(ball)[-16:]
    'where radius=0.5'
    """
    try:
        text = " ".join(inspect.getsource(function).split())
    except (OSError, TypeError):
        text = getattr(function, "__qualname__", type(function).__name__)
    try:
        names = inspect.getclosurevars(function)
    except TypeError:
        return text
    known = {**names.globals, **names.nonlocals}
    kinds = (int, float, str, list, tuple, np.ndarray, np.generic)
    values = [f"{name}={_value(x)}" for name, x in sorted(known.items()) if isinstance(x, kinds)]
    return f"{text} where {', '.join(values)}" if values else text


def _value(x: Any) -> str:
    if not isinstance(x, np.ndarray):
        return repr(x)
    return f"<{x.dtype} array of shape {x.shape}, SHA-256 {hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]}>"


def _cvxpy() -> Any:
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise MissingDependencyError('cvxpy is needed for CustomSet; install it with: pip install "robust-rl[cvx]"') from error
