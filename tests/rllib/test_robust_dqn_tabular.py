"""On a small random environment, seen as one-hot vectors, the greedy policy is judged by exact robust evaluation."""

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.solvers.policy_evaluation import policy_value

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from ray import tune  # noqa: E402

from robust_rl.rllib import RobustDQNConfig  # noqa: E402

BALL, GAMMA, STEPS, SEEDS = rr.TotalVariation(0.2, support="free"), 0.9, 5000, range(5)


def one_hot(model, _):
    """The environment of a model, cut after 20 steps; starts are uniform, so that all states are seen."""
    states = np.eye(model.num_states, dtype=np.float32)
    env = gymnasium.wrappers.TimeLimit(model.to_env(), 20)
    box = gymnasium.spaces.Box(0.0, 1.0, (model.num_states,))
    return gymnasium.wrappers.TransformObservation(env, lambda state: states[state], box)


def learned(uncertainty, floor, seed):
    """Greedy actions, (S,), after STEPS random moves."""
    config = (
        RobustDQNConfig()
        .environment("one-hot")
        .training(
            uncertainty=uncertainty, value_floor=floor, gamma=GAMMA, lr=1e-3, epsilon=1.0, train_batch_size=64,
            target_network_update_freq=200, num_steps_sampled_before_learning_starts=500,
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": STEPS},
        )
        .rl_module(model_config={"fcnet_hiddens": [64]})
        .env_runners(num_env_runners=0, rollout_fragment_length=8)
        .debugging(seed=seed, log_level="ERROR")
    )  # fmt: skip
    algo = config.build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < STEPS:
        pass
    module = algo.get_module()
    algo.stop()
    with torch.no_grad():
        return module.forward_inference({"obs": torch.eye(module.observation_space.shape[0])})["actions"].numpy()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_greedy_policies_are_within_5_percent_of_the_robust_optimum(ray_session, record_property):
    """For each of 5 seeds; RLlib's DQN, which learns for the nominal chain, loses more than a fifth."""
    chain = rr.envs.tabular("robust_rl/Chain-v0")
    model = rr.TabularMDP(chain.transitions, chain.rewards, start=np.full(chain.num_states, 1 / chain.num_states))
    tune.register_env("one-hot", lambda context: one_hot(model, context))
    optimum = rr.solve(model, BALL, discount=GAMMA)

    def lost(policy):
        return 1 - float(model.start @ policy_value(model, policy, BALL, discount=GAMMA) / (model.start @ optimum.value))

    floor = float(optimum.value.min())
    robust = [lost(learned(BALL, floor, seed)) for seed in SEEDS]
    plain = [lost(learned(None, None, seed)) for seed in SEEDS]
    record_property("lost by robust DQN", robust)
    record_property("lost by DQN", plain)
    print("lost by robust DQN", np.round(robust, 4), "by DQN", np.round(plain, 4))
    assert max(robust) <= 0.05
    assert min(plain) > 0.2
