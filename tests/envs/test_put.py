"""The American put against a tree of prices in plain loops."""

import functools
import math

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.envs import american_put_features, domains, shift, tabular
from robust_rl.envs.domains.put import put_prices
from robust_rl.errors import InvalidArgumentError
from robust_rl.evaluation import confidence_interval as interval

HORIZON = 20


def tree(p, tenths, horizon=HORIZON):
    """Value of the put at a price of so many tenths, with H decisions left: recursion in whole numbers, no table."""

    def rounded(hundredths_of_tenths):
        return min(max((hundredths_of_tenths + 50) // 100, 800), 1400)

    @functools.cache
    def value(price, left):
        if left == 0:
            return 0.0
        wait = p * value(rounded(price * 102), left - 1) + (1 - p) * value(rounded(price * 98), left - 1)
        return max(max(0, 1000 - price) / 10, wait)

    return value(tenths, horizon)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_backward_induction_finds_the_value_of_the_price_tree(p):
    model = tabular("robust_rl/AmericanPut-v0", up_probability=p)
    value = rr.solve(model, None, horizon=HORIZON).value
    tenths = [800, 801, 903, 950, 999, 1000, 1001, 1049, 1100, 1399, 1400]
    found = [value[0, x - 800] for x in tenths]
    np.testing.assert_allclose(found, [tree(p, x) for x in tenths], atol=1e-12)
    np.testing.assert_allclose(value[-3, :50], [tree(p, x, 3) for x in range(800, 850)], atol=1e-12)


def test_a_fine_grid_agrees_with_the_binomial_formula_of_a_put_that_is_held_to_the_end():
    """Without rounding the price after 20 moves is K 1.02^k 0.98^(20 - k), with k binomial."""
    p, moves = 0.5, HORIZON - 1
    model = domains.american_put(up_probability=p, low=50.0, high=160.0, step=0.01)
    prices = put_prices(low=50.0, high=160.0, step=0.01)
    start = int(np.abs(prices - 100).argmin())
    last = np.maximum(100 - prices, 0)
    held = np.append(last, 0.0)
    for _ in range(moves):
        held = (model.csr() @ held).reshape(-1, 2)[:, 0]
    formula = sum(
        math.comb(moves, k) * 0.5**moves * max(0.0, 100 - 100 * 1.02**k * 0.98 ** (moves - k)) for k in range(moves + 1)
    )
    assert held[start] == pytest.approx(formula, abs=0.005 * math.sqrt(moves))
    american = rr.solve(model, None, horizon=HORIZON).value[0, start]
    assert american >= formula


def test_the_start_is_uniform_around_the_strike_and_exercising_pays_once():
    env = rr.envs.make("robust_rl/AmericanPut-v0")
    model = env.unwrapped.model
    np.testing.assert_array_equal(np.flatnonzero(model.start), np.arange(150, 250))
    np.testing.assert_allclose(model.start[150:250], 0.01)
    env.reset(options={"state": 155})
    state, reward, terminated, *_ = env.step(1)
    assert (state, terminated) == (601, True)
    assert reward == pytest.approx(4.5)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(HORIZON)]
    assert ends == [(False, False)] * 19 + [(False, True)]


def test_prices_stay_on_the_grid_and_move_by_the_factors():
    model = domains.american_put(up_probability=0.3)
    moves = model.transitions[:-1, 0]
    prices = put_prices()
    for index in (0, 1, 77, 300, 599, 600):
        up, down = np.clip([prices[index] * 1.02, prices[index] * 0.98], 80, 140)
        expected = np.zeros(602)
        expected[int(np.abs(prices - up).argmin())] += 0.3
        expected[int(np.abs(prices - down).argmin())] += 0.7
        np.testing.assert_allclose(moves[index], expected)


def test_the_probability_of_a_rise_can_be_shifted():
    shifted = shift(gymnasium.make("robust_rl/AmericanPut-v0"), up_probability=0.9)
    assert tabular(shifted).transitions[200, 0].max() == pytest.approx(0.9)


def test_features_are_on_the_simplex_and_carry_the_payoff_exactly():
    phi, model = american_put_features().phi, domains.american_put()
    assert phi.shape == (602, 2, 14)
    np.testing.assert_allclose(phi.sum(axis=2), 1)
    theta = np.zeros(14)
    theta[-1] = 20.0
    np.testing.assert_allclose((phi @ theta)[:-1], model.rewards[:-1], atol=1e-12)
    assert not phi[:, 0, 12:][:-1].any()
    assert not phi[:, 1, :12].any()


def test_hats_interpolate_any_line_in_the_price():
    phi = american_put_features(5, low=90.0, high=110.0, step=0.5).phi
    knots = np.array([90, 95, 100, 105, 110.0])
    np.testing.assert_allclose(phi[:-1, 0, :5] @ (3 * knots - 7), 3 * put_prices(low=90.0, high=110.0, step=0.5) - 7)


def test_least_squares_on_many_logs_finds_the_value_on_these_features():
    """No radius, no penalty: what is left is the error of interpolating between 12 knots, and noise."""
    model = domains.american_put()
    data = rr.datasets.collect(rr.envs.make("robust_rl/AmericanPut-v0"), lambda _, rng: int(rng.random() < 0.05), 2000, seed=0)
    agent = rr.DROP(
        data, None, features=american_put_features(), horizon=HORIZON, penalty=0.0, ridge=1e-3, reward_bounds=(0, 20)
    ).learn()
    policy = agent.solution.policy(np.arange(602))
    best = float(model.start @ rr.solve(model, None, horizon=HORIZON).value[0])
    found = float(model.start @ rr.solvers.policy_value(model, policy, horizon=HORIZON)[0])
    assert 0.9 * best < found <= best + 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"up_probability": 1.5}, "up_probability=1.5 is not a probability"),
        ({"up": 0.9}, "down=0.98 must be below up=0.9"),
        ({"step": 0.7}, "whole number of steps"),
        ({"step": 0}, "step=0 must be above 0"),
        ({"strike": 70}, "strike=70 must be above low=80"),
        ({"strike": 400}, "strike=400 has no price of the grid near it"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        domains.american_put(**arguments)


def test_robust_holders_overtake_the_nominal_one_where_the_price_rises_more_often():
    """PEVI, DROP and DROP-V on the same logs, six of them: disjoint 95 % intervals at both ends, on opposite sides."""
    worlds = [domains.american_put(up_probability=p) for p in (0.3, 0.9)]
    ball, features = rr.TotalVariation(0.1, support="free"), american_put_features()
    found = {"PEVI": [], "DROP": [], "DROP-V": []}
    for seed in range(6):
        data = rr.datasets.collect(
            rr.envs.make("robust_rl/AmericanPut-v0"), lambda _, rng: int(rng.random() < 0.05), 300, seed=seed
        )
        common = {"features": features, "horizon": HORIZON, "reward_bounds": (0, 20), "ridge": 0.1}
        agents = {
            "PEVI": rr.DROP(data, None, penalty=0.1, **common),
            "DROP": rr.DROP(data, ball, penalty=0.1, **common),
            "DROP-V": rr.DROPV(data, ball, penalty=0.005, preliminary_penalty=0.1, **common),
        }
        for name, agent in agents.items():
            policy = agent.learn().solution.policy(np.arange(602))
            found[name].append([float(w.start @ rr.solvers.policy_value(w, policy, horizon=HORIZON)[0]) for w in worlds])
    falling, rising = ({name: interval(np.array(rows)[:, i]) for name, rows in found.items()} for i in (0, 1))
    for robust in ("DROP", "DROP-V"):
        assert falling[robust].high < falling["PEVI"].low
        assert rising[robust].low > rising["PEVI"].high
