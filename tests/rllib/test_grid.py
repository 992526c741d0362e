"""Evaluation over shifts: the table in RLlib's results is that of a serial evaluation with the same seeds."""

import random

import numpy as np
import pytest

pytest.importorskip("ray.rllib")

import torch
from ray.rllib.algorithms.ppo import PPOConfig

from robust_rl import envs
from robust_rl.errors import InvalidArgumentError
from robust_rl.evaluation import confidence_interval, evaluate_shifts, rollout
from robust_rl.rllib import RobustPPOConfig, export_policy, grid_evaluation, register_envs

SHIFTS = {"length": [0.25, 1.5], "action_noise": [0.3]}
EPISODES, SEED = 5, 11


def config(grid, runners):
    register_envs()
    plain = (
        PPOConfig()
        .environment("CartPole-v1", env_config={"max_episode_steps": 60})
        .env_runners(num_env_runners=0)
        .training(train_batch_size=100, minibatch_size=50, num_epochs=2, lr=0.01)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=0)
    )
    return grid.add_to(plain, runners=runners)


def generators():
    """The states of this process's own generators, from which exploration draws."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.parametrize("runners", [0, 1])
def test_table_in_the_result_equals_a_serial_evaluation(ray_session, runners):
    grid = grid_evaluation(SHIFTS, EPISODES, seed=SEED)
    algo = config(grid, runners).build_algo()
    found = algo.train()["evaluation"]["shifts"]
    policy, tables = export_policy(algo), grid.tables(algo)
    before = generators()
    again = algo.evaluate()["shifts"]
    algo.stop()
    assert again == found, "the same policy, the same seeds"
    assert generators() == before, "training goes on as if nothing had been evaluated"
    assert found.keys() == SHIFTS.keys()
    base = envs.make("CartPole-v1", max_episode_steps=60)
    for name, values in SHIFTS.items():
        for value in values:
            serial = rollout(envs.shift(base, **{name: value}), policy.predict, EPISODES, seed=SEED)
            assert serial.std() > 0
            expected = confidence_interval(serial)
            assert tables[name]["policy", str(value)] == expected
            assert found[name]["policy"][str(value)] == {"mean": expected.middle, "low": expected.low, "high": expected.high}
    shared = evaluate_shifts({"policy": policy}, base, list(SHIFTS.items()), horizon=60, episodes=EPISODES, seed=SEED)
    assert {name: table.cells for name, table in shared.items()} == {name: table.cells for name, table in tables.items()}


def test_games_have_a_row_an_agent(ray_session):
    register_envs()
    agents = ["player_0", "player_1"]
    grid = grid_evaluation({"slip": [0.0, 0.5]}, 2)
    game = (
        RobustPPOConfig()
        .environment("robust_rl/soccer_v0", env_config={"max_cycles": 20})
        .env_runners(num_env_runners=0)
        .training(train_batch_size=40, minibatch_size=40, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .multi_agent(policies=set(agents), policy_mapping_fn=lambda agent, episode, **_: agent)
    )
    algo = grid.add_to(game).build_algo()
    found = algo.evaluate()["shifts"]["slip"]
    algo.stop()
    assert found.keys() == set(agents)
    assert found["player_0"]["0.5"]["mean"] == -found["player_1"]["0.5"]["mean"], "zero-sum"


def test_bad_grids_say_what_to_do():
    with pytest.raises(InvalidArgumentError, match="at least one value of each"):
        grid_evaluation({"length": []})
    with pytest.raises(InvalidArgumentError, match="at least one value"):
        grid_evaluation({})
    with pytest.raises(InvalidArgumentError, match="episodes=1"):
        grid_evaluation(SHIFTS, 1)
