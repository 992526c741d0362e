"""Linear MDPs: the exact d-rectangular values, the domains, and DROP's way to them as data grow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import robust_rl as rr
from robust_rl.envs import random_linear, simulated_linear
from robust_rl.envs.linear import START
from robust_rl.errors import InvalidArgumentError, InvalidModelError
from robust_rl.features import Table
from robust_rl.models import LinearMDP
from robust_rl.solvers import DROPSolver, DROPVSolver, linear_problem, linear_values


def ball(radius):
    return rr.TotalVariation(radius, support="free")


def learned(model, radius, episodes, seed, kind=DROPSolver, policy=None, **options):
    data = rr.datasets.from_arrays(*model.sample(episodes, np.random.default_rng(seed), policy))
    problem = linear_problem(data, ball(radius), features=Table(model.phi), horizon=model.horizon)
    solver = kind(problem, data, **options)
    while not solver.done:
        solver.step()
    return solver.solution()


def worst_by_linear_program(p, value, radius):
    """min q.v, q a distribution with 1/2 |q - p| <= radius: variables q and t >= |q - p|."""
    n = len(p)
    eye, one = np.eye(n), np.ones((1, n))
    upper = np.block([[eye, -eye], [-eye, -eye], [0 * one, one]])
    bounds = np.concatenate([p, -p, [2 * radius]])
    found = linprog(np.concatenate([value, np.zeros(n)]), upper, bounds, np.hstack([one, 0 * one]), [1.0])
    return found.fun


def test_values_are_those_of_one_linear_program_a_factor():
    model = random_linear(4, 2, 3, 2, seed=1)
    radius = np.random.default_rng(0).random((2, 3))
    value = np.zeros(4)
    found = linear_values(model, ball(radius))
    for h in (1, 0):
        nu = [worst_by_linear_program(model.factors[h, i], value, radius[h, i]) for i in range(3)]
        q = np.array([[model.phi[s, a] @ (model.theta[h] + nu) for a in range(2)] for s in range(4)])
        value = q.max(axis=1)
        np.testing.assert_allclose(found.action_values[h], q, atol=1e-9)
    fixed = linear_values(model, ball(radius), found.policy)
    np.testing.assert_allclose(fixed.value, found.value, atol=1e-14)
    uniform = linear_values(model, ball(radius), np.full((2, 4, 2), 0.5))
    assert (uniform.value <= found.value + 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_d_rectangular_values_are_at_least_the_state_action_rectangular_ones(seed, radius):
    model = random_linear(5, 3, 4, 3, seed=seed)
    found = linear_values(model, ball(radius))
    value = np.zeros(5)
    for h in (2, 1, 0):
        value = (model.rewards[h] + ball(radius).worst_case(model.transitions[h], value).value).max(axis=1)
        assert (found.value[h] >= value - 1e-12).all()


def test_with_one_hot_features_the_two_rectangularities_coincide():
    rng = np.random.default_rng(0)
    phi = np.eye(8).reshape(4, 2, 8)
    model = LinearMDP(phi, np.repeat(rng.dirichlet(np.ones(4), size=8)[None], 3, axis=0), np.tile(rng.random(8), (3, 1)))
    tabular = rr.TabularMDP(model.transitions[0], model.rewards[0])
    exact = rr.solve(tabular, ball(0.2), horizon=3)
    np.testing.assert_allclose(linear_values(model, ball(0.2)).value, exact.value, atol=1e-12)


def test_simulated_model_has_the_values_computed_by_hand():
    e, p = 0.6, 0.001
    middle = e + e + (1 - e) * (1 - p) * e  # reward now, the goal's next, or the last state's
    best = linear_values(simulated_linear(0.3), None)
    assert best.value[0, START] == pytest.approx(2 * e + (1 - e) * (1 - p) * middle, abs=1e-14)
    assert best.policy[0, START] == 15  # all of a is 1
    for q in (0.0, 0.4, 1.0):
        shifted = linear_values(simulated_linear(0.3, q=q), None, best.policy)
        assert shifted.value[0, START] == pytest.approx(2 * (1 - q) * e + (1 - e) * middle, abs=1e-14)


def test_samples_follow_the_model():
    model = random_linear(4, 2, 3, 2, seed=0)
    s, a, r, after = model.sample(40_000, np.random.default_rng(0))
    np.testing.assert_array_equal(r, model.rewards[np.arange(2), s, a])
    np.testing.assert_array_equal(after[:, 0], s[:, 1])
    for h in range(2):
        for x in range(4):
            rows = (s[:, h] == x) & (a[:, h] == 1)
            share = np.bincount(after[rows, h], minlength=4) / rows.sum()
            assert abs(share - model.transitions[h, x, 1]).max() <= 5 * 0.5 / np.sqrt(rows.sum())
    actions = model.sample(50, np.random.default_rng(0), np.ones((2, 4), dtype=int))[1]
    assert (actions == 1).all()


@pytest.mark.parametrize("kind", [DROPSolver, DROPVSolver])
def test_learned_values_reach_the_exact_ones_at_the_rate_of_the_square_root(kind):
    """No penalty: the mean error over seeds falls by about 8 from K to 64 K.

    A ridge of 1 would add a bias of order 1/K that at K = 500 exceeds the noise, and hide the rate.
    """
    model, sizes = random_linear(10, 3, 4, 3, seed=2), (500, 32_000)
    truth = linear_values(model, ball(0.15)).value
    options = {"penalty": 0.0} | ({"preliminary_penalty": 0.0} if kind is DROPVSolver else {"ridge": 0.01})
    errors = [
        np.mean([abs(learned(model, 0.15, k, seed, kind, **options).value(np.arange(10)) - truth)[0].max() for seed in range(12)])
        for k in sizes
    ]
    slope = np.log(errors[1] / errors[0]) / np.log(sizes[1] / sizes[0])
    print(f"{kind.method}: mean errors {errors[0]:.4g}, {errors[1]:.4g}, slope {slope:.3f}")
    assert -0.6 <= slope <= -0.4
    assert errors[1] <= 0.05


@pytest.mark.parametrize("kind", [DROPSolver, DROPVSolver])
def test_mean_suboptimality_falls_at_least_as_the_square_root(kind):
    """Over random models, mean robust value lost from a uniform start; most single losses are soon exactly 0."""
    sizes, states = (125, 2000), np.arange(10)
    penalties = {"penalty": 0.1} | ({"preliminary_penalty": 0.1} if kind is DROPVSolver else {})
    lost = np.zeros((2, 40))
    for seed in range(40):
        model = random_linear(10, 3, 4, 3, seed=seed)
        best = linear_values(model, ball(0.15)).value[0]
        for k, episodes in enumerate(sizes):
            policy = learned(model, 0.15, episodes, seed, kind, **penalties).policy(states)
            lost[k, seed] = model.start @ (best - linear_values(model, ball(0.15), policy).value[0])
    few, many = lost.mean(axis=1)
    print(f"{kind.method}: mean suboptimality {few:.3g} at {sizes[0]}, {many:.3g} at {sizes[1]}")
    assert many <= few / np.sqrt(sizes[1] / sizes[0])


@pytest.mark.parametrize("kind", [DROPSolver, DROPVSolver])
def test_pessimism_holds_with_the_constants_of_the_theory(kind):
    """The value claimed is at most the robust value of the policy, in 200 of 200 seeds; at this size it claims 0."""
    model, states = random_linear(6, 2, 3, 3, seed=4), np.arange(6)
    for seed in range(200):
        found = learned(model, 0.1, 60, seed, kind, penalty="theory")
        truth = linear_values(model, ball(0.1), found.policy(states)).value
        assert (found.value(states) <= truth + 1e-12).all()


def test_a_much_smaller_penalty_is_still_pessimistic_and_none_is_not():
    """A thousandth of the theory's leaves nearly all to claim, and is above the truth in at most 5 of 100 seeds.

    A ridge of 1 shrinks estimates so much that it alone would be pessimistic here.
    """
    model, states = random_linear(6, 2, 3, 3, seed=4), np.arange(6)
    above, claimed = {}, {}
    for penalty in (0.0, 0.1):
        shares = []
        for seed in range(100):
            found = learned(model, 0.1, 400, seed, penalty=penalty, ridge=0.01)
            truth = linear_values(model, ball(0.1), found.policy(states)).value[0]
            value = found.value(states)[0]
            above[penalty] = above.get(penalty, 0) + (value > truth).any()
            shares.append(value.mean() / truth.mean())
        claimed[penalty] = np.mean(shares)
    print(f"above the truth in {above} of 100, claims {claimed}")
    assert above[0.0] >= 50
    assert above[0.1] <= 5
    assert claimed[0.1] > 0.8


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LinearMDP(np.full((2, 1, 2), 0.6), np.full((1, 2, 2), 0.5), np.zeros((1, 2))), InvalidModelError, "phi"),
        (lambda: LinearMDP(np.full((2, 1, 2), 0.5), np.full((1, 2, 2), 0.4), np.zeros((1, 2))), InvalidModelError, "factors"),
        (lambda: LinearMDP(np.full((2, 1, 2), 0.5), np.full((1, 3, 2), 0.5), np.zeros((1, 3))), InvalidModelError, "expected"),
        (lambda: LinearMDP(np.full((2, 1, 2), 0.5), np.full((1, 2, 2), 0.5), np.zeros((1, 3))), InvalidModelError, "theta"),
        (lambda: simulated_linear(0.4), InvalidArgumentError, "xi=0.4"),
        (lambda: linear_values(random_linear(), None, np.zeros(3)), InvalidArgumentError, "policy has shape"),
    ],
)
def test_bad_models_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
