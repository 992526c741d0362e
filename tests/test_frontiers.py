"""The price of robustness against its parts computed one by one, and ranges over ties against all policies there are."""

import itertools

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.frontiers import ROWS, FrontierPlanner, robust_values_of_ties
from robust_rl.table import Table
from tests.worlds import random_model

BALL = rr.TotalVariation(0.1, support="reachable")
CRITERIA = pytest.mark.parametrize("criterion", [{"discount": 0.9}, {"horizon": 2}], ids=["discount", "horizon"])


@CRITERIA
def test_ranges_over_ties_are_those_of_all_policies(criterion):
    """Actions 0 and 1 tie everywhere; of 16 stationary policies, or 256 plans of two stages, each is evaluated exactly."""
    for seed in range(4):
        rewards = np.random.default_rng(seed).normal(size=(4, 3))
        hurt = random_model(seed, states=4, transition_rewards=False, terminal=False, masked=False).replace(rewards=rewards)
        tied = rr.solve(hurt.replace(rewards=np.tile([1.0, 1.0, 0.5], (4, 1))), None, **criterion)
        assert (tied.optimal_actions == [True, True, False]).all()
        ball = rr.TotalVariation(0.2, support="free")
        found = robust_values_of_ties(tied, hurt, ball)
        shape = tied.policy.shape
        plans = (np.array(plan).reshape(shape) for plan in itertools.product([0, 1], repeat=tied.policy.size))
        values = np.stack([rr.policy_value(hurt, plan, ball, **criterion) for plan in plans])
        np.testing.assert_allclose(found.lowest, values.min(axis=0), atol=1e-8)
        np.testing.assert_allclose(found.highest, values.max(axis=0), atol=1e-8)
        assert (found.highest - found.lowest).max() > 0.05


@CRITERIA
def test_each_number_is_what_its_row_says(criterion):
    model, radii = random_model(3), [0.3, 0.0, 0.1]
    table = rr.frontier(model, rr.ChiSquare(7.0), radii, **criterion)
    assert (table.rows, table.columns) == (ROWS, ("0.3", "0.0", "0.1"))
    nominal = rr.solve(model, None, **criterion)
    for radius in radii:
        ball = rr.ChiSquare(radius)
        robust = rr.solve(model, ball, **criterion)
        guaranteed, modelled, unprotected = (table[row, repr(radius)] for row in ROWS)
        first = robust.at_first_stage().certificate
        assert (guaranteed.low, guaranteed.high) == (model.start @ first.lower, model.start @ first.upper)
        for cell, policy, world in ((modelled, robust.policy, None), (unprotected, nominal.policy, ball)):
            value = np.atleast_2d(rr.policy_value(model, policy, world, **criterion))[0]
            assert cell.kind == "exact"
            assert cell.middle == pytest.approx(model.start @ value, abs=1e-8)
        assert unprotected.low <= guaranteed.high
    assert table[ROWS[0], "0.0"].middle == pytest.approx(table[ROWS[1], "0.0"].middle, abs=1e-5)
    assert Table.from_dict(table.to_dict()) == table


def test_robustness_pays_where_it_should():
    """On CliffWalking the robust policy gives up 3.46 in still air, and the nominal one 177 in the worst case."""
    table = rr.frontier("CliffWalking-v1", BALL, [0.1], discount=0.99)
    guaranteed, modelled, unprotected = (table[row, "0.1"].middle for row in ROWS)
    assert guaranteed == pytest.approx(-33.629, abs=1e-3)
    assert modelled == pytest.approx(-15.706, abs=1e-3)
    assert unprotected < -200


def test_a_run_leaves_its_table(tmp_path):
    table = rr.frontier(random_model(0), BALL, [0.0, 0.1], discount=0.9, run=tmp_path / "run")
    from robust_rl.training import RunDirectory, read_json

    run = RunDirectory(tmp_path / "run")
    assert Table.from_dict(read_json(run.result / "frontier.json")) == table
    assert [line["frontier/radius"] for line in run.metrics()] == [0.0, 0.1]
    assert rr.frontier(random_model(0), BALL, [0.0, 0.1], discount=0.9, run=tmp_path / "run") == table
    with pytest.raises(InvalidArgumentError, match="of another problem: its model"):
        rr.frontier(random_model(1), BALL, [0.0, 0.1], discount=0.9, run=tmp_path / "run")


@pytest.mark.parametrize(
    ("uncertainty", "radii", "keywords", "error", "message"),
    [
        (None, [0.1], {}, InvalidUncertaintyError, "None has no radius to vary"),
        (rr.Interval(0, 1), [0.1], {}, InvalidUncertaintyError, "Interval.* has no radius to vary"),
        (rr.KL(np.full((5, 3), 0.1)), [0.1], {}, InvalidUncertaintyError, "a radius for every row"),
        (BALL, [], {}, InvalidArgumentError, "give at least one, and each once"),
        (BALL, [0.1, 0.1], {}, InvalidArgumentError, "give at least one, and each once"),
        (BALL, [0.1, 1.1], {}, InvalidUncertaintyError, r"radius 1.1 is outside \[0, 1\]"),
        (BALL, [0.1], {"horizon": 2}, InvalidArgumentError, "exactly one of discount and horizon"),
        (BALL, [0.1], {"tol": 0.0}, InvalidArgumentError, "tol is 0"),
    ],
)
def test_bad_input_is_named_before_anything_is_solved(uncertainty, radii, keywords, error, message):
    with pytest.raises(error, match=message):
        FrontierPlanner(random_model(0), uncertainty, radii, **{"discount": 0.9} | keywords)
