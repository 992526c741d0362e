"""Exact gaps against enumeration of every deterministic deviation, whose worst cases are linear programs of the test's own."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError
from robust_rl.solvers import game_value
from tests.games import random_game


def worst(p, v, sigma):
    """min q.v over distributions q within total variation sigma of p: variables q and t >= |q - p|."""
    n = len(p)
    eye = np.eye(n)
    upper = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, n)), np.ones((1, n))]])
    bound = np.concatenate([p, -p, [2 * sigma]])
    equal = np.concatenate([np.ones(n), np.zeros(n)])[None]
    return linprog(np.concatenate([v, np.zeros(n)]), upper, bound, equal, [1.0]).fun


def value_of(game, policy, i, sigma):
    """Robust value (S,) of a joint policy to agent i, in plain loops."""
    value = np.zeros(game.num_states)
    for h in reversed(range(game.horizon)):
        now = np.zeros(game.num_states)
        for s in range(game.num_states):
            for a in np.ndindex(game.num_actions):
                if policy[(h, s, *a)] > 0:
                    now[s] += policy[(h, s, *a)] * (
                        game.rewards[(i, h, s, *a)] + worst(game.transitions[(h, s, *a)], value, sigma)
                    )
        value = now
    return value


def deviated(game, policy, i, choices):
    """The joint policy in which agent i plays choices[h][s][told] instead of told."""
    out = np.zeros_like(policy)
    for h, s in np.ndindex(policy.shape[:2]):
        for a in np.ndindex(game.num_actions):
            b = list(a)
            b[i] = choices[h][s][a[i]]
            out[(h, s, *b)] += policy[(h, s, *a)]
    return out


def by_enumeration(game, policy, i, sigma, kind):
    """Largest value (S,) over all deterministic deviations: constant ones, or modifications for "ce"."""
    own = game.num_actions[i]
    local = list(product(range(own), repeat=own)) if kind == "ce" else [(b,) * own for b in range(own)]
    stages = list(product(local, repeat=game.num_states))
    values = [value_of(game, deviated(game, policy, i, plan), i, sigma) for plan in product(stages, repeat=game.horizon)]
    return np.max(values, axis=0)


@pytest.mark.parametrize(("seed", "states", "horizon"), [(0, 2, 2), (1, 2, 2), (2, 1, 2), (3, 2, 1)])
def test_gaps_are_those_of_the_best_deterministic_deviation(seed, states, horizon):
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.ones(states), size=(horizon, states, 2, 2))
    game = rr.MarkovGame(transitions, rng.random((2, horizon, states, 2, 2)))
    sigmas = (0.2, 0.05)
    balls = {agent: rr.TotalVariation(sigma, support="free") for agent, sigma in zip(game.agents, sigmas)}
    correlated = rng.dirichlet(np.ones(4), size=(horizon, states)).reshape(horizon, states, 2, 2)
    x, y = rng.dirichlet(np.ones(2), size=(2, horizon, states))
    independent = x[..., :, None] * y[..., None, :]
    for kind, policy in (("cce", correlated), ("ne", independent), ("ce", correlated if seed != 0 else independent)):
        if kind == "ce" and states * horizon == 4 and seed == 1:
            continue  # 256 modifications once, on seed 0, are enough
        found = rr.robust_gap(policy, game, balls, kind=kind)
        for i, sigma in enumerate(sigmas):
            np.testing.assert_allclose(found.value[i], value_of(game, policy, i, sigma), atol=1e-8)
            np.testing.assert_allclose(found.best[i], by_enumeration(game, policy, i, sigma, kind), atol=1e-8)


@pytest.mark.parametrize("kind", ["cce", "ce"])
def test_the_best_response_attains_the_gap_when_it_is_played(kind):
    for seed in range(10):
        game = random_game(seed)
        rng = np.random.default_rng(seed)
        shape = (game.horizon, game.num_states)
        policy = rng.dirichlet(np.ones(game.num_joint_actions), size=shape).reshape(*shape, *game.num_actions)
        ball = rr.TotalVariation(0.1, support="nominal")
        found = rr.robust_gap(policy, game, ball, kind=kind)
        for i, agent in enumerate(game.agents):
            answer = rr.best_response(policy, game, ball, agent, kind=kind)
            np.testing.assert_allclose(answer.value[0], found.best[i], atol=1e-13)
            np.testing.assert_allclose(game_value(answer.joint(policy, game), game, ball)[i], answer.value, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_values_fall_with_the_radius_and_modifications_gain_at_least_what_deviations_do(seed, one, other):
    game = random_game(seed)
    rng = np.random.default_rng(seed)
    shape = (game.horizon, game.num_states)
    policy = rng.dirichlet(np.full(game.num_joint_actions, 0.5), size=shape).reshape(*shape, *game.num_actions)
    small, large = (rr.TotalVariation(radius, support="free") for radius in sorted((one, other)))
    assert (game_value(policy, game, large) <= game_value(policy, game, small) + 1e-12).all()
    by_kind = {kind: rr.robust_gap(policy, game, small, kind=kind).by_state for kind in ("cce", "ce")}
    assert (by_kind["ce"] >= by_kind["cce"] - 1e-12).all()


def test_gaps_are_told_by_agent_and_from_the_start():
    pennies = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
    game = rr.MarkovGame(np.ones((1, 2, 2, 1)), np.stack([pennies, -pennies]), horizon=3, agents=["even", "odd"])
    found = rr.robust_gap(np.array([[[1.0, 0.0], [0.0, 0.0]]]), game, None, kind="ne")
    assert found.by_agent == found.from_start == {"even": 0.0, "odd": 6.0}
    assert float(found) == found.gap == 6.0


def test_policies_that_cannot_be_judged_are_refused():
    game = random_game(0, 2, smallest=2)
    shape = (game.horizon, game.num_states, *game.num_actions)
    uniform = np.full(shape, 1 / game.num_joint_actions)
    with pytest.raises(InvalidArgumentError, match=r"shape \(3, 1\)"):
        rr.robust_gap(np.ones((3, 1)), game, None, kind="cce")
    short = uniform.copy()
    short[0, 0] *= 0.9
    with pytest.raises(InvalidArgumentError, match=r"h=0, s=0.*0\.9"):
        rr.robust_gap(short, game, None, kind="cce")
    lights = np.zeros(shape)
    lights[:, :, 0, 0] = lights[:, :, 1, 1] = 0.5
    with pytest.raises(InvalidArgumentError, match=r"it is 0\.25 from the product"):
        rr.robust_gap(lights, game, None, kind="ne")
    with pytest.raises(InvalidArgumentError, match="agents are player_0, player_1"):
        rr.robust_gap(uniform, game, {"player_0": None, "player_1": None, "goalie": None}, kind="cce")
    with pytest.raises(InvalidArgumentError, match="no agent 'player_7'"):
        rr.best_response(uniform, game, None, "player_7")
