"""A deep Q-network that plans for the worst: DQN and robust DQN on one chain, both judged exactly. Some 40 seconds; needs ray.

    python examples/robust_dqn_on_a_chain.py          # pip install "robust-rl[rllib]"

Ten states, a small reward at one end and a large one at the other, and a slippery way between. DQN walks to the large reward from
everywhere. Robust DQN stays with the small one where an adversary, who may move a fifth of the probability of any next state,
makes the way too long. Both see 6,000 random moves as one-hot vectors, and differ in one argument.
"""

import ray

import robust_rl as rr
from robust_rl.rllib import RobustDQNConfig, export_policy, policy_table, register_envs
from robust_rl.solvers import policy_value
from robust_rl.training import RunDirectory, Section, Table

DISCOUNT, STEPS, BALL = 0.9, 6000, rr.TotalVariation(0.2, support="free")
chain = rr.envs.tabular("robust_rl/Chain-v0")
optimum = rr.solve(chain, BALL, discount=DISCOUNT)
floor = float(optimum.value.min())  # 0.0, the least reward, would do, and be more cautious


def learn(uncertainty):
    """Return the greedy policy as a table, (S,)."""
    config = (
        RobustDQNConfig()
        .environment("robust_rl/Chain-v0")
        .training(uncertainty=uncertainty, value_floor=floor, gamma=DISCOUNT, lr=3e-3, epsilon=1.0, train_batch_size=128)
        .training(target_network_update_freq=200, num_steps_sampled_before_learning_starts=500)
        .training(replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": STEPS})
        .rl_module(model_config={"fcnet_hiddens": [64]})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16, gym_env_vectorize_mode="vector_entry_point")
        .debugging(seed=0, log_level="ERROR")
    )
    algo = config.build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < STEPS:
        pass
    policy = export_policy(algo)
    algo.stop()
    return policy_table(policy, chain)


ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
register_envs()
policies = {"DQN": learn(None), "robust DQN": learn(BALL), "robust optimum": optimum.policy}
ray.shutdown()

worth = {
    name: [float(chain.start @ policy_value(chain, policy, ball, discount=DISCOUNT)) for ball in (None, BALL)]
    for name, policy in policies.items()
}
rows = [[name, " ".join(map(str, policies[name])), *numbers] for name, numbers in worth.items()]
for name, actions, nominal, worst in rows:
    print(f"{name:15} {actions}   nominal value {nominal:.3f}, worst case {worst:.3f}")
assert worth["robust DQN"][1] >= 0.95 * worth["robust optimum"][1] > 2 * worth["DQN"][1]
run = RunDirectory.create(name="robust-dqn-on-a-chain")
table = Table(["policy", "actions", "nominal value", "worst case"], rows)
run.report("Robust DQN on a chain", [Section("Exact values", f"Worst case within {BALL!r}.", [table])])
