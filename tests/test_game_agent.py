"""The agent of games: learn, predict, save, load."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError
from tests.games import random_balls, random_game


def traffic_lights():
    """Chicken, whose utilitarian correlated equilibrium isn't a product."""
    first = np.array([[[0.0, 7.0], [2.0, 6.0]]])
    return rr.MarkovGame(np.ones((1, 2, 2, 1)), np.stack([first, first.transpose(0, 2, 1)]), horizon=1)


def test_draws_of_a_correlated_policy_are_joint():
    agent = rr.DRNVI(traffic_lights(), None, equilibrium="ce").learn()
    policy = agent.solution.policy[0, 0]
    assert abs(policy - np.outer(policy.sum(axis=1), policy.sum(axis=0))).max() > 0.01
    counts = np.zeros((2, 2))
    for _ in range(4000):
        actions, stage = agent.predict({"player_0": 0, "player_1": 0})
        counts[actions["player_0"], actions["player_1"]] += 1
    assert stage == 1
    assert abs(counts / 4000 - policy).max() < 0.03
    assert not counts[policy == 0].any()
    best = np.unravel_index(policy.argmax(), policy.shape)
    likeliest, _ = agent.predict({"player_0": 0, "player_1": 0}, deterministic=True)
    assert tuple(likeliest.values()) == tuple(map(int, best))


def test_samples_and_actions_depend_on_the_seed_alone():
    game = random_game(6, 2, states=5, smallest=2)
    balls = random_balls(6, game)
    values = [rr.DRNVI(game, balls, samples=50, seed=seed).learn().solution.value for seed in (0, 0, 1)]
    np.testing.assert_array_equal(values[0], values[1])
    assert (values[0] != values[2]).any()


def test_a_saved_agent_knows_what_it_solved(tmp_path):
    game = random_game(6, 2)
    agent = rr.DRNVI(game, random_balls(6, game), equilibrium="ne", selection="maximin", samples=20, seed=4).learn()
    again = rr.DRNVI.load(agent.save(tmp_path / "agent"))
    assert again.summary() == agent.summary()
    np.testing.assert_array_equal(again.solution.policy, agent.solution.policy)
    np.testing.assert_array_equal(again.model.transitions, agent.model.transitions)
    gap = rr.robust_gap(again.solution.policy, again.model, again.solution.uncertainty, kind="ne")
    assert gap.gap <= 1e-8


def test_a_run_leaves_metrics_and_a_policy(tmp_path):
    game = random_game(8, 2)
    agent = rr.DRNVI(game, None).learn(run=tmp_path / "run")
    assert (tmp_path / "run" / "result" / "policy.safetensors").is_file()
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("solve/gap") == game.horizon
    assert agent.solution.gap <= 1e-8


def test_observations_must_show_one_state_and_stages_end():
    game = random_game(9, 2, states=5)
    agent = rr.DRNVI(game, None)
    with pytest.raises(InvalidArgumentError, match="call learn"):
        agent.predict({"player_0": 0})
    agent.learn()
    assert list(agent.predict({"player_1": np.int64(0)})[0]) == ["player_1"]
    for observations, message in (
        ({"player_0": 0, "player_1": game.num_states}, "player_1 observes"),
        ({"referee": 0}, "'referee'; agents are"),
        ({}, "no observation"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            agent.predict(observations)
    if game.num_states > 1:
        with pytest.raises(InvalidArgumentError, match="different states: player_0 0, player_1 1"):
            agent.predict({"player_0": 0, "player_1": 1})
    with pytest.raises(InvalidArgumentError, match="beyond the horizon"):
        agent.predict({"player_0": 0}, state=game.horizon)
    with pytest.raises(InvalidArgumentError, match="MarkovGame, a PettingZoo"):
        rr.DRNVI("soccer", None)


def test_an_environment_is_solved_and_played_to_its_end():
    """What the agents collect on average in the environment is the nominal policy's value."""
    from robust_rl.envs.games import rock_paper_scissors_v0

    env = rock_paper_scissors_v0.parallel_env()
    agent = rr.DRNVI(env, None, equilibrium="ne", seed=1).learn()
    returns = np.zeros((2000, 2))
    for episode in range(len(returns)):
        observations, _ = env.reset(seed=episode)
        stage = None
        while env.agents:
            actions, stage = agent.predict(observations, stage)
            observations, rewards, *_ = env.step(actions)
            returns[episode] += [rewards[name] for name in agent.agents]
    expected = [agent.summary()["value"][name] for name in agent.agents]
    error = 4 * returns.std(axis=0) / np.sqrt(len(returns))
    assert (abs(returns.mean(axis=0) - expected) <= error).all(), (returns.mean(axis=0), expected)


def test_a_simulator_needs_samples():
    class Coin:
        rewards, horizon = np.zeros((2, 2, 1, 1)), 1

        def sample(self, h, s, a, n):
            return [n, 0]

    assert rr.DRNVI(Coin(), None, samples=5).learn().solution.gap == 0
    with pytest.raises(InvalidArgumentError, match="samples="):
        rr.DRNVI(Coin(), None)
