"""Derivatives in the radius against finite differences of solutions, and where they are known in closed form."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.solvers.sensitivity import radius_sensitivity
from tests.uncertainty.cases import CASES
from tests.worlds import random_model

PRICED = [case for case in CASES if case.price and case.name != "uncertain-rewards"]  # whose radius is that of rewards
STEP, SEEDS = 1e-4, range(6)
CRITERIA = [{"discount": 0.8, "tol": 1e-9}, {"horizon": 4}]


def instances(case):
    """Random models and radii, with the set as a function of what is added to the radius of some rows."""
    for seed in SEEDS:
        model = random_model(seed, transition_rewards=seed % 2 == 0, sparse=seed % 3 == 0)
        radius = np.random.default_rng(seed).uniform(0.05, 0.5)
        support = ("free", "nominal", "reachable")[seed % 3]
        yield model, lambda more, r=radius, s=support, n=model.num_states: case.build(np.zeros(n), r + more, s)


def slopes(model, build, rows, **criterion):
    """Left and right difference quotients of the value from the start, when the radii of ``rows`` change."""
    shape = (model.num_states, model.num_actions)
    below, here, above = (
        np.atleast_2d(rr.solve(model, build(step * rows * np.ones(shape)), **criterion).value)[0] for step in (-STEP, 0, STEP)
    )
    return float(model.start @ (here - below)) / STEP, float(model.start @ (above - here)) / STEP


@pytest.mark.parametrize("criterion", CRITERIA, ids=["discount", "horizon"])
@pytest.mark.parametrize("case", PRICED, ids=lambda case: case.name)
def test_is_the_finite_difference_of_solutions(case, criterion):
    """A sign, a transposed kernel, a missing discount or a wrong multiplier is off by tens of percent.

    Where left and right quotients differ there is a kink, or a change of policy, and nothing to compare; that is rare. A value
    is off by 1e-9 at most, so a quotient by 1e-5, and the middle of both by its third derivative times the step's square.
    """
    compared = 0
    for model, build in instances(case):
        solution = rr.solve(model, build(0.0), **criterion)
        sensitivity = radius_sensitivity(model, solution)
        for rows in (np.ones(sensitivity.rows.shape[-2:]), _heaviest(sensitivity)):
            left, right = slopes(model, build, rows, **criterion)
            if abs(right - left) > 1e-2 * abs(left) + 1e-4:
                continue
            # sets are built by a common number, of which their own radius is a multiple
            found = case.price * (sensitivity.rows * rows).sum()
            assert found == pytest.approx((left + right) / 2, rel=1e-4, abs=3e-5)
            compared += abs(found) > 1e-2
    assert compared >= len(SEEDS), "half of the comparisons at least, of slopes that aren't 0"


def _heaviest(sensitivity):
    (state, action, _), *_ = sensitivity.heaviest(1)
    mark = np.zeros(sensitivity.rows.shape[-2:])
    mark[state, action] = 1.0
    return mark


@pytest.mark.parametrize("criterion", CRITERIA, ids=["discount", "horizon"])
def test_rows_and_states_are_two_readings_of_one_derivative(criterion):
    for seed in SEEDS:
        model = random_model(seed)
        solution = rr.solve(model, rr.ChiSquare(np.random.default_rng(seed).uniform(0.1, 1, (5, 3))), **criterion)
        found = radius_sensitivity(model, solution)
        first = np.atleast_2d(found.value)[0]
        assert found.rows.sum() == pytest.approx(found.start, rel=1e-10)
        assert model.start @ first == pytest.approx(found.start, rel=1e-12)
        assert found.rows.shape == solution.action_values.shape
        assert (found.value <= 1e-12).all()
        unused = np.arange(3) != solution.policy[..., None]
        assert (found.rows[unused] == 0).all()
        assert (found.value[..., model.terminal] == 0).all()


def test_contamination_in_closed_form():
    """With one reward r a step and a loop, V = r / (1 - gamma): nothing depends on R. With a terminal trap m = 0 is the minimum:
    V = r / (1 - (1 - R) gamma), so dV/dR = -gamma r / (1 - (1 - R) gamma)^2."""
    gamma, reward, radius = 0.9, 2.0, 0.3
    transitions = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    model = rr.TabularMDP(transitions, np.array([[reward], [0.0]]), start=[1.0, 0.0], terminal=[False, True])
    solution = rr.solve(model, rr.Contamination(radius, support="free"), discount=gamma, tol=1e-12)
    shrunk = 1 - (1 - radius) * gamma
    assert solution.value[0] == pytest.approx(reward / shrunk, rel=1e-10)
    found = radius_sensitivity(model, solution)
    np.testing.assert_allclose(found.value, [-gamma * reward / shrunk**2, 0.0], rtol=1e-10)
    np.testing.assert_allclose(found.rows, [[-gamma * reward / shrunk**2], [0.0]], rtol=1e-10)
    assert found.heaviest() == [(0, 0, pytest.approx(-gamma * reward / shrunk**2))]
    nominal = radius_sensitivity(model, rr.solve(model, rr.Contamination(radius, support="nominal"), discount=gamma))
    assert nominal.start == 0.0
    assert nominal.heaviest() == []


def test_cliff_walking_by_hand():
    """A step of 1e-5 in the radius of total variation costs what the derivative says; 48 states, a model from Gymnasium."""
    model = rr.envs.tabular("CliffWalking-v1")
    balls = [rr.TotalVariation(radius, support="reachable") for radius in (0.1, 0.1 + 1e-5)]
    one, two = (rr.solve(model, ball, discount=0.99, tol=1e-9) for ball in balls)
    found = radius_sensitivity(model, one)
    np.testing.assert_allclose(found.value, (two.value - one.value) / 1e-5, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("build", [rr.KL, rr.ChiSquare, lambda r: rr.ReverseKL(r, support="free")])
def test_no_slope_where_the_value_falls_like_a_square_root(build):
    model = random_model(0)
    with pytest.raises(InvalidUncertaintyError, match=r"no finite derivative in the radius of .* at \(s=\d, a=\d\)"):
        radius_sensitivity(model, rr.solve(model, build(0.0), discount=0.9))


def test_bad_input_is_named():
    model = random_model(0)
    for uncertainty, name in ((None, "None"), (rr.Interval(0.0, 0.9), "Interval")):
        with pytest.raises(InvalidUncertaintyError, match=f"{name}.* has no radius"):
            radius_sensitivity(model, rr.solve(model, uncertainty, discount=0.9))
    solution = rr.solve(model, rr.TotalVariation(0.1, support="free"), discount=0.9)
    with pytest.raises(InvalidArgumentError, match=r"\(5, 3\) states and actions, the model \(4, 2\)"):
        radius_sensitivity(random_model(0, states=4, actions=2), solution)
