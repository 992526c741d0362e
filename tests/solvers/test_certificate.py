"""The certificate against optima found by enumerating policies and kernels."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl.errors import ConvergenceWarning, InvalidArgumentError, UnknownNameError
from robust_rl.solvers import BackwardInduction, ValueIteration
from tests.worlds import random_model


def extreme_points(p, radius):
    """Points that contain every worst case of a total-variation ball: remove mass in some order, put it on one state."""
    points = set()
    for order in permutations(range(len(p))):
        for target in range(len(p)):
            q, left = p.copy(), radius
            for i in order:
                moved = min(left, q[i]) if i != target else 0.0
                q[i] -= moved
                q[target] += moved
                left -= moved
            points.add(tuple(q.round(15)))
    return [np.array(point) for point in points]


def robust_optimum(model, radius, discount):
    """Maximum over all deterministic policies of the minimum over all choices of extreme points, each by a linear solve."""
    states, actions = model.num_states, model.num_actions
    rewards = model.rewards if model.has_transition_rewards else np.repeat(model.rewards[..., None], states, axis=2)
    points = {(s, a): np.array(extreme_points(model.transitions[s, a], radius)) for s, a in np.ndindex(states, actions)}
    best = np.full(states, -np.inf)
    for policy in product(range(actions), repeat=states):
        choices = [points[s, a] for s, a in enumerate(policy)]
        index = np.meshgrid(*[np.arange(len(choice)) for choice in choices], indexing="ij")
        kernels = np.stack([choice[i.ravel()] for choice, i in zip(choices, index, strict=True)], axis=1)
        gains = np.einsum("kst,st->ks", kernels, np.stack([rewards[s, a] for s, a in enumerate(policy)]))
        values = np.linalg.solve(np.eye(states) - discount * kernels, gains[..., None])[..., 0]
        best = np.maximum(best, values.min(axis=0))
    return best


def small_model(seed, transition_rewards):
    model = random_model(seed, states=3, actions=2, terminal=False, masked=False, transition_rewards=transition_rewards)
    if not transition_rewards:
        return model
    # the enumeration reads r(s,a,s') as it stands: give unreached successors the reward of the convention
    rewards = model.rewards.copy()
    for s, a, t in np.ndindex(rewards.shape):
        reaching = [model.rewards[s, b, t] for b in range(2) if model.transitions[s, b, t] > 0]
        if model.transitions[s, a, t] == 0 and reaching:
            rewards[s, a, t] = min(reaching)
    return model.replace(rewards=rewards)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    radius=st.floats(0, 1),
    discount=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    transition_rewards=st.booleans(),
)
def test_brackets_the_enumerated_optimum_at_every_iteration(seed, radius, discount, transition_rewards):
    """Fails if a bound is on the wrong side by more than the enumeration's own rounding, at any sweep."""
    model = small_model(seed, transition_rewards)
    optimum = robust_optimum(model, radius, discount)
    solver = ValueIteration(model, rr.TotalVariation(radius, support="free"), discount=discount, tol=1e-9)
    slack = 1e-11 * (1 + abs(optimum).max())
    sweeps = 0
    while not solver.done and sweeps < 300:
        solver.step()
        sweeps += 1
        assert (solver.certificate.lower <= optimum + slack).all()
        assert (optimum <= solver.certificate.upper + slack).all()
    solution = solver.solution()
    if solver.done:
        assert solution.certificate.gap <= 1e-9
        np.testing.assert_allclose(solution.value, optimum, atol=1e-9 + slack)
    worth = rr.policy_value(model, solution.policy, solution.uncertainty, discount=discount)
    assert (worth >= solution.certificate.lower - slack).all(), "the greedy policy is worth at least the lower bound"


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e10])
@pytest.mark.parametrize("arguments", [{"discount": 0.99}, {"discount": 0.0}, {"horizon": 3}])
def test_brackets_hold_where_large_rewards_cancel(scale, arguments):
    """Rewards r(s,a,s') of mean zero: values are rounding error of the rewards' size; the truth comes from fractions."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.ones(4))
        r = rng.normal(size=4) * scale
        r -= p @ r
        model = rr.TabularMDP(np.tile(p, (4, 1, 1)), np.tile(r, (4, 1, 1)))
        kernel = [Fraction(x) for x in model.transitions[0, 0]]
        mean = sum(q * Fraction(x) for q, x in zip(kernel, model.rewards[0, 0], strict=True)) / sum(kernel)
        factor = 3 if "horizon" in arguments else 1 / (1 - Fraction(arguments["discount"]))
        bounds = rr.solve(model, None, **arguments, tol=scale).certificate
        assert (bounds.lower <= float(mean * factor)).flat[0]
        assert (float(mean * factor) <= bounds.upper).flat[0]


def test_rows_that_are_off_by_less_than_the_tolerance_are_normalised():
    """The certificate rests on rows that sum to 1; rows from float32 are off by 1e-8."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=(4, 2)) * (1 - 0.9e-8)
    given = p.copy()
    model = rr.TabularMDP(p, rng.uniform(90, 100, size=(4, 2)))
    np.testing.assert_array_equal(p, given)
    solution = rr.solve(model, None, discount=0.99)
    worth = rr.policy_value(model, solution.policy, discount=0.99)
    assert (solution.certificate.lower <= worth).all()
    assert (worth <= solution.certificate.upper).all()
    sparse = rr.TabularMDP(csr_array(p.reshape(8, 4)), model.rewards)
    np.testing.assert_allclose(sparse.csr().sum(axis=1), 1.0, rtol=1e-15)


def test_bounds_shrink_to_rounding_and_stay_honest():
    """A tolerance below rounding ends with a warning and the true width, not with an endless loop or a false claim."""
    model = rr.envs.tabular("robust_rl/RiverSwim-v0")
    with pytest.warns(ConvergenceWarning, match="not to tol=1e-16"):
        solution = rr.solve(model, rr.TotalVariation(0.1, support="free"), discount=0.99, tol=1e-16)
    assert 1e-16 < solution.certificate.gap < 1e-10


def test_too_few_iterations_warn_and_the_bounds_still_hold():
    model, ball = rr.envs.tabular("FrozenLake-v1"), rr.TotalVariation(0.1, support="free")
    optimum = rr.solve(model, ball, discount=0.99, tol=1e-9).value
    with pytest.warns(ConvergenceWarning, match="value iteration stopped after 5 steps"):
        rough = rr.solve(model, ball, discount=0.99, method="value_iteration", max_iterations=5)
    assert (rough.certificate.lower <= optimum).all()
    assert (optimum <= rough.certificate.upper).all()


@pytest.mark.parametrize("seed", range(10))
def test_finite_horizon_equals_plain_loops(seed):
    model = random_model(seed, transition_rewards=False)
    ball = rr.TotalVariation(0.2, support="free")
    solution = rr.solve(model, ball, horizon=6)
    value = np.zeros(model.num_states)
    for h in reversed(range(6)):
        q = np.full((model.num_states, model.num_actions), -np.inf)
        for s, a in np.argwhere(model.action_mask & ~model.terminal[:, None]):
            q[s, a] = model.rewards[s, a] + min(point @ value for point in extreme_points(model.transitions[s, a], 0.2))
        value = np.where(model.terminal, 0.0, q.max(axis=1))
        np.testing.assert_allclose(solution.value[h], value, atol=1e-10)
    assert solution.certificate.gap < 1e-10
    worth = rr.policy_value(model, solution.policy, ball, horizon=6)
    np.testing.assert_allclose(worth, solution.value, atol=1e-10)


def stopping_model(seed, chance=0.3):
    """Every action ends the episode with at least the given chance, so that every policy is proper."""
    model = random_model(seed, masked=False, transition_rewards=False)
    p = (1 - chance) * model.transitions
    p[..., 0] += chance
    return model.replace(transitions=p)


@pytest.mark.parametrize("seed", range(5))
def test_shortest_paths_are_bracketed_at_every_iteration(seed):
    model, ball = stopping_model(seed), rr.TotalVariation(0.1, support="free")
    points = [[np.array(extreme_points(p, 0.1)) for p in rows] for rows in model.transitions]
    exact = np.zeros(model.num_states)
    for _ in range(400):
        q = np.array([[(x @ exact).min() for x in row] for row in points]) + model.rewards
        exact = np.where(model.terminal, 0.0, q.max(axis=1))
    solver = ValueIteration(model, ball, discount=1.0, tol=1e-9)
    while not solver.done:
        solver.step()
        assert (solver.certificate.lower <= exact + 1e-9).all()
        assert (exact <= solver.certificate.upper + 1e-9).all()
    np.testing.assert_allclose(solver.solution().value, exact, atol=1e-8)


def test_blackjack_is_proper_and_cliff_walking_is_not():
    blackjack = rr.solve(rr.envs.tabular("Blackjack-v1", sab=False), None, discount=1.0)
    start = float(rr.envs.tabular("Blackjack-v1", sab=False).start @ blackjack.value)
    assert start == pytest.approx(-0.046556, abs=1e-5)
    with pytest.raises(InvalidArgumentError, match=r"discount is 1, but from state \d+ some policy may never end under"):
        rr.solve(rr.envs.tabular("CliffWalking-v1"), None, discount=1.0)


def test_an_adversary_can_make_a_proper_model_improper():
    """With mass 0.3 to move, the 0.3 chance to end can be taken away altogether."""
    model = stopping_model(0)
    rr.solve(model, rr.TotalVariation(0.2, support="free"), discount=1.0)
    with pytest.raises(InvalidArgumentError, match="may never end under TotalVariation"):
        rr.solve(model, rr.TotalVariation(0.9, support="free"), discount=1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InvalidArgumentError, "exactly one of discount and horizon"),
        ({"discount": 0.9, "horizon": 3}, InvalidArgumentError, "exactly one of discount and horizon"),
        ({"discount": 1.2}, InvalidArgumentError, r"discount is 1.2; it must be a number in \[0, 1\]"),
        ({"discount": -0.1}, InvalidArgumentError, "discount is -0.1"),
        ({"discount": float("nan")}, InvalidArgumentError, "discount is nan"),
        ({"discount": 0.9, "tol": 0}, InvalidArgumentError, "tol is 0"),
        ({"discount": 0.9, "tol": float("inf")}, InvalidArgumentError, "tol is inf"),
        ({"horizon": 0}, InvalidArgumentError, "horizon is 0"),
        ({"discount": 0.9, "method": "value_iteraton"}, UnknownNameError, "did you mean value_iteration"),
        ({"discount": 0.9, "max_iterations": 0}, InvalidArgumentError, "max_iterations is 0"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        rr.solve(random_model(0), None, **arguments)


def test_a_checkpoint_of_another_problem_is_refused(tmp_path):
    first = ValueIteration(random_model(0), None, discount=0.9)
    first.step()
    first.save_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="its discount is 0.9, not 0.8"):
        ValueIteration(random_model(0), None, discount=0.8).load_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="its uncertainty is"):
        ValueIteration(random_model(0), rr.TotalVariation(0.1, support="free"), discount=0.9).load_checkpoint(tmp_path)


def test_backward_induction_has_no_solution_before_its_end():
    solver = BackwardInduction(random_model(0), None, horizon=3)
    solver.step()
    with pytest.raises(InvalidArgumentError, match="2 of 3 stages"):
        solver.solution()
