import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robust_rl.envs import domains, make, register, tabular, tabular_ids
from robust_rl.envs.registration import OURS
from robust_rl.models import TabularEnv


@pytest.mark.parametrize("env_id", OURS)
def test_every_id_passes_gymnasiums_checker_without_a_warning(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id, render_mode="ansi").unwrapped)


@pytest.mark.parametrize("env_id", OURS)
def test_every_id_is_its_domain_and_says_its_number_of_states(env_id):
    env = gymnasium.make(env_id)
    model = getattr(domains, OURS[env_id].domain)()
    assert isinstance(env.unwrapped, TabularEnv)
    assert tabular(env) is env.unwrapped.model
    np.testing.assert_array_equal(env.unwrapped.model.expected_rewards(), model.expected_rewards())
    assert OURS[env_id].description.startswith(f"{model.num_states} states")
    assert model.terminal.any() or env.spec.max_episode_steps


@pytest.mark.parametrize("env_id", [env_id for env_id in tabular_ids() if env_id not in OURS])
def test_gymnasiums_own_tables_are_listed_with_their_size(env_id):
    states = tabular(env_id).num_states
    listed = int(tabular_ids()[env_id].split()[0])
    assert listed in (states, states - 1)  # Taxi's table has one extra state for the end


def test_every_domain_with_an_id_takes_its_arguments_through_make():
    assert make("robust_rl/Garnet-v0", num_states=30, seed=7).unwrapped.model.num_states == 30
    assert make("robust_rl/RiverSwim-v0", num_states=10, max_episode_steps=3).spec.max_episode_steps == 3
    assert gymnasium.make("robust_rl/Machine-v0", num_states=4).observation_space.n == 4


def test_specifications_are_json():
    spec = gymnasium.spec("robust_rl/Inventory-v0")
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec


def test_registering_again_changes_nothing_and_says_nothing():
    before = dict(gymnasium.registry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
    assert dict(gymnasium.registry) == before


def test_only_registered_ids_are_listed(monkeypatch):
    monkeypatch.delitem(gymnasium.registry, "Blackjack-v1")
    assert "Blackjack-v1" not in tabular_ids()
    assert {"FrozenLake-v1", "robust_rl/RiverSwim-v0"} <= tabular_ids().keys()


def test_importing_the_package_brings_nothing_heavy():
    heavy = ("torch", "cvxpy", "ray", "matplotlib", "pygame", "jax", "moviepy")
    code = f"import sys, robust_rl.envs; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
