"""Rewards known up to a radius, against every choice of rewards from the ends of their intervals."""

from itertools import product

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.solvers import BellmanOperator, policy_value
from tests.worlds import expected_rewards, random_model

SETS = {
    "known kernel": None,
    "tv free": rr.TotalVariation(0.2, support="free"),
    "tv reachable": rr.TotalVariation(0.2, support="reachable"),
    "kl": rr.KL(0.1),
    "interval": rr.Interval(0.0, 0.9),
    "s-rectangular": rr.SRectangular(rr.L1(0.3, support="free")),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_worst_rewards_are_the_lowest_of_all_ends_of_the_intervals(name, sparse, transition_rewards):
    """min over rewards in {r - rho, r, r + rho}^rows of the value under each: 27 models for three states with one action."""
    model = random_model(3, states=3, actions=1, masked=False, sparse=sparse, transition_rewards=transition_rewards)
    radius = np.array([[0.3], [0.7], [0.1]])
    values = []
    for signs in product((-1, 0, 1), repeat=3):
        change = np.array(signs)[:, None] * radius
        if sparse and transition_rewards:
            pattern = model.rewards.copy()
            pattern.data = np.ones_like(pattern.data)
            rewards = model.rewards + pattern.multiply(change).tocsr()
        else:
            rewards = model.rewards + (change[..., None] if transition_rewards else change)
        values.append(rr.solve(model.replace(rewards=rewards), SETS[name], discount=0.9, tol=1e-9).value)
    solution = rr.solve(model, rr.UncertainRewards(radius, SETS[name]), discount=0.9, tol=1e-9)
    np.testing.assert_allclose(solution.value, np.min(values, axis=0), atol=1e-8)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_worst_kernel_and_rewards_attain_the_backup(name, sparse, transition_rewards):
    """Solution.rewards are what the adversary pays out: the model's, less the radius."""
    model = random_model(4, sparse=sparse, transition_rewards=transition_rewards)
    radius = np.random.default_rng(0).random((5, 3))
    value, active = np.random.default_rng(1).normal(size=5), model.active_rows
    plain, shifted = (BellmanOperator(model, s, 0.9) for s in (SETS[name], rr.UncertainRewards(radius, SETS[name])))
    kernel, rewards = shifted.worst_case(value)
    attained = expected_rewards(kernel, rewards) + 0.9 * (kernel @ value)
    np.testing.assert_allclose(attained[active], shifted.q_values(value).ravel()[active], atol=1e-12)
    if name != "s-rectangular":  # where what is spent on an action depends on the others' rewards
        lower = plain.q_values(value) - np.where(active.reshape(5, 3), radius, 0)
        np.testing.assert_allclose(shifted.q_values(value), lower, atol=1e-12)
        moves = kernel.toarray() > 0
        paid_less = plain.worst_case(value)[1] - rewards
        if transition_rewards:
            np.testing.assert_allclose(paid_less.toarray()[moves], (moves * radius.reshape(-1, 1))[moves], atol=1e-12)
        else:
            np.testing.assert_allclose(paid_less.ravel()[active], radius.ravel()[active], atol=1e-12)


def test_worst_case_of_rows_and_its_price():
    p, z = np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([[0.0, 1.0], [3.0, 1.0]])
    ball = rr.TotalVariation(0.1, support="free")
    for radius in (0.25, np.array([0.25, 0.5])):
        worst = rr.UncertainRewards(radius, ball).worst_case(p, z)
        np.testing.assert_allclose(worst.value, ball.worst_case(p, z).value - radius, atol=1e-15)
        np.testing.assert_array_equal(worst.q, ball.worst_case(p, z).q)
    nominal = rr.UncertainRewards(0.25).worst_case(p, z)
    np.testing.assert_allclose(nominal.value, (p * z).sum(axis=1) - 0.25)
    np.testing.assert_array_equal(nominal.q, p)


def test_shortest_paths_end_in_the_same_time_whatever_they_pay():
    model = rr.envs.tabular("Blackjack-v1", sab=False)
    solution = rr.solve(model, rr.UncertainRewards(0.1), discount=1.0)
    worth = policy_value(model, solution.policy, solution.uncertainty, discount=1.0)
    np.testing.assert_allclose(worth, solution.value, atol=1e-6)
    assert (worth <= policy_value(model, solution.policy, discount=1.0) - np.where(model.terminal, 0, 0.1) + 1e-9).all()


def test_an_agent_is_paid_the_worst_rewards():
    agent = rr.RobustVI(
        "FrozenLake-v1", rr.UncertainRewards(0.05, rr.TotalVariation(0.1, support="nominal")), discount=0.9
    ).learn()
    env = agent.worst_case_env()
    observation, _ = env.reset(seed=0)
    _, reward, *_ = env.step(agent.predict(observation)[0])
    assert reward == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rr.UncertainRewards(-1), r"UncertainRewards: radius -1 is outside \[0, inf\) \(error of a reward\)"),
        (lambda: rr.UncertainRewards(np.nan), "radius nan is outside"),
        (lambda: rr.UncertainRewards(0.1, "tv"), "goes around an uncertainty set, or None; got 'tv'"),
        (
            lambda: rr.solve(random_model(0), rr.UncertainRewards(np.zeros((2, 2))), discount=0.9),
            r"UncertainRewards has radii of shape \(2, 2\), which don't fit rows of shape \(5, 3\)",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(InvalidUncertaintyError, match=message):
        build()
