"""One line a set: every uncertainty set of the library, with its definition as a linear program, or its dual."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import robust_rl as rr
from robust_rl.uncertainty import RectangularSet

from . import duals


@dataclass(frozen=True)
class Constraints:
    """``A [q, aux] <= b`` and ``lower <= q <= upper``, beside q being a distribution on the allowed states."""

    a: np.ndarray
    b: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Case:
    """A set, built from (nominal row, radius in [0, 1], support), and its definition.

    ===========  ===============================================================================
    constraints  the set as a linear program, from (p, radius); or None
    dual         else (p, z, radius, allowed) -> the lowest expectation, by other means
    distance     and (q, p) -> what the radius bounds
    supports     whether the set has a choice of support
    support      the support it has if there is no choice
    alike        whether states may be renamed without telling the set
    price        what the multiplier is minus the derivative in: this times the radius; 0 if nothing
    convex       whether the value is convex in the radius
    splits       whether a state may be split in two without changing the value
    zero         whether radius 0 is the nominal row to the bit
    tolerance    agreement with the oracle, relative to the size of z, over so many random instances
    ===========  ===============================================================================
    """

    name: str
    build: Callable[[np.ndarray, float, object], RectangularSet]
    constraints: Callable[[np.ndarray, float], Constraints] | None = None
    dual: Callable[[np.ndarray, np.ndarray, float, np.ndarray], float] | None = None
    distance: Callable[[np.ndarray, np.ndarray], float] | None = None
    supports: bool = True
    support: str = "nominal"
    alike: bool = True
    price: float = 1.0
    convex: bool = True
    splits: bool = True
    zero: bool = True
    tolerance: float = 1e-9
    instances: int = 1000


def _tv(p, radius):
    n = len(p)
    eye = np.eye(n)
    a = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, n)), np.ones((1, n))]])
    return Constraints(a, np.concatenate([p, -p, [2 * radius]]), np.zeros(n), np.ones(n))


def _box(lower, upper):
    return Constraints(np.zeros((0, len(lower))), np.zeros(0), lower, upper)


def level(radius):
    """CVaR's level falls from 1 as the set grows."""
    return 1 - 0.99 * radius


def weights_of(p):
    """Some equal, some far apart."""
    return 0.5 + np.arange(np.shape(p)[-1]) * 7 % 5 / 2


def _weighted(p, radius):
    rules = _tv(p, radius)
    return Constraints(
        np.vstack([rules.a[:-1], np.append(np.zeros(len(p)), weights_of(p))]),
        rules.b * [*[1] * 2 * len(p), 1.5],
        rules.lower,
        rules.upper,
    )


def places(p):
    """States on a line, in no order, less than 1 apart."""
    return np.arange(np.shape(p)[-1]) * 0.618034 % 1


def line_metric(p):
    return abs(places(p)[:, None] - places(p))


def transport(p, radius, metric):
    """Mass x[s, t] from s to t: the sum over t is p, the sum over s is q, and the cost is at most the radius."""
    n = len(p)
    eye, near = np.eye(n), np.isfinite(metric)
    leaving, arriving = np.kron(eye, np.ones((1, n))), np.kron(np.ones((1, n)), eye)
    costs = np.vstack([np.where(near, metric, 0.0).ravel(), np.where(near, 0.0, 1.0).ravel()])
    aux = np.vstack([-arriving, arriving, leaving, -leaving, costs])
    return Constraints(
        np.hstack([np.vstack([eye, -eye, np.zeros((2 * n + 2, n))]), aux]),
        np.concatenate([np.zeros(2 * n), p, -p, [radius, 0]]),
        np.zeros(n),
        np.ones(n),
    )


def line_distance(q, p):
    """W1 on a line: the area between the distribution functions."""
    x = places(p)
    order = np.argsort(x)
    return float(abs(np.cumsum((q - p)[order])[:-1]) @ np.diff(x[order]))


CASES = [
    Case("tv", lambda p, r, s: rr.TotalVariation(r, support=s), _tv),
    Case("l1", lambda p, r, s: rr.L1(2 * r, support=s), _tv, price=2.0),
    Case(
        "weighted-l1", lambda p, r, s: rr.WeightedL1(3 * r, weights=weights_of(p), support=s), _weighted, price=3.0,
        alike=False, splits=False,
    ),
    Case(
        "wasserstein", lambda p, r, s: rr.Wasserstein(r, metric=line_metric(p)), lambda p, r: transport(p, r, line_metric(p)),
        distance=line_distance, supports=False, support="free", alike=False, splits=False,
    ),
    Case("contamination", lambda p, r, s: rr.Contamination(r, support=s), lambda p, r: _box((1 - r) * p, np.ones(len(p)))),
    Case(
        "linf", lambda p, r, s: rr.LInfinity(r, support=s),
        lambda p, r: _box(np.maximum(p - r, 0), np.minimum(p + r, 1)), splits=False,
    ),
    Case(
        "interval", lambda p, r, s: rr.Interval((1 - r) * p, np.minimum(p + r, 1)),
        lambda p, r: _box((1 - r) * p, np.minimum(p + r, 1)), supports=False, price=0.0, splits=False, zero=False,
    ),
    Case(
        "cvar", lambda p, r, s: rr.CVaR(level(r)),
        lambda p, r: _box(np.zeros(len(p)), np.minimum(p / level(r), 1)), supports=False, price=-0.99, convex=False, zero=False,
    ),
    Case("kl", lambda p, r, s: rr.KL(r), dual=duals.kl, tolerance=1e-10, distance=duals.kl_divergence, supports=False),
    Case(
        "chi2", lambda p, r, s: rr.ChiSquare(r), dual=duals.chi_square, tolerance=1e-10,
        distance=duals.chi_square_divergence, supports=False,
    ),
    Case(
        "reverse-kl", lambda p, r, s: rr.ReverseKL(r, support=s),
        dual=duals.reverse_kl, tolerance=1e-10, distance=lambda q, p: duals.kl_divergence(p, q),
    ),
    Case(
        "l2", lambda p, r, s: rr.L2(r, support=s),
        dual=duals.l2, distance=lambda q, p: float(np.linalg.norm(q - p)), splits=False, tolerance=1e-6, instances=200,
    ),
    Case("uncertain-rewards", lambda p, r, s: rr.UncertainRewards(0.0, rr.TotalVariation(r, support=s)), _tv),
]  # fmt: skip
