"""Our environments under RLlib: perturbations as plain data, one-hot observations, copies stepped by numpy."""

import json

import numpy as np
import pytest

pytest.importorskip("ray.rllib")

from robust_rl import envs
from robust_rl.errors import InvalidArgumentError, NoTableError, UnknownNameError
from robust_rl.rllib import register_envs
from robust_rl.rllib.registration import make_env, make_game


def test_shifts_are_data_and_make_the_world_that_shift_makes():
    config = json.loads(json.dumps({"shift": {"length": 1.5, "action_noise": 0.2}, "max_episode_steps": 30}))
    ours = make_env("CartPole-v1", config)
    theirs = envs.shift(envs.make("CartPole-v1", max_episode_steps=30), length=1.5, action_noise=0.2)
    np.testing.assert_array_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    for _ in range(40):
        one, other = ours.step(1), theirs.step(1)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4]
        if one[2] or one[3]:
            break
    assert config == {"shift": {"length": 1.5, "action_noise": 0.2}, "max_episode_steps": 30}, "the caller's data stay"


def test_finite_observations_become_vectors_unless_refused():
    lake = make_env("FrozenLake-v1", {"map_name": "8x8"})
    assert lake.observation_space.shape == (64,)
    assert lake.reset(seed=0)[0].argmax() == 0
    assert make_env("FrozenLake-v1", {"one_hot": False}).observation_space == envs.make("FrozenLake-v1").observation_space
    assert make_game("soccer", {"shift": {"slip": 0.2}}).get_observation_space("player_0").shape == (760,)
    copies = make_env("FrozenLake-v1", {"num_envs": 4, "shift": {"action_noise": 0.1}})
    assert copies.max_episode_steps == 100
    assert copies.reset(seed=0)[0].shape == (4, 16)


def test_bad_configurations_say_what_to_do():
    with pytest.raises(UnknownNameError, match="no 'lenght' to shift; did you mean length"):
        make_env("CartPole-v1", {"shift": {"lenght": 1.0}})
    with pytest.raises(InvalidArgumentError, match="give a mapping"):
        make_env("CartPole-v1", {"shift": "length=1"})
    with pytest.raises(NoTableError, match="gym_env_vectorize_mode at 'sync'"):
        make_env("CartPole-v1", {"num_envs": 2})
    with pytest.raises(UnknownNameError, match="CartPole-v1"):
        register_envs("CartPol-v1")


@pytest.mark.parametrize("runners", [0, 1])
def test_rllib_samples_what_was_registered(ray_session, runners):
    """In this process and in another: copies stepped by numpy, of the shifted lake, end in episodes of at most 100 steps."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.env.env_runner_group import EnvRunnerGroup

    assert "robust_rl/soccer_v0" in register_envs()
    config = (
        PPOConfig()
        .environment("FrozenLake-v1", env_config={"shift": {"is_slippery": False}})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=8, gym_env_vectorize_mode="vector_entry_point")
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=0)
    )
    group = EnvRunnerGroup(config=config)
    episodes = group.foreach_env_runner(lambda runner: runner.sample(num_timesteps=800), local_env_runner=not runners)[0]
    group.stop()
    assert sum(len(episode) for episode in episodes) >= 800
    moves = {0: -1, 1: 4, 2: 1, 3: -4}
    for episode in episodes:
        states = np.argmax(episode.get_observations(), axis=1)
        assert len(episode) <= 100
        for state, action, successor in zip(states, episode.get_actions(), states[1:], strict=False):
            assert successor - state in (0, moves[int(action)]), "the lake isn't slippery any more"
