"""Critical radii where they are known in closed form, and every reported change held against exact values of its policies."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.solvers.critical import critical_radii
from robust_rl.uncertainty.resize import resized
from tests.uncertainty.cases import CASES
from tests.worlds import random_model

PRICED = [case for case in CASES if case.price and case.name != "uncertain-rewards"]  # whose radius is that of rewards


def lotteries(*states):
    """A model whose every state chooses once among lotteries [(probability, prize), ...], then ends."""
    prizes = sorted({prize for lots in states for lot in lots for _, prize in lot})
    count, actions = len(states), max(map(len, states))
    size = count + len(prizes)
    p, r = np.zeros((size, actions, size)), np.zeros((size, actions, size))
    p[count:, :, -1] = 1.0
    for s, lots in enumerate(states):
        for a in range(actions):
            for probability, prize in lots[min(a, len(lots) - 1)]:
                p[s, a, count + prizes.index(prize)] += probability
                r[s, a, count + prizes.index(prize)] = prize
    return rr.TabularMDP(p, r, start=np.eye(size)[0], terminal=np.arange(size) >= count)


def risky(chance):
    return [(chance, 1.0), (1 - chance, 0.0)]


def safe(prize):
    return [(1.0, prize)]


TV = rr.TotalVariation(0.5, support="nominal")


def test_each_choice_changes_where_its_lines_cross():
    """Under total variation sigma a chance of 0.9 on 1 is worth 0.9 - sigma, so a safe c is better from 0.9 - c on."""
    model = lotteries(*([risky(0.9), safe(c)] for c in (0.8, 0.6, 0.5, 0.3)))
    found = critical_radii(model, TV, discount=0.9)
    assert [round(change.radius, 3) for change in found.changes] == [0.1, 0.3, 0.4]
    for change, expected, state in zip(found.changes, (0.1, 0.3, 0.4), range(3), strict=True):
        assert change.low <= expected <= change.high
        assert change.high - change.low <= 0.0005
        assert change.states.tolist() == [state]
        assert (change.before[state], change.after[state]) == (0, 1)
    assert found.complete
    assert found.first is found.changes[0]
    np.testing.assert_allclose(found.values, np.maximum(0.9 - found.radii, 0.8), atol=1e-6)
    only = critical_radii(model, TV, discount=0.9, most=2)
    assert not only.complete
    assert len(only.changes) == 2
    assert only.radii[-1] == 0.5
    assert critical_radii(model, TV, discount=0.9, largest=0.05).first is None
    assert critical_radii(model, TV, horizon=2).first.states.tolist() == [0]


def test_levels_fall_from_one():
    """The mean of the worst alpha of a chance of 0.9 on 1 is (alpha - 0.1) / alpha, which is 0.6 at alpha = 0.25."""
    found = critical_radii(lotteries([risky(0.9), safe(0.6)]), rr.CVaR(0.1), discount=0.9)
    (change,) = found.changes
    assert change.high <= 0.25 <= change.low
    assert found.radii[0] == 1.0
    assert (np.diff(found.radii) < 0).all()


def test_ties_are_no_changes():
    """Two equal lotteries at every radius; and two that tie at radius 0 only, where the better one was optimal all along."""
    equal = lotteries([risky(0.9), risky(0.9)])
    assert critical_radii(equal, TV, discount=0.9).first is None
    at_zero = lotteries([safe(0.9), risky(0.9)], [risky(0.9), safe(0.9)])
    assert critical_radii(at_zero, TV, discount=0.9).first is None


def test_a_change_that_reverts_is_seen_by_the_grid_alone():
    """Action 0 is worth 1 - 10 sigma down to 0, action 1 0.9 - 2 sigma down to -0.1: 0 is better outside [0.0125, 0.45]."""
    model = lotteries([[(0.1, 10.0), (0.9, 0.0)], [(0.5, 1.9), (0.5, -0.1)]])
    assert critical_radii(model, TV, discount=0.9, grid=1).first is None
    found = critical_radii(model, TV, discount=0.9, grid=8).changes
    assert [change.low <= at <= change.high for change, at in zip(found, (0.0125, 0.45), strict=True)] == [True, True]


@pytest.mark.parametrize("criterion", [{"discount": 0.9}, {"horizon": 3}], ids=["discount", "horizon"])
@pytest.mark.parametrize("case", PRICED, ids=lambda case: case.name)
def test_changes_are_true_of_the_policies_themselves(case, criterion):
    """The old policy's exact robust value meets the optimum at low, and falls short of its lower bound at high.

    At low it may fall short by what the certificates leave open: 2 gaps a step, so 2e-6 / (1 - 0.9).
    """
    seen = 0
    for seed in range(3):
        model = random_model(seed)
        largest = case.build(np.zeros(model.num_states), 0.4, "reachable")
        found = critical_radii(model, largest, **criterion, grid=2, most=3)
        for change in found.changes:
            at_low, at_high = (resized(largest, radius) for radius in (change.low, change.high))
            low, high = (rr.solve(model, ball, **criterion) for ball in (at_low, at_high))
            worth = rr.policy_value(model, change.before, at_low, **criterion)
            assert (worth >= low.certificate.upper - 1e-4).all()
            worth = rr.policy_value(model, change.before, at_high, **criterion)
            short = (worth < high.certificate.lower).reshape(-1, model.num_states).any(axis=0)
            assert short[change.states].all()
            worth = rr.policy_value(model, change.after, at_high, **criterion)
            assert (worth >= high.certificate.upper - 1e-4).all()
            seen += 1
    assert seen >= 1


def test_first_change_of_frozen_lake_against_a_scan():
    """No policy serves both sides; on a scan of 41 radii the nominal optimum is optimal below, and at none above."""
    model = rr.envs.tabular("FrozenLake-v1")
    ball = rr.TotalVariation(0.1, support="reachable")
    first = critical_radii(model, ball, discount=0.99).first
    for radius in np.linspace(0, 0.1, 41):
        solution = rr.solve(model, resized(ball, radius), discount=0.99)
        worth = rr.policy_value(model, first.before, solution.uncertainty, discount=0.99)
        loss = (solution.certificate.lower - worth).max()
        assert loss <= 1e-4 if radius <= first.low else loss > 0 or radius < first.high


@pytest.mark.parametrize(
    ("uncertainty", "keywords", "error", "message"),
    [
        (None, {}, InvalidUncertaintyError, "None has no radius to vary"),
        (rr.Interval(0, 1), {}, InvalidUncertaintyError, "Interval.* has no radius to vary"),
        (rr.KL(np.full((5, 3), 0.1)), {}, InvalidUncertaintyError, "a radius for every row"),
        (TV, {"largest": 1.5}, InvalidUncertaintyError, r"radius 1.5 is outside \[0, 1\]"),
        (TV, {"resolution": 0}, InvalidArgumentError, "resolution is 0"),
        (TV, {"grid": 0}, InvalidArgumentError, "grid is 0"),
        (TV, {"most": 0}, InvalidArgumentError, "most is 0"),
        (TV, {"horizon": 3}, InvalidArgumentError, "exactly one of discount and horizon"),
    ],
)
def test_bad_input_is_named(uncertainty, keywords, error, message):
    with pytest.raises(error, match=message):
        critical_radii(random_model(0), uncertainty, **{"discount": 0.9} | keywords)


def test_a_point_has_no_changes():
    found = critical_radii(random_model(0), rr.TotalVariation(0.0, support="free"), discount=0.9)
    assert (found.changes, found.radii.tolist(), found.complete) == ((), [0.0], True)
