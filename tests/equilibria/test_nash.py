import warnings

import numpy as np
import pytest

from robust_rl.equilibria import SELECTIONS, equilibria, marginals
from robust_rl.errors import ConvergenceError

from .oracle import gap_by_enumeration

RULES = [None, *SELECTIONS]


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (2, 4), (4, 3), (6, 6)])
@pytest.mark.parametrize("selection", RULES)
def test_nashpy_finds_no_better_answer_to_any_equilibrium(shape, selection):
    nashpy = pytest.importorskip("nashpy")
    payoffs = np.random.default_rng(0).normal(size=(50, 2, *shape))
    payoffs[::2] = np.round(payoffs[::2])
    found = equilibria(payoffs, "ne", selection=selection)
    x, y = marginals(found.policies)
    for k, (first, second) in enumerate(payoffs):
        game = nashpy.Game(first, second)
        paid = game[x[k], y[k]]
        assert all(game[pure, y[k]][0] <= paid[0] + 1e-9 for pure in np.eye(shape[0]))
        assert all(game[x[k], pure][1] <= paid[1] + 1e-9 for pure in np.eye(shape[1]))


@pytest.mark.parametrize("selection", SELECTIONS)
def test_no_equilibrium_that_nashpy_lists_is_better_by_the_rule(selection):
    """A generic game has finitely many; nashpy, whose checks are strict, misses some: ours may be better than its best."""
    nashpy = pytest.importorskip("nashpy")
    payoffs = np.random.default_rng(1).normal(size=(40, 2, 3, 3))
    policies = equilibria(payoffs, "ne", selection=selection).policies
    equal = 0
    for (first, second), policy in zip(payoffs, policies, strict=True):
        game = nashpy.Game(first, second)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nashpy's doubts whether a game is degenerate
            pairs = [*game.support_enumeration(), *game.vertex_enumeration()]
        scores = [score(first, second, np.outer(x, y), selection) for x, y in pairs]
        found, best = score(first, second, policy, selection), max(scores, default=-np.inf)
        assert found >= best - 1e-9
        equal += found <= best + 1e-9
    assert equal >= 30


def score(first, second, joint, selection):
    if selection == "max_entropy":
        return -(joint[joint > 0] * np.log(joint[joint > 0])).sum()
    values = (first * joint).sum(), (second * joint).sum()
    return sum(values) if selection == "utilitarian" else min(values)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 3, 3), (2, 3, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("selection", [None, "utilitarian"])
def test_more_than_two_players(shape, selection):
    payoffs = np.random.default_rng(2).normal(size=(40, len(shape), *shape))
    payoffs[::2] = np.round(payoffs[::2])
    found = equilibria(payoffs, "ne", selection=selection)
    assert found.gaps.max() < 1e-9
    for payoff, policy in zip(payoffs[:5], found.policies, strict=False):
        assert gap_by_enumeration(payoff, policy, "ne") < 1e-9


def test_selection_never_does_worse_than_any_equilibrium():
    payoffs = np.random.default_rng(3).normal(size=(30, 3, 2, 2, 2))
    values = {
        rule: np.einsum("kiabc,kabc->k", payoffs, equilibria(payoffs, "ne", selection=rule).policies)
        for rule in (None, "utilitarian")
    }
    assert (values["utilitarian"] >= values[None] - 1e-9).all()


def test_large_degenerate_games_end():
    """Integer payoffs, duplicate rows: the lexicographic rule must not cycle."""
    rng = np.random.default_rng(4)
    payoffs = rng.integers(0, 3, size=(50, 2, 8, 8)).astype(float)
    payoffs[:, :, 4:] = payoffs[:, :, :4]
    payoffs[:, 1] = -payoffs[:, 0]  # zero-sum
    assert equilibria(payoffs, "ne").gaps.max() < 1e-9
    assert equilibria(payoffs, "ne", selection=None).gaps.max() < 1e-9


def test_an_equilibrium_that_is_out_of_reach_is_an_error_that_says_how_near_it_came():
    """No mixed equilibrium of a generic game has a regret of exactly 0 in floating point."""
    payoffs = np.random.default_rng(5).normal(size=(60, 3, 3, 3, 3))
    with pytest.raises(ConvergenceError, match='the best ne found has regret .*"ce" or "cce" always'):
        equilibria(payoffs, "ne", tolerance=0.0)
