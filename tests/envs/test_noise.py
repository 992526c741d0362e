import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from robust_rl.envs import ActionNoise, ObservationNoise, make, shift, tabular, with_action_noise
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularEnv

from .helpers import dense, dense_rewards, random_model

seeds, probabilities = st.integers(0, 10_000), st.floats(0, 1)
kinds = st.sampled_from(["sa", "sas"])


def noisy_by_hand(model, q):
    """Equation 1, action by action, with the reward as its mean given the successor."""
    kernel, pay = dense(model), model.expected_rewards()
    entries = dense_rewards(model) if model.has_transition_rewards else np.repeat(pay[..., None], model.num_states, axis=2)
    noisy, flow, expected = np.zeros_like(kernel), np.zeros_like(kernel), np.zeros_like(pay)
    for s in range(model.num_states):
        available = np.flatnonzero(model.action_mask[s])
        for a in available:
            weight = np.bincount(available, minlength=model.num_actions) * q / len(available)
            weight[a] += 1 - q
            noisy[s, a] = weight[available] @ kernel[s, available]
            flow[s, a] = weight[available] @ (kernel * entries)[s, available]
            expected[s, a] = weight[available] @ pay[s, available]
    return noisy, flow, expected


@settings(max_examples=60, deadline=None)
@given(seeds, probabilities, kinds, st.booleans(), st.booleans())
def test_noisy_table_is_the_mixture_over_available_actions(seed, q, kind, sparse, masked):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 3)) < 0.6
    mask[:, 0] = True
    model = random_model(rng, rewards=kind, sparse=sparse, terminal=[2], mask=mask if masked else None)
    noisy = with_action_noise(model, q)
    kernel, flow, expected = noisy_by_hand(model, q)
    live = model.active_rows.reshape(5, 3)
    np.testing.assert_allclose(dense(noisy)[live], kernel[live], atol=1e-14)
    np.testing.assert_allclose(dense(noisy)[live].sum(axis=1), 1)
    np.testing.assert_allclose(noisy.expected_rewards()[live], expected[live], atol=1e-13)
    assert noisy.is_sparse == sparse
    assert noisy.has_transition_rewards == model.has_transition_rewards
    if kind == "sas":
        np.testing.assert_allclose((dense(noisy) * dense_rewards(noisy))[live], flow[live], atol=1e-13)


@given(seeds, kinds, st.booleans())
@settings(max_examples=20, deadline=None)
def test_without_noise_the_model_is_untouched_and_with_nothing_else_actions_do_not_matter(seed, kind, sparse):
    model = random_model(np.random.default_rng(seed), rewards=kind, sparse=sparse)
    assert with_action_noise(model, 0) is model
    noisy = with_action_noise(model, 1)
    for table in (dense(noisy), noisy.expected_rewards()):
        np.testing.assert_allclose(table, np.broadcast_to(table[:, :1], table.shape), atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(0.01, 1), kinds)
def test_sparse_and_dense_agree(seed, q, kind):
    one, other = (
        with_action_noise(random_model(np.random.default_rng(seed), rewards=kind, sparse=sparse), q) for sparse in (False, True)
    )
    np.testing.assert_array_equal(dense(one), dense(other))
    if kind == "sas":
        np.testing.assert_array_equal(dense_rewards(one), dense_rewards(other))


def test_what_stands_in_rows_that_mean_nothing_does_not_spread():
    rng = np.random.default_rng(0)
    mask = np.ones((5, 3), dtype=bool)
    mask[0, 1] = False
    model = random_model(rng, terminal=[2], mask=mask)
    kernel, rewards = model.transitions.copy(), model.rewards.copy()
    kernel[0, 1] = rewards[0, 1] = kernel[2] = rewards[2] = np.nan
    noisy = with_action_noise(model.replace(transitions=kernel, rewards=rewards), 0.3)
    assert np.isfinite(noisy.transitions[model.active_rows.reshape(5, 3)]).all()
    assert np.isfinite(noisy.rewards[model.active_rows.reshape(5, 3)]).all()


def test_large_rewards_beside_small_ones_keep_their_digits():
    model = random_model(np.random.default_rng(0))
    rewards = np.full_like(model.rewards, 1e12)
    rewards[1] = 0.1
    np.testing.assert_allclose(with_action_noise(model.replace(rewards=rewards), 0.3).rewards[1], 0.1, rtol=1e-15)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan"), "0.1", True])
def test_what_is_no_probability_is_refused(q):
    with pytest.raises(InvalidArgumentError, match="action_noise="):
        with_action_noise(random_model(np.random.default_rng(0)), q)
    with pytest.raises(InvalidArgumentError, match="action_noise="):
        shift("FrozenLake-v1", action_noise=q)


def test_one_hundred_thousand_steps_of_cliff_walking_agree_with_the_table():
    q, samples = 0.3, 100_000
    env = shift("CliffWalking-v1", action_noise=q)
    model = tabular(env)
    env.reset(seed=0)
    pairs = [(36, 1), (36, 0), (25, 2), (12, 3), (35, 2)]
    for state, action in pairs:
        seen, pay = np.zeros(model.num_states), np.zeros(model.num_states)
        for _ in range(samples // len(pairs)):
            env.unwrapped.s = state
            after, reward, *_ = env.step(action)
            seen[after] += 1
            pay[after] += reward
        low, high = binom.interval(1 - 1e-6, seen.sum(), model.transitions[state, action])
        assert ((low <= seen) & (seen <= high)).all()
        for after in np.flatnonzero(seen):
            # rewards are -1 or -100: their share is binomial too
            fell, expected = (-pay[after] / seen[after] - 1) / 99, (-model.rewards[state, action, after] - 1) / 99
            low, high = binom.interval(1 - 1e-6, seen[after], np.clip(expected, 0, 1))
            assert low - 1e-9 <= fell * seen[after] <= high + 1e-9


def test_noise_of_size_zero_leaves_every_trajectory_as_it_was():
    trajectories = []
    for changes in ({}, {"action_noise": 0, "observation_noise": 0.0}):
        env = shift("CartPole-v1", **changes)
        observation, _ = env.reset(seed=1)
        trajectories.append([observation, *(env.step(t % 2)[0] for t in range(20))])
    np.testing.assert_array_equal(*trajectories)


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        ("CartPole-v1", {"action_noise": 0.5, "observation_noise": 0.1}),
        ("Pendulum-v1", {"action_noise": 0.5}),
        ("Blackjack-v1", {"observation_noise": 0.5}),
        ("FrozenLake-v1", {"action_noise": 0.5, "observation_noise": 0.5}),
    ],
)
def test_a_seed_fixes_the_noise_and_every_observation_is_in_the_space(env_id, changes):
    runs = []
    for seed in (3, 3, 4):
        env = shift(env_id, **changes)
        env.action_space.seed(0)
        seen = []
        for episode in range(10):
            observation, _ = env.reset(seed=seed if episode == 0 else None)
            seen.append(observation)
            for _ in range(10):
                observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
                seen.append(observation)
                assert observation in env.observation_space
                if terminated or truncated:
                    break
        runs.append([np.ravel(observation).tolist() for observation in seen])
    assert runs[0] == runs[1] != runs[2]


def test_observation_noise_has_the_asked_size_and_leaves_the_state_alone():
    env = shift("MountainCarContinuous-v0", observation_noise=0.005)
    errors = []
    env.reset(seed=0)
    for _ in range(500):
        observation, *_ = env.step(np.zeros(1, dtype=np.float32))
        errors.append(observation - env.unwrapped.state)
    assert np.std(errors) == pytest.approx(0.005, rel=0.1)


def test_discrete_observation_noise_replaces_uniformly():
    env = make("robust_rl/Machine-v0", num_states=4)
    noisy = ObservationNoise(env, 1.0)
    seen = np.bincount([noisy.reset(seed=seed)[0] for seed in range(2000)], minlength=4)
    assert (abs(seen - 500) < 100).all()


def test_action_noise_keeps_to_the_actions_that_the_model_allows():
    mask = np.ones((5, 3), dtype=bool)
    mask[:, 2] = False
    env = ActionNoise(TabularEnv(random_model(np.random.default_rng(0), mask=mask)), 1.0)
    env.reset(seed=0)
    drawn = [env.action(1) for _ in range(200)]
    assert set(drawn) == {0, 1}
    env.step(0)  # a forbidden action would raise


def test_noise_refuses_spaces_from_which_it_cannot_draw():
    class Strange(gymnasium.Env):
        action_space = spaces.Box(-np.inf, np.inf)
        observation_space = spaces.Box(0, 255, (2,), np.uint8)

    with pytest.raises(InvalidArgumentError, match="unbounded"):
        ActionNoise(Strange(), 0.1)
    with pytest.raises(InvalidArgumentError, match="uint8"):
        ObservationNoise(Strange(), 0.1)
    Strange.observation_space = spaces.Text(3)
    with pytest.raises(InvalidArgumentError, match="can't draw from Text"):
        ObservationNoise(Strange(), 0.1)
    with pytest.raises(InvalidArgumentError, match="can't be negative"):
        shift("CartPole-v1", observation_noise=-1)
    with pytest.raises(InvalidArgumentError, match="not a probability"):
        shift("CliffWalking-v1", observation_noise=2)
