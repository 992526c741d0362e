"""One line a set: every uncertainty set of the library, with its definition as a linear program for HiGHS."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import robust_rl as rr
from robust_rl.uncertainty import RectangularSet


@dataclass(frozen=True)
class Constraints:
    """``A [q, aux] <= b`` and ``lower <= q <= upper``, beside q being a distribution on the allowed states."""

    a: np.ndarray
    b: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Case:
    """A set, built from (nominal row, radius, support), and its definition.

    ``splits`` says that a state may be split in two without changing the value.
    """

    name: str
    build: Callable[[np.ndarray, float, object], RectangularSet]
    constraints: Callable[[np.ndarray, float], Constraints]
    has_radius: bool = True
    splits: bool = True


def _tv(p, radius):
    n = len(p)
    eye = np.eye(n)
    a = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, n)), np.ones((1, n))]])
    return Constraints(a, np.concatenate([p, -p, [2 * radius]]), np.zeros(n), np.ones(n))


def _box(lower, upper):
    return Constraints(np.zeros((0, len(lower))), np.zeros(0), lower, upper)


CASES = [
    Case("tv", lambda p, r, s: rr.TotalVariation(r, support=s), _tv),
    Case("contamination", lambda p, r, s: rr.Contamination(r, support=s), lambda p, r: _box((1 - r) * p, np.ones(len(p)))),
    Case(
        "linf", lambda p, r, s: rr.LInfinity(r, support=s),
        lambda p, r: _box(np.maximum(p - r, 0), np.minimum(p + r, 1)), splits=False,
    ),
    Case(
        "interval", lambda p, r, s: rr.Interval((1 - r) * p, np.minimum(p + r, 1)),
        lambda p, r: _box((1 - r) * p, np.minimum(p + r, 1)), has_radius=False, splits=False,
    ),
]  # fmt: skip
