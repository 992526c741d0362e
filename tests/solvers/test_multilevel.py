"""Multilevel estimates against exact worst cases and exact plug-in expectations, with intervals of 4 standard errors.

A correct estimate leaves such an interval once in 16,000 tests; seeds are fixed. A wrong level weight, a pair of halves that
shares draws, or levels drawn in other proportions than they are weighed each move the mean by 10 errors and more.
"""

from itertools import product
from math import factorial

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.models import TabularSimulator
from robust_rl.solvers.knowledge import Knowledge
from robust_rl.solvers.multilevel import Multilevel, _argsort, estimates
from tests.uncertainty import duals

P = np.array([0.5, 0.3, 0.2, 0.0])
Z = np.array([2.0, 0.5, 1.0, 0.0])


def moved_mass(p, z, radius, allowed):
    """Lowest expectation when a mass ``radius`` moves: the top of the sorted masses is cut off and put on the lowest z."""
    order = np.argsort(-z)
    kept = np.diff(np.append(0.0, np.clip(np.cumsum(p[order]) - radius, 0, None)))
    return kept @ z[order] + radius * z[allowed].min()


CASES = {
    "tv free": (rr.TotalVariation(0.4, support="free"), moved_mass, np.ones(4, bool)),
    "tv nominal": (rr.TotalVariation(0.4, support="nominal"), moved_mass, P > 0),
    "kl": (rr.KL(0.1), duals.kl, P > 0),
    "chi-square": (rr.ChiSquare(0.2), duals.chi_square, P > 0),
    "reverse kl": (rr.ReverseKL(0.1, support="free"), duals.reverse_kl, np.ones(4, bool)),
    "contamination": (
        rr.Contamination(0.2, support="free"),
        lambda p, z, radius, allowed: (1 - radius) * p @ z + radius * z[allowed].min(),
        np.ones(4, bool),
    ),
}
by_case = pytest.mark.parametrize("name", CASES)


def draw_estimates(uncertainty, n, *, seed=0, p=P, z=Z, **options):
    """Estimates of the worst case of one row, whose states are all known to be there."""
    states = len(p)
    model = rr.TabularMDP(np.broadcast_to(p, (states, 1, states)), np.zeros((states, 1)))
    multilevel, rng = Multilevel(uncertainty, **options), np.random.default_rng(seed)
    knowledge = Knowledge(TabularSimulator(model), multilevel.uncertainty)
    if knowledge.seen.size:
        knowledge.restore(np.broadcast_to(p > 0, (states, states)).copy())
    levels = multilevel.levels(rng, (n,))
    draws = rng.choice(states, size=int(multilevel.draws(levels).sum()), p=p).astype(np.int32)
    radii = multilevel.uncertainty.radii((states, 1))
    return estimates(multilevel, z, 0, draws, levels, 1.0, radii, knowledge)


@by_case
@pytest.mark.parametrize("base", [1, 4])
def test_the_untruncated_mean_is_the_worst_case(name, base):
    uncertainty, oracle, allowed = CASES[name]
    sample = draw_estimates(uncertainty, 200_000, base=base, max_level=None)
    exact = oracle(P, Z, uncertainty.radius, allowed)
    assert abs(sample.mean() - exact) <= 4 * sample.std() / np.sqrt(len(sample))
    if base == 1 and name != "contamination":
        plug_in = plug_in_mean(oracle, uncertainty.radius, allowed, base)
        assert abs(plug_in - exact) > 8 * sample.std() / np.sqrt(len(sample)), "the bias removed must be visible"


def plug_in_mean(oracle, radius, allowed, n):
    """E v(p_n), by enumerating all counts of n draws."""
    total, reached = 0.0, np.flatnonzero(P)
    for counts in product(range(n + 1), repeat=len(reached)):
        if sum(counts) == n:
            p = np.zeros(len(P))
            p[reached] = np.array(counts) / n
            ways = factorial(n) / np.prod([factorial(c) for c in counts])
            total += ways * np.prod(P[reached] ** np.array(counts)) * oracle(p, Z, radius, allowed if allowed.all() else p > 0)
    return total


@pytest.mark.parametrize("name", ["tv free", "kl", "chi-square", "reverse kl"])
@pytest.mark.parametrize(("base", "max_level"), [(1, 0), (1, 1), (3, 0)])
def test_the_truncated_mean_is_that_of_the_plug_in(name, base, max_level):
    uncertainty, oracle, allowed = CASES[name]
    sample = draw_estimates(uncertainty, 200_000, base=base, max_level=max_level, seed=1)
    expected = plug_in_mean(oracle, uncertainty.radius, allowed, base * 2 ** (max_level + 1))
    exact, error = oracle(P, Z, uncertainty.radius, allowed), sample.std() / np.sqrt(len(sample))
    assert abs(sample.mean() - expected) <= 4 * error
    assert abs(expected - exact) > 8 * error, "the remaining bias must be visible"


def test_levels_have_the_stated_frequencies_and_cost():
    multilevel = Multilevel(rr.KL(0.1), base=2, max_level=3)
    levels = multilevel.levels(np.random.default_rng(2), (400_000,))
    share = np.bincount(levels, minlength=4) / len(levels)
    assert (abs(share - 1 / multilevel.weights) <= 4 * np.sqrt(share * (1 - share) / len(levels))).all()
    np.testing.assert_allclose((1 / multilevel.weights).sum(), 1)
    draws = multilevel.draws(levels)
    assert draws.max() == 2 * 2**4
    assert abs(draws.mean() - multilevel.mean_draws) <= 4 * draws.std() / np.sqrt(len(draws))


@pytest.mark.parametrize("n", [0, 1, 2, 5, 33, 1500])
def test_rows_are_sorted(n):
    z = np.random.default_rng(n).integers(0, 20, n).astype(float)
    order = np.empty(n + 1, np.int64)
    _argsort(z, order)
    np.testing.assert_array_equal(z[order[:n]], np.sort(z))
    np.testing.assert_array_equal(np.sort(order[:n]), np.arange(n))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Multilevel(rr.Interval(0.0, 1.0)), InvalidUncertaintyError, "can't be learned from draws"),
        (lambda: Multilevel("tv"), InvalidUncertaintyError, "'tv' is not an uncertainty set"),
        (lambda: Multilevel(None, base=0), InvalidArgumentError, "draws of an estimate are 0"),
        (lambda: Multilevel(None, max_level=-1), InvalidArgumentError, "max_level is -1"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
