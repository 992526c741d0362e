"""Copies stepped by numpy: the law of one environment, Gymnasium's conventions, and one-hot observations."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy import stats

from robust_rl import envs
from robust_rl.envs.one_hot import OneHotObservation
from robust_rl.errors import InvalidArgumentError
from tests.envs.helpers import dense, random_model
from tests.worlds import TAXI


@pytest.mark.parametrize("sparse", [False, True])
def test_next_states_have_the_models_frequencies_and_rewards(sparse):
    """Chi-square at a thousandth over every state and action, seeds fixed."""
    model = random_model(np.random.default_rng(0), sparse=sparse)
    kernel, copies = dense(model), 4000
    world = envs.TabularVectorEnv(model, copies)
    world.reset(seed=1)
    pay = model.rewards.toarray().reshape(kernel.shape) if sparse else model.rewards
    for state, action in np.ndindex(model.num_states, model.num_actions):
        world.states[:] = state
        shown, rewards, *_ = world.step(np.full(copies, action))
        row = kernel[state, action]
        counts = np.bincount(shown, minlength=model.num_states)
        assert not counts[row == 0].any()
        assert stats.chisquare(counts[row > 0], copies * row[row > 0]).pvalue > 1e-3 / model.num_states
        np.testing.assert_array_equal(rewards, pay[state, action, shown])


def test_ends_restart_a_step_later_as_gymnasiums_own_vectors_do():
    """A deterministic world: every number equals SyncVectorEnv's over the single environment, step by step."""
    arguments = {"is_slippery": False}
    single = gymnasium.make_vec("FrozenLake-v1", 3, vectorization_mode="sync", max_episode_steps=7, **arguments)
    ours = envs.TabularVectorEnv(envs.tabular("FrozenLake-v1", **arguments), 3, max_episode_steps=7)
    rng = np.random.default_rng(0)
    seen, shown = single.reset(seed=0)[0], ours.reset(seed=0)[0]
    for _ in range(200):
        np.testing.assert_array_equal(shown, seen)
        actions = rng.integers(4, size=3)
        seen, *theirs, _ = single.step(actions)
        shown, *outcome, _ = ours.step(actions)
        for mine, yours in zip(outcome, theirs, strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_one_seed_fixes_all_copies_and_resets_draw_the_start():
    model = envs.tabular(TAXI)
    world = envs.TabularVectorEnv(model, 2000, observed_states=500)
    first, again = world.reset(seed=5)[0], world.reset(seed=5)[0]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, world.reset()[0])
    assert model.start[first].all()
    assert len(np.unique(first)) > 250, "of 300 possible starts"


def test_one_hot_vectors_are_rows_of_the_identity():
    plain, vectors = (envs.TabularVectorEnv(envs.tabular(TAXI), 5, one_hot=b, observed_states=500) for b in (False, True))
    seen, shown = plain.reset(seed=0)[0], vectors.reset(seed=0)[0]
    assert shown.dtype == np.float32
    assert shown.shape == (5, 500)
    np.testing.assert_array_equal(shown.argmax(axis=1), seen)
    assert vectors.observation_space.contains(shown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(OneHotObservation(envs.make("Blackjack-v1")), skip_render_check=True)
    wrapped = OneHotObservation(envs.make("Blackjack-v1"))
    seen = wrapped.reset(seed=0)[0]
    assert seen.argmax() == envs.state_index(wrapped.env.observation_space, wrapped.env.reset(seed=0)[0])
    assert envs.tabular(OneHotObservation(envs.make("FrozenLake-v1"))).num_states == 16


def test_bad_input_names_the_copy_and_the_argument():
    model = random_model(np.random.default_rng(0), mask=np.arange(15).reshape(5, 3) != 4)
    world = envs.TabularVectorEnv(model, 3)
    world.reset(seed=0)
    world.states[:] = [0, 1, 2]
    with pytest.raises(InvalidArgumentError, match="copy 1: action 1 is not available in state 1"):
        world.step(np.array([1, 1, 1]))
    with pytest.raises(InvalidArgumentError, match="copy 0: action 7"):
        world.step(np.array([7, 0, 0]))
    with pytest.raises(InvalidArgumentError, match="num_envs=0"):
        envs.TabularVectorEnv(model, 0)
