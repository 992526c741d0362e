"""Exported policies: what modules of RLlib compute, from algorithms and from checkpoints, and what is refused."""

import numpy as np
import pytest

pytest.importorskip("ray.rllib")

import torch
from gymnasium import spaces
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import EnvToModulePipeline, FlattenObservations, MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.evaluation import rollout
from robust_rl.rllib import RobustDQNConfig, export_policy, policy_table, register_envs
from robust_rl.rllib.export import observed, policy_of

BOX, DISCRETE = spaces.Box(-1, 1, (3,)), spaces.Discrete(4)
SMALL = {"fcnet_hiddens": [8, 8], "head_fcnet_hiddens": [5]}
CASES = {
    "dqn": (DefaultDQNTorchRLModule, DISCRETE, {"dueling": False, "double_q": True}),
    "dueling, relu": (DefaultDQNTorchRLModule, DISCRETE, {"dueling": True, "double_q": True, "fcnet_activation": "relu"}),
    "ppo": (DefaultPPOTorchRLModule, DISCRETE, {}),
    "ppo, shared": (DefaultPPOTorchRLModule, DISCRETE, {"vf_share_layers": True, "fcnet_activation": "silu"}),
    "ppo, normalised layers": (DefaultPPOTorchRLModule, DISCRETE, {"fcnet_use_layernorm": True}),
    "ppo, box": (DefaultPPOTorchRLModule, spaces.Box(-2, 5, (2,)), {}),
    "ppo, free spread": (DefaultPPOTorchRLModule, spaces.Box(-2, 5, (2,)), {"free_log_std": True}),
}


def built(kind, actions, settings, observations=BOX):
    torch.manual_seed(1)
    defaults = {"num_atoms": 1, "epsilon": 0.1, "std_init": 0.1, "v_min": 0, "v_max": 1}
    config = DefaultModelConfig().__dict__ | defaults | SMALL | settings
    return kind(observation_space=observations, action_space=actions, model_config=config)


@pytest.mark.parametrize("case", CASES)
def test_actions_equal_the_modules(case):
    kind, actions, settings = CASES[case]
    module = built(kind, actions, settings)
    policy = policy_of(module, BOX, normalisation=None, rescale=True)
    x = np.random.default_rng(0).uniform(-1, 1, size=(200, 3)).astype(np.float32)
    with torch.no_grad():
        out = module.forward_inference({"obs": torch.from_numpy(x)})
    ours = policy.predict(x)[0]
    if "actions" in out:
        np.testing.assert_array_equal(ours, out["actions"])
        return
    distribution = module.get_inference_action_dist_cls().from_logits(out["action_dist_inputs"])
    greedy = distribution.to_deterministic().sample().numpy()
    if isinstance(actions, spaces.Discrete):
        np.testing.assert_array_equal(ours, greedy)
        np.testing.assert_allclose(policy.probabilities(x), torch.softmax(out["action_dist_inputs"], 1), atol=1e-6)
        return
    np.testing.assert_allclose(ours, np.clip(-2 + (greedy + 1) * 3.5, -2, 5), atol=1e-5)
    many = np.tile(x[:1], (40_000, 1))
    policy.np_random, policy.rescale = np.random.default_rng(0), False
    policy.action_space = spaces.Box(-np.inf, np.inf, (2,))
    drawn, spread = policy.predict(many, deterministic=False)[0], distribution._dist.scale[0].numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), greedy[0], atol=5 * spread.max() / 200)
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.03)


@pytest.mark.parametrize(
    ("kind", "observations", "settings", "message"),
    [
        (DefaultPPOTorchRLModule, BOX, {"use_lstm": True}, "TorchLSTMEncoder can't be exported"),
        (DefaultPPOTorchRLModule, spaces.Box(0, 1, (84, 84, 3)), {}, "only dense layers can"),
        (DefaultDQNTorchRLModule, BOX, {"dueling": True, "double_q": True, "num_atoms": 3}, "num_atoms=3"),
    ],
)
def test_what_cannot_be_exported_is_named(kind, observations, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        policy_of(built(kind, DISCRETE, settings, observations), observations, normalisation=None, rescale=True)


def test_a_module_that_computes_more_than_its_layers_is_found_out():
    class Doubled(DefaultPPOTorchRLModule):
        def _forward(self, batch, **keywords):
            return {"action_dist_inputs": -super()._forward(batch, **keywords)["action_dist_inputs"]}

    with pytest.raises(InvalidArgumentError, match="Doubled computes something that its dense layers don't"):
        policy_of(built(Doubled, DISCRETE, {}), BOX, normalisation=None, rescale=True)


class Mine(ConnectorV2):
    def __call__(self, *, batch, **_):
        return batch


def test_connectors_are_read_or_refused_by_name():
    module = built(DefaultPPOTorchRLModule, DISCRETE, {}, spaces.Box(-np.inf, np.inf, (16,)))
    lake = (spaces.Discrete(16), DISCRETE)
    observe = EnvToModulePipeline(*lake, connectors=[FlattenObservations(*lake)])
    assert observed(observe, module) == (spaces.Discrete(16), None)
    policy = policy_of(module, spaces.Discrete(16), normalisation=None, rescale=True)
    with torch.no_grad():
        logits = module.forward_inference({"obs": torch.eye(16)})["action_dist_inputs"]
    np.testing.assert_allclose(policy.probabilities(np.arange(16)), torch.softmax(logits, 1), atol=1e-6)
    with pytest.raises(InvalidArgumentError, match=r"the connector Mine on Discrete\(16\) can't be exported"):
        observed(EnvToModulePipeline(*lake, connectors=[Mine(*lake)]), module)
    both = (spaces.Dict({"a": BOX, "b": BOX}), spaces.Dict({"a": DISCRETE, "b": DISCRETE}))
    with pytest.raises(InvalidArgumentError, match="MeanStdFilter of several agents"):
        observed(EnvToModulePipeline(*both, connectors=[MeanStdFilter(multi_agent=True)]), module)


def filtered(env, spaces, device):
    return MeanStdFilter()


def test_robust_dqn_on_the_lake_becomes_a_table_that_is_judged_exactly(ray_session, tmp_path):
    """A checkpoint, read without the algorithm; plain DQN's greedy table and its exact robust value, by simulation too."""
    register_envs()
    config = (
        RobustDQNConfig()
        .environment("FrozenLake-v1")
        .env_runners(num_env_runners=0)
        .training(
            uncertainty=rr.TotalVariation(0.1, support="free"), value_floor=0.0, num_steps_sampled_before_learning_starts=50
        )
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .reporting(min_sample_timesteps_per_iteration=100)
        .debugging(seed=0)
    )  # fmt: skip
    algo = config.build_algo()
    algo.train()
    module = algo.get_module()
    algo.save_to_path(tmp_path / "checkpoint")
    algo.stop()
    policy, lake = export_policy(tmp_path / "checkpoint"), rr.envs.tabular("FrozenLake-v1")
    table = policy_table(policy, lake)
    with torch.no_grad():
        np.testing.assert_array_equal(table, module.forward_inference({"obs": torch.eye(16)})["actions"])
    exact = rr.solvers.policy_value(lake, table, horizon=100)[0] @ lake.start
    returns = rollout(rr.envs.make("FrozenLake-v1"), policy.predict, 300, seed=1)
    assert abs(returns.mean() - exact) <= 4 * np.sqrt(exact * (1 - exact) / 300) + 1e-9
    ball = rr.TotalVariation(0.1, support="reachable")
    robust = rr.solvers.policy_value(lake, table, ball, discount=0.99)
    assert (robust <= rr.solve(lake, ball, discount=0.99).value + 1e-6).all()
    with pytest.raises(InvalidArgumentError, match="module_id='p0'; the checkpoint has default_policy"):
        export_policy(tmp_path / "checkpoint", "p0")
    with pytest.raises(FileFormatError, match="no checkpoint of an RLlib algorithm"):
        export_policy(tmp_path)


def test_a_running_filter_is_exported_as_it_is_now_or_refused(ray_session):
    """Against RLlib's own filter, on a continuous environment whose actions are stretched."""
    config = (
        PPOConfig()
        .environment("Pendulum-v1")
        .env_runners(num_env_runners=0, env_to_module_connector=filtered)
        .training(train_batch_size=64, minibatch_size=64, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [8]})
        .debugging(seed=0)
    )
    algo = config.build_algo()
    with pytest.raises(InvalidArgumentError, match="has seen no observation"):
        export_policy(algo)
    algo.train()
    policy, runner = export_policy(algo), algo.env_runner
    (connector,) = (c for c in runner._env_to_module.connectors if isinstance(c, MeanStdFilter))
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    shown = np.array([connector._filters[None](x, update=False) for x in seen])
    with torch.no_grad():
        out = runner.module.forward_inference({"obs": torch.from_numpy(shown)})
    algo.stop()
    assert not np.allclose(shown, seen, atol=0.1)
    expected = np.clip(2 * out["action_dist_inputs"][:, :1].numpy(), -2, 2)
    np.testing.assert_allclose(policy.predict(seen)[0], expected, atol=1e-5)
