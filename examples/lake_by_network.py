"""A deep policy in a world small enough to judge it exactly. About a minute; needs ray: pip install "robust-rl[rllib]".

    python examples/lake_by_network.py

Robust PPO learns the slippery lake from one-hot observations, 16 copies of it stepped at once by numpy. RLlib then plays it under
more slips; the network leaves Ray as a file of arrays, becomes a table, and exact robust evaluation says what it is worth beside the
optimum. The sampled returns must agree with the exact values.
"""

import ray

import robust_rl as rr
from robust_rl.reports import shift_page_table
from robust_rl.rllib import (
    NetworkPolicy,
    RobustPPOConfig,
    RunLogger,
    export_policy,
    grid_evaluation,
    policy_table,
    register_envs,
)
from robust_rl.solvers import policy_value
from robust_rl.training import RunDirectory, Section

DISCOUNT, ITERATIONS, NOISE = 0.95, 12, [0.0, 0.1, 0.2, 0.4]
BALL = rr.Contamination(0.02, support="free")

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
register_envs()
run = RunDirectory.create(name="lake-by-network")
logger, grid = RunLogger(run.path), grid_evaluation({"action_noise": NOISE}, episodes=400)
config = (
    RobustPPOConfig()
    .environment("FrozenLake-v1")
    .env_runners(num_env_runners=0, num_envs_per_env_runner=16, gym_env_vectorize_mode="vector_entry_point")
    .training(uncertainty=BALL, value_floor=0.0, gamma=DISCOUNT, lr=3e-3, train_batch_size=2000, minibatch_size=250, num_epochs=8)
    .rl_module(model_config={"fcnet_hiddens": [32]})
    .callbacks(on_train_result=logger)
    .debugging(seed=0, log_level="ERROR")
)
algo = grid.add_to(config, every=None).build_algo()
for _ in range(ITERATIONS):
    result = algo.train()
algo.evaluate()
sampled = grid.tables(algo)["action_noise"]
path = export_policy(algo).save(run.result / "policy")
algo.stop()
ray.shutdown()

policy = NetworkPolicy.load(path)  # neither Ray nor torch from here on
lake = rr.envs.tabular("FrozenLake-v1")
table, optimum = policy_table(policy, lake), rr.solve(lake, BALL, discount=DISCOUNT)
print("greedy action in state 0:", policy.predict(0)[0])
print(sampled)
lines = []
for noise in NOISE:
    world = rr.envs.tabular(rr.envs.shift("FrozenLake-v1", action_noise=noise))
    exact = float(policy_value(world, table, horizon=100)[0] @ world.start)
    cell = sampled["policy", str(noise)]
    lines.append(f"action noise {noise}: sampled {cell}, exact {exact:.3f}")
    assert abs(cell.middle - exact) <= 2 * (cell.high - cell.low) / 2 + 1e-9
worth = {
    "learned": policy_value(lake, table, BALL, discount=DISCOUNT) @ lake.start,
    "optimal": optimum.value @ lake.start,
    "nominal optimum": policy_value(lake, rr.solve(lake, None, discount=DISCOUNT).policy, BALL, discount=DISCOUNT) @ lake.start,
}
lines += [f"worst case within {BALL!r}: {name} {float(value):.4f}" for name, value in worth.items()]
print("\n".join(lines))
assert worth["learned"] >= 0.9 * worth["optimal"]
logger.close()
run.report("A deep policy, judged exactly", [Section("Returns", "\n".join(lines), [shift_page_table("action noise", sampled)])])
