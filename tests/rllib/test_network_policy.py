"""Policies of plain arrays: layers against torch, what observations may be, files, tables."""

import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.rllib.layers import ACTIVATIONS, Layer, Normalisation, softmax
from robust_rl.rllib.network_policy import NetworkPolicy
from robust_rl.rllib.tabulated import policy_table
from tests.test_packaging import ROOT
from tests.worlds import TAXI

RNG = np.random.default_rng(0)


def dense(n, m):
    return Layer("linear", RNG.normal(size=(n, m)).astype(np.float32), RNG.normal(size=n).astype(np.float32))


def policy(head, observation_space, action_space, inputs, outputs, **more):
    return NetworkPolicy(head, [dense(8, inputs), Layer("tanh"), dense(outputs, 8)], observation_space, action_space, **more)


BOX = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)
POLICIES = {
    "greedy": policy("greedy", spaces.Discrete(6, start=2), spaces.Discrete(4, start=1), 6, 4),
    "categorical": policy(
        "categorical", BOX, spaces.Discrete(3), 6, 3, normalisation=Normalisation(np.ones((2, 3)), np.full((2, 3), 2.0), 5.0)
    ),
    "gaussian": policy("gaussian", BOX, spaces.Box(np.array([-2.0, 0.0]), np.array([-1.0, 5.0]), dtype=np.float64), 6, 4),
    "free spread": policy(
        "gaussian", BOX, spaces.Box(-1, 1, (2,)), 6, 2, log_std=np.array([0.1, -1.0], np.float32), rescale=False
    ),
}


def test_layers_equal_torchs():
    nn = pytest.importorskip("torch").nn
    import torch

    x = RNG.normal(size=(7, 5)).astype(np.float32)
    theirs = {"elu": nn.ELU(), "relu": nn.ReLU(), "sigmoid": nn.Sigmoid(), "silu": nn.SiLU(), "tanh": nn.Tanh()}
    assert theirs.keys() == ACTIVATIONS.keys()
    for kind, module in theirs.items():
        np.testing.assert_allclose(Layer(kind)(x), module(torch.tensor(x)).numpy(), atol=1e-6)
    norm = nn.LayerNorm(5, eps=1e-3)
    nn.init.normal_(norm.weight)
    ours = Layer("layernorm", norm.weight.detach().numpy(), norm.bias.detach().numpy(), 1e-3)
    np.testing.assert_allclose(ours(x), norm(torch.tensor(x)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_is_its_rows_and_a_file_the_policy(name, tmp_path):
    agent = POLICIES[name]
    loaded = NetworkPolicy.load(agent.save(tmp_path / "policy"))
    observations = [agent.observation_space.sample() for _ in range(20)]
    batch = agent.predict(np.array(observations))[0]
    for observation, action in zip(observations, batch, strict=True):
        single, state = agent.predict(observation)
        assert state is None
        np.testing.assert_allclose(single, action, atol=1e-6)
        assert agent.action_space.contains(single)
        np.testing.assert_array_equal(loaded.predict(observation)[0], single)
    assert (loaded.observation_space, loaded.action_space) == (agent.observation_space, agent.action_space)
    for one in (agent, loaded):
        one.np_random = np.random.default_rng(7)
    drawn, again = (one.predict(np.array(observations), deterministic=False)[0] for one in (agent, loaded))
    np.testing.assert_array_equal(drawn, again)
    assert np.array_equal(drawn, batch) == (name == "greedy"), "all others draw"


def test_actions_are_drawn_with_the_probabilities_of_the_logits():
    agent = POLICIES["categorical"]
    seen = np.tile(BOX.sample(), (20_000, 1, 1))
    agent.np_random = np.random.default_rng(0)
    chances = agent.probabilities(seen[0])
    frequencies = np.bincount(agent.predict(seen, deterministic=False)[0], minlength=3) / len(seen)
    np.testing.assert_allclose(frequencies, chances, atol=4 * np.sqrt(0.25 / len(seen)))
    assert softmax(np.array([[0.0, np.log(3.0)]]))[0] == pytest.approx([0.25, 0.75])


def test_a_filter_is_applied_as_it_was_frozen():
    agent, seen = POLICIES["categorical"], np.full((2, 3), 100.0, np.float32)
    plain = NetworkPolicy(agent.head, agent.layers, BOX, agent.action_space)
    np.testing.assert_array_equal(agent.probabilities(seen), plain.probabilities(np.full((2, 3), 5.0, np.float32)))


def test_one_hot_vectors_and_their_states_are_the_same():
    agent = policy("categorical", spaces.Box(0, 1, (6,)), spaces.Discrete(4), 6, 4)
    assert agent.num_states == 6
    np.testing.assert_array_equal(agent.predict(np.arange(6))[0], agent.predict(np.eye(6, dtype=np.float32))[0])
    agent.normalisation = Normalisation(np.linspace(0, 1, 6), np.full(6, 0.5), None)
    np.testing.assert_allclose(agent.probabilities(np.arange(6)), agent.probabilities(np.eye(6, dtype=np.float32)))
    assert policy("greedy", spaces.Box(-1, 1, (6,)), spaces.Discrete(4), 6, 4).num_states is None


def test_a_table_acts_as_the_network_does():
    lake = rr.envs.tabular("FrozenLake-v1")
    agent = policy("categorical", spaces.Discrete(16), spaces.Discrete(4), 16, 4)
    table = policy_table(agent, lake)
    assert [agent.predict(s)[0] for s in range(16)] == table.tolist()
    chances = policy_table(agent, lake, deterministic=False)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert rr.solvers.policy_value(lake, chances, discount=0.9).max() <= 1
    taxi = policy_table(policy("greedy", spaces.Discrete(500), spaces.Discrete(6), 500, 6), rr.envs.tabular(TAXI))
    assert len(taxi) == 501, "and an extra state for ends of episodes"


def test_bad_input_says_what_to_do(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"shape \(4,\)"):
        POLICIES["gaussian"].predict(np.zeros(4))
    with pytest.raises(InvalidArgumentError, match="no state 1 in"):
        POLICIES["greedy"].predict(1)
    with pytest.raises(InvalidArgumentError, match="not states"):
        policy_table(POLICIES["categorical"], rr.envs.tabular("FrozenLake-v1"))
    with pytest.raises(InvalidArgumentError, match="16 states, the policy 500"):
        policy_table(policy("greedy", spaces.Discrete(500), spaces.Discrete(6), 500, 6), rr.envs.tabular("FrozenLake-v1"))
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(FileFormatError):
        NetworkPolicy.load(tmp_path / "broken")


def test_loading_and_predicting_import_neither_ray_nor_torch(tmp_path):
    path = POLICIES["greedy"].save(tmp_path / "policy")
    code = f"""
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "torch"):
            raise ImportError(name)


sys.meta_path.insert(0, Absent())
from robust_rl.rllib import NetworkPolicy
print(NetworkPolicy.load({str(path)!r}).predict(2)[0])
try:
    from robust_rl.rllib import register_envs
except ImportError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert int(shown[0]) == POLICIES["greedy"].predict(2)[0]
    assert shown[1] == 'ray is needed for this; install it with: pip install "robust-rl[rllib]"'
