"""Robust reinforcement learning on Ray: RLlib's algorithms, Tune's sweeps, and value iteration across processes.

Nothing outside this package imports ray. Names are looked up when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.rllib.export import export_policy
    from robust_rl.rllib.grid import GridEvaluation, grid_evaluation
    from robust_rl.rllib.learner import RLlibLearner
    from robust_rl.rllib.markov_game_env import MarkovGameEnv
    from robust_rl.rllib.network_policy import NetworkPolicy
    from robust_rl.rllib.registration import register_envs
    from robust_rl.rllib.rfqi import RFQIConfig
    from robust_rl.rllib.robust_dqn import RobustDQN, RobustDQNConfig
    from robust_rl.rllib.robust_ppo import RobustPPO, RobustPPOConfig
    from robust_rl.rllib.run_logger import RunLogger
    from robust_rl.rllib.sharded import ShardedValueIteration
    from robust_rl.rllib.tabulated import policy_table
    from robust_rl.rllib.tasks import ray_map
    from robust_rl.rllib.training import DeepTraining
    from robust_rl.rllib.tuning import tune_sweep, tune_trainable

_HOMES = {
    "DeepTraining": "training",
    "GridEvaluation": "grid",
    "MarkovGameEnv": "markov_game_env",
    "NetworkPolicy": "network_policy",
    "RFQIConfig": "rfqi",
    "RLlibLearner": "learner",
    "RobustDQN": "robust_dqn",
    "RobustDQNConfig": "robust_dqn",
    "RobustPPO": "robust_ppo",
    "RobustPPOConfig": "robust_ppo",
    "RunLogger": "run_logger",
    "ShardedValueIteration": "sharded",
    "export_policy": "export",
    "grid_evaluation": "grid",
    "policy_table": "tabulated",
    "ray_map": "tasks",
    "register_envs": "registration",
    "tune_sweep": "tuning",
    "tune_trainable": "tuning",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "DeepTraining",
    "GridEvaluation",
    "MarkovGameEnv",
    "NetworkPolicy",
    "RFQIConfig",
    "RLlibLearner",
    "RobustDQN",
    "RobustDQNConfig",
    "RobustPPO",
    "RobustPPOConfig",
    "RunLogger",
    "ShardedValueIteration",
    "export_policy",
    "grid_evaluation",
    "policy_table",
    "ray_map",
    "register_envs",
    "tune_sweep",
    "tune_trainable",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
