"""Preferences as environments: labels against Bradley and Terry's formula, and the contracts of Gymnasium and PettingZoo."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from scipy import stats

import robust_rl as rr
from robust_rl import envs
from robust_rl.envs.games import duel_v0
from robust_rl.errors import InvalidArgumentError, UnknownNameError

BANDIT = "robust_rl/PreferenceBandit-v0"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_bandit_passes_gymnasiums_checker_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(BANDIT, contexts=3, render_mode="ansi").unwrapped)


def test_an_episode_pays_the_reward_of_the_response():
    env = envs.make(BANDIT, contexts=4, arms=3, seed=5, render_mode="ansi")
    for seed in range(20):
        context, _ = env.reset(seed=seed)
        _, reward, terminated, truncated, _ = env.step(seed % 3)
        assert reward == env.unwrapped.rewards[context, seed % 3]
        assert terminated
        assert not truncated
        assert f"context {context}, response {seed % 3}" in env.render()


def test_contexts_have_their_weights():
    env = envs.make(BANDIT, rewards=np.zeros((3, 2)), weights=[0.2, 0.5, 0.3])
    env.reset(seed=0)
    seen = np.bincount([env.reset()[0] for _ in range(2000)], minlength=3)
    assert stats.chisquare(seen, 2000 * np.array([0.2, 0.5, 0.3])).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_labels_have_bradley_terry_frequencies(seed):
    """Every pair of arms at once; a binomial test each, at a level shared by all."""
    bandit = envs.make(BANDIT, contexts=2, arms=4, seed=seed).unwrapped
    x, a, b = np.indices((2, 4, 4))
    draws = 4000
    wins = sum(bandit.compare(x, a, b, rng).astype(int) for rng in [np.random.default_rng(seed)] for _ in range(draws))
    for context, first, second in np.ndindex(wins.shape):
        chance = sigmoid(bandit.rewards[context, first] - bandit.rewards[context, second])
        assert stats.binomtest(int(wins[context, first, second]), draws, chance).pvalue > 1e-3 / wins.size


def test_an_instance_and_its_labels_follow_from_seeds():
    one, two, other = (envs.make(BANDIT, seed=seed).unwrapped for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rewards, two.rewards)
    np.testing.assert_array_equal(one.reference, two.reference)
    assert (one.rewards != other.rewards).all()
    arms = np.arange(10)
    labels = [env.compare(0, arms, arms[::-1]).tolist() for env in (one, two) if env.reset(seed=3)]
    assert labels[0] == labels[1]


def test_planners_read_the_bandits_table():
    env = envs.make(BANDIT, contexts=3, arms=4, seed=2)
    solution = rr.solve(envs.tabular(env), None, discount=0.9)
    np.testing.assert_allclose(solution.value[:3], env.unwrapped.rewards.max(axis=1), atol=1e-6)
    np.testing.assert_array_equal(solution.policy[:3], env.unwrapped.rewards.argmax(axis=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arms": 1}, "arms=1"),
        ({"contexts": 0}, "contexts=0"),
        ({"rewards": [1.0, 2.0]}, "must be \\(contexts, arms\\)"),
        ({"rewards": [[1.0, float("nan")]]}, "rewards\\[0, 1\\] is nan"),
        ({"rewards": [[1.0, 2.0]], "reference": [[1.0, 2.0, 3.0]]}, "reference has the shape \\(1, 3\\)"),
        ({"contexts": 2, "weights": [0.5, 0.6]}, "no distribution over 2 contexts"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ],
)
def test_bad_bandits_are_named(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        envs.PreferenceBandit(**arguments)


@pytest.mark.parametrize(("context", "first", "message"), [(1, 0, "context 1"), (0, 10, "response 10"), (0, 0.5, "response 0.5")])
def test_what_does_not_exist_is_not_compared(context, first, message):
    with pytest.raises(InvalidArgumentError, match=message):
        envs.PreferenceBandit().compare(context, first, 0)


def test_a_misspelt_bandit_is_suggested():
    with pytest.raises(UnknownNameError, match="did you mean robust_rl/PreferenceBandit-v0"):
        envs.make("PreferenceBandi-v0")


class Coins(gymnasium.Env):
    """Action a pays a coin's worth; states count steps; an episode ends after seven."""

    observation_space = gymnasium.spaces.Discrete(8, start=1)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return 1, {}

    def step(self, action):
        self.count += 1
        return 1 + self.count, float(action == 2), self.count == 7, False, {"coin": action}


def play(env, steps, seed=0):
    """Play at random; return all preferences, and everything that was paid."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    found, paid = [], []
    for _ in range(steps):
        _, reward, terminated, truncated, info = env.step(int(env.action_space.start + rng.integers(env.action_space.n)))
        paid.append(reward)
        if "preference" in info:
            found.append(info["preference"])
        if terminated or truncated:
            env.reset()
    return found, paid


def test_segments_are_cut_by_length_and_by_the_end_of_an_episode():
    found, paid = play(envs.SegmentPreferences(Coins(), 3), 140)
    assert not any(paid)
    lengths = [len(segment.states) for pair in found for segment in pair]
    assert len(found) == 30  # 20 episodes of segments of 3, 3 and 1 steps
    assert sorted(set(lengths)) == [1, 3]
    states = {tuple(segment.states) for pair in found for segment in pair}
    assert states == {(0, 1, 2), (3, 4, 5), (6,)}
    assert {int(a) for pair in found for segment in pair for a in segment.actions} == {0, 1}


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_segments_of_larger_return_win_as_often_as_the_formula_says(temperature):
    found, _ = play(envs.SegmentPreferences(Coins(), 3, temperature), 14_000)
    gains = np.array([pair.winner.actions.sum() - pair.loser.actions.sum() for pair in found])
    for gap in (1, 2, 3):
        won, lost = int((gains == gap).sum()), int((gains == -gap).sum())
        assert stats.binomtest(won, won + lost, sigmoid(gap / temperature)).pvalue > 1e-3


def test_segments_of_a_real_environment_follow_from_the_seed():
    def pairs(seed):
        found, _ = play(envs.SegmentPreferences(gymnasium.make("CliffWalking-v1"), 5, temperature=10.0), 200, seed)
        return [tuple(part.tolist() for segment in pair for part in segment) for pair in found]

    assert pairs(1) == pairs(1) != pairs(2)


def test_a_wrapped_environment_passes_gymnasiums_checker():
    check_env(envs.SegmentPreferences(gymnasium.make("FrozenLake-v1"), 4), skip_render_check=True)


def test_segments_need_finite_spaces():
    for env_id, message in (("CartPole-v1", "no finite list"), ("Pendulum-v1", "Discrete actions")):
        with pytest.raises(InvalidArgumentError, match=message):
            envs.SegmentPreferences(gymnasium.make(env_id), 5)
    with pytest.raises(InvalidArgumentError, match="temperature=0"):
        envs.SegmentPreferences(gymnasium.make("FrozenLake-v1"), 5, temperature=0)


def test_random_play_wins_half_of_its_duels():
    duel = duel_v0.parallel_env(arms=10, contexts=5, max_cycles=None)
    duel.reset(seed=1)
    rng = np.random.default_rng(2)
    wins = 0
    for a, b in rng.integers(10, size=(20_000, 2)):
        _, rewards, *_ = duel.step({"player_0": a, "player_1": b})
        assert sum(rewards.values()) == 1
        wins += int(rewards["player_0"])
    assert stats.binomtest(wins, 20_000).proportion_ci(0.99).low < 0.5 < stats.binomtest(wins, 20_000).proportion_ci(0.99).high


@pytest.mark.parametrize("seed", range(3))
def test_a_duels_table_is_the_judges_odds(seed):
    duel = duel_v0.parallel_env(arms=3, contexts=2, seed=seed)
    rewards = envs.PreferenceBandit(3, 2, seed).rewards
    for x, a, b in np.ndindex(2, 3, 3):
        wins = sum(p for p, _, paid, _ in duel.P[x][a, b] if paid == (1.0, 0.0))
        assert wins == pytest.approx(sigmoid(rewards[x, a] - rewards[x, b]), abs=1e-12)
    assert envs.tabular_game(duel).horizon == 1


def by_length(prompt, first, second, rng):
    return bool(rng.random() < sigmoid(0.3 * (len(first) - len(second))))


def test_a_duel_of_texts_passes_pettingzoos_tests():
    def make():
        return duel_v0.text_env(["Why?", "How, in one word?"], by_length, max_cycles=7)

    parallel_api_test(make(), num_cycles=100)
    parallel_seed_test(make, num_cycles=50)


def test_language_models_of_equal_skill_win_half_of_their_duels():
    duel = duel_v0.text_env(["Warum?"], by_length, max_cycles=3000)
    duel.reset(seed=0)
    rng = np.random.default_rng(1)
    wins = 0.0
    while duel.agents:
        texts = {agent: "ä" * int(rng.integers(10)) for agent in duel.agents}
        wins += duel.step(texts)[1]["player_0"]
    interval = stats.binomtest(int(wins), 3000).proportion_ci(0.99)
    assert interval.low < 0.5 < interval.high


def test_the_judge_sees_the_prompt_and_both_responses():
    seen = []

    def judge(prompt, first, second, rng):
        seen.append((prompt, first, second))
        return np.bool_(True)

    duel = duel_v0.text_env(["a", "b"], judge, max_cycles=2, render_mode="ansi")
    observations, _ = duel.reset(options={"prompt": "and this?"})
    assert observations == {"player_0": "and this?", "player_1": "and this?"}
    _, rewards, _, over, _ = duel.step({"player_0": "yes", "player_1": "no"})
    assert seen == [("and this?", "yes", "no")]
    assert rewards == {"player_0": 1.0, "player_1": 0.0}
    assert not any(over.values())
    assert duel.prompt in ("a", "b")
    assert duel.step({"player_0": "", "player_1": ""})[3] == {"player_0": True, "player_1": True}
    assert duel.agents == []


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: duel_v0.text_env([], by_length), "give at least one"),
        (lambda: duel_v0.text_env("Why?", by_length), "no list of texts"),
        (lambda: duel_v0.text_env([3], by_length), "prompts\\[0\\] is int"),
        (lambda: respond(by_length, {"player_0": "x"}), "player_1 has no response"),
        (lambda: respond(by_length, {"player_0": "x", "player_1": None}), "response of player_1 is NoneType"),
        (lambda: respond(by_length, {"player_0": "x", "player_1": "y" * 21}), "a text of 21 characters; .* at most 20"),
        (lambda: respond(lambda *_: float("nan"), {"player_0": "x", "player_1": "y"}), "the judge answered nan"),
    ],
)
def test_bad_duels_are_named(act, message):
    with pytest.raises(InvalidArgumentError, match=message):
        act()


def respond(judge, texts):
    duel = duel_v0.text_env(["Why?"], judge, max_length=20)
    duel.reset(seed=0)
    return duel.step(texts)
