"""Robust PPO against RLlib's PPO on the problem that contamination amounts to, in one agent and with a radius per agent."""

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole  # noqa: E402

from robust_rl.rllib import RobustPPOConfig  # noqa: E402
from robust_rl.rllib._compat import PPOConfig  # noqa: E402

GAMMA, FLOOR = 0.9, -5.0


class ShiftedCartPole(gymnasium.Wrapper):
    def __init__(self, config):
        super().__init__(gymnasium.make("CartPole-v1"))
        self.shift = config["shift"]

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, reward + self.shift, *rest


def trained(config, seed=0):
    """Weights of each module after one iteration."""
    algo = config.env_runners(num_env_runners=0).debugging(seed=seed, log_level="ERROR").build_algo()
    algo.train()
    weights = {
        module_id: torch.cat([values.flatten() for values in module.state_dict().values()])
        for module_id, module in algo.learner_group._learner.module.items()
    }
    algo.stop()
    return weights


def settings(config, **training):
    batches = {"train_batch_size": 256, "minibatch_size": 64, "num_epochs": 2, "lr": 0.01}
    return config.training(**{"gamma": GAMMA} | batches | training).rl_module(model_config={"fcnet_hiddens": [16]})


@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_contamination_is_ppo_with_a_shorter_discount_and_a_shifted_reward(radius, ray_session):
    ball = rr.Contamination(radius, support="free")
    robust = settings(RobustPPOConfig().environment("CartPole-v1"), uncertainty=ball, value_floor=FLOOR)
    rllibs = settings(
        PPOConfig().environment(ShiftedCartPole, env_config={"shift": GAMMA * radius * FLOOR}), gamma=GAMMA * (1 - radius)
    )
    ours, theirs = trained(robust)["default_policy"], trained(rllibs)["default_policy"]
    assert torch.allclose(ours, theirs, rtol=0.0, atol=1e-5)
    if radius:
        nominal = trained(settings(PPOConfig().environment("CartPole-v1")))["default_policy"]
        assert (ours - nominal).abs().max() > 1e-2


def test_each_agent_has_its_own_radius(ray_session):
    """Two agents with poles of their own: one with a radius learns as if both had it, the other as if none had."""

    def weights(radii):
        overrides = {
            f"p{i}": RobustPPOConfig.overrides(uncertainty=rr.Contamination(radius, support="free"), value_floor=FLOOR)
            for i, radius in enumerate(radii)
        }
        config = settings(RobustPPOConfig().environment(MultiAgentCartPole, env_config={"num_agents": 2}))
        config.multi_agent(
            policies={"p0", "p1"}, policy_mapping_fn=lambda agent, episode, **_: f"p{agent}",
            algorithm_config_overrides_per_module=overrides,
        )  # fmt: skip
        return trained(config)

    mixed, none, both = weights((0.3, 0.0)), weights((0.0, 0.0)), weights((0.3, 0.3))
    assert torch.allclose(mixed["p1"], none["p1"], rtol=0.0, atol=1e-6)
    assert torch.allclose(mixed["p0"], both["p0"], rtol=0.0, atol=1e-6)
    assert (mixed["p0"] - none["p0"]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("training", "error", "match"),
    [
        (
            {"uncertainty": rr.TotalVariation(0.1, support="free"), "value_floor": 0.0},
            InvalidUncertaintyError,
            "Contamination alone",
        ),
        ({"uncertainty": rr.Contamination(0.1, support="nominal")}, InvalidUncertaintyError, 'support="free"'),
        ({"uncertainty": rr.Contamination(np.full((2, 2), 0.1), support="free")}, InvalidUncertaintyError, "shape"),
        ({"uncertainty": rr.Contamination(0.1, support="free")}, InvalidArgumentError, "value_floor=0.0 if no reward"),
    ],
)
def test_sets_that_it_cannot_take_are_refused_with_the_reason(training, error, match):
    with pytest.raises(error, match=match):
        RobustPPOConfig().environment("CartPole-v1").training(**training).validate()


def test_the_set_of_one_agent_is_checked_when_the_learner_is_built():
    box, two = gymnasium.spaces.Box(-1.0, 1.0, (4,)), gymnasium.spaces.Discrete(2)
    wrong = RobustPPOConfig.overrides(uncertainty=rr.KL(0.1))
    config = RobustPPOConfig().multi_agent(policies={"p0"}, algorithm_config_overrides_per_module={"p0": wrong})
    with pytest.raises(InvalidUncertaintyError, match="Contamination alone"):
        config.build_learner(spaces={"p0": (box, two)})
