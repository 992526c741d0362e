import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.equilibria import SELECTIONS, equilibria, highs, programs, stage_gaps, zero_sum
from robust_rl.errors import InvalidArgumentError, UnknownNameError

from .oracle import best_value, largest_entropy

SHAPES = [(2, 2), (3, 3), (2, 3), (2, 2, 2), (4, 3)]
RULES = [None, *SELECTIONS]


def random_games(shape, count, seed):
    """Half of them with rounded payoffs, so that ties occur."""
    rng = np.random.default_rng(seed)
    payoffs = rng.normal(size=(count, len(shape), *shape))
    payoffs[::2] = np.round(2 * payoffs[::2]) / 2
    return payoffs


def score(payoffs, policies, selection):
    values = np.einsum("kim,km->ki", payoffs.reshape(*payoffs.shape[:2], -1), policies.reshape(len(policies), -1))
    return values.min(axis=1) if selection == "maximin" else values.sum(axis=1)


def entropy(policies):
    flat = policies.reshape(len(policies), -1)
    return -(flat * np.log(np.where(flat > 0, flat, 1.0))).sum(axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["ce", "cce"])
@pytest.mark.parametrize("selection", ["utilitarian", "maximin"])
def test_selected_value_is_that_of_a_separate_linear_program(shape, kind, selection):
    payoffs = random_games(shape, 40, seed=0)
    found = equilibria(payoffs, kind, selection=selection)
    expected = [best_value(q, kind, selection) for q in payoffs]
    np.testing.assert_allclose(score(payoffs, found.policies, selection), expected, atol=1e-8)
    assert found.gaps.max() < 1e-9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["ce", "cce"])
def test_entropy_is_that_of_a_separate_conic_program(shape, kind):
    cvxpy = pytest.importorskip("cvxpy")
    payoffs = random_games(shape, 40, seed=1)
    found = equilibria(payoffs, kind, selection="max_entropy")
    expected = [largest_entropy(q, kind, cvxpy) for q in payoffs]
    np.testing.assert_allclose(entropy(found.policies), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (5, 5), (3, 3, 3), (8, 8), (1, 3), (4,), (2, 1, 2)])
@pytest.mark.parametrize("kind", ["ce", "cce"])
@pytest.mark.parametrize("selection", RULES)
def test_no_deviation_gains(shape, kind, selection):
    payoffs = random_games(shape, 20, seed=2)
    found = equilibria(payoffs, kind, selection=selection)
    np.testing.assert_allclose(found.policies.reshape(20, -1).sum(axis=1), 1.0, atol=1e-14)
    assert found.policies.min() >= 0
    np.testing.assert_array_equal(found.gaps, stage_gaps(payoffs, found.policies, kind))
    assert found.gaps.max() < 3e-9


def degenerate_games():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(2, 3, 3))
    repeated = base[:, [0, 0, 1]][:, :, [2, 1, 1]]
    zero = rng.integers(-1, 2, size=(3, 3)).astype(float)
    yield "constant", np.zeros((2, 3, 3))
    yield "one player indifferent", base * [[[1.0]], [[0.0]]]
    yield "duplicate actions", repeated
    yield "zero-sum, small integers", np.stack([zero, -zero])
    yield "rock, paper, scissors", np.array([[[0, -1, 1], [1, 0, -1], [-1, 1, 0]], [[0, 1, -1], [-1, 0, 1], [1, -1, 0]]], float)
    yield "moved by a million", base + 1e6
    yield "huge", base * 1e12
    yield "tiny", base * 1e-12
    yield "scales apart", base * [[[1e6]], [[1e-6]]]
    yield "only the first moves", np.repeat(base[:, :, :1], 3, axis=2)
    yield "common payoff with ties", np.round(base[[0, 0]])


@pytest.mark.parametrize(("name", "payoff"), list(degenerate_games()), ids=[name for name, _ in degenerate_games()])
@pytest.mark.parametrize("kind", ["ne", "ce", "cce"])
@pytest.mark.parametrize("selection", RULES)
def test_degenerate_games(name, payoff, kind, selection):
    """Regret within 1e-9 of each player's range, and the rule's value that of the game brought back to its usual scale."""
    found = equilibria(payoff[None], kind, selection=selection)
    span = np.ptp(payoff.reshape(2, -1), axis=1)
    assert found.gaps[0] <= 1e-9 * span.max()
    if kind != "ne" and selection in ("utilitarian", "maximin") and span.max() < 1e3 and span.min() > 1e-3:
        expected = best_value(payoff - payoff.min(), kind, selection)
        shifted = score(payoff[None] - payoff.min(), found.policies, selection)[0]
        assert shifted == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", ["ne", "ce", "cce"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_renaming_actions_and_players_changes_no_value(kind, selection):
    payoffs = random_games((3, 3), 20, seed=4)[1::2]
    rng = np.random.default_rng(4)
    rows, columns = rng.permutation(3), rng.permutation(3)
    renamed = payoffs[:, :, rows][:, :, :, columns]
    swapped = payoffs[:, ::-1].transpose(0, 1, 3, 2)
    plain = equilibria(payoffs, kind, selection=selection)
    for other, back in [
        (renamed, lambda x: x[:, np.argsort(rows)][:, :, np.argsort(columns)]),
        (swapped, lambda x: x.transpose(0, 2, 1)),
    ]:
        found = equilibria(other, kind, selection=selection).policies
        if selection == "max_entropy" and kind != "ne":  # unique
            np.testing.assert_allclose(back(found), plain.policies, atol=1e-6)
        elif selection != "max_entropy":
            expected = score(payoffs, plain.policies, selection)
            np.testing.assert_allclose(score(other, found, selection), expected, atol=1e-9)


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["ne", "ce", "cce"]), selection=st.sampled_from(RULES))
@settings(max_examples=40, deadline=None)
def test_a_game_is_solved_alike_alone_and_in_a_batch(seed, kind, selection):
    payoffs = random_games((3, 2), 5, seed)
    together = equilibria(payoffs, kind, selection=selection).policies
    alone = np.concatenate([equilibria(q[None], kind, selection=selection).policies for q in payoffs])
    np.testing.assert_array_equal(together, alone)


def test_a_dominant_joint_action_is_returned_as_it_is():
    dilemma = np.array([[[[3.0, 0.0], [5.0, 1.0]], [[3.0, 5.0], [0.0, 1.0]]]])
    for kind in ("ne", "ce", "cce"):
        for selection in RULES:
            found = equilibria(dilemma, kind, selection=selection)
            np.testing.assert_array_equal(found.policies, [[[0.0, 0.0], [0.0, 1.0]]])


def test_chicken_under_each_rule():
    """Aumann's example: the best correlated equilibrium pays 10.5 to both together, more than any Nash equilibrium (9 1/3)."""
    chicken = np.array([[[[6.0, 2.0], [7.0, 0.0]], [[6.0, 7.0], [2.0, 0.0]]]])
    assert score(chicken, equilibria(chicken, "ce").policies, "utilitarian")[0] == pytest.approx(10.5, abs=1e-10)
    assert score(chicken, equilibria(chicken, "ne").policies, "utilitarian")[0] == pytest.approx(28 / 3, abs=1e-10)
    assert score(chicken, equilibria(chicken, "ce", selection="maximin").policies, "maximin")[0] == pytest.approx(5.25, abs=1e-10)


def test_what_the_tableau_fails_goes_to_highs(monkeypatch):
    """With no answer accurate enough, every game goes the other way, to the same value."""
    payoffs = random_games((3, 3), 10, seed=5)
    expected = equilibria(payoffs, "ce")
    games = np.random.default_rng(5).normal(size=(4, 3, 5))
    values = zero_sum(games)[0]
    calls = []

    def counted(*arguments):
        calls.append(1)
        return highs_max_min(*arguments)

    highs_max_min = highs.max_min
    monkeypatch.setattr(highs, "max_min", counted)

    def unsolved(*arguments):
        arguments[-1][:] = False

    monkeypatch.setattr(programs, "solve_games", unsolved)
    monkeypatch.setattr(programs, "solve_matrices", unsolved)
    found = equilibria(payoffs, "ce")
    assert len(calls) == 10
    np.testing.assert_allclose(score(payoffs, found.policies, None), score(payoffs, expected.policies, None), atol=1e-8)
    np.testing.assert_allclose(zero_sum(games)[0], values, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (5, 2), (10, 10)])
def test_zero_sum_strategies_guarantee_the_value(shape):
    rng = np.random.default_rng(6)
    games = rng.normal(size=(200, *shape)) * 10.0 ** rng.integers(-3, 4, size=(200, 1, 1))
    games[::2] = np.round(games[::2])
    games[-1], games[-2] = 7.0, games[-2] + 1e6
    values, x, y = zero_sum(games)
    scale = 1e-12 * (1 + np.ptp(games.reshape(200, -1), axis=1))
    scale[-2] += 1e-9
    assert (np.einsum("ka,kab->kb", x, games).min(axis=1) >= values - scale).all()
    assert (np.einsum("kab,kb->ka", games, y).max(axis=1) <= values + scale).all()


def test_an_empty_batch():
    assert equilibria(np.empty((0, 2, 2, 2)), "ce").policies.shape == (0, 2, 2)
    assert equilibria(np.empty((0, 2, 2, 2)), "ne").gaps.shape == (0,)
    assert zero_sum(np.empty((0, 2, 3)))[2].shape == (0, 3)


def test_wrong_arguments_are_named():
    good = np.zeros((1, 2, 2, 2))
    with pytest.raises(UnknownNameError, match="did you mean utilitarian"):
        equilibria(good, "ce", selection="utilitarien")
    with pytest.raises(UnknownNameError, match="no equilibrium 'nash'; known: ne, ce, cce"):
        equilibria(good, "nash")
    with pytest.raises(InvalidArgumentError, match=r"payoffs of shape \(1, 3, 2, 2\)"):
        equilibria(np.zeros((1, 3, 2, 2)), "ce")
    with pytest.raises(InvalidArgumentError, match=r"payoffs of shape \(2, 2\)"):
        zero_sum(np.zeros((2, 2)))
    bad = good.copy()
    bad[0, 1, 0, 1] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"payoffs\[0\] of player 1 at the joint action \(0, 1\) is nan"):
        equilibria(bad, "cce")
    with pytest.raises(InvalidArgumentError, match="is inf"):
        zero_sum([[[0.0, np.inf]]])
    with pytest.raises(InvalidArgumentError, match="tolerance"):
        equilibria(good, "cce", tolerance=-1.0)
    with pytest.raises(InvalidArgumentError, match="starts"):
        equilibria(good, "ne", starts=0)
