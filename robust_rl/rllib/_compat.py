"""Every import from ray. A new version of Ray is met here, and by the tests in ``tests/rllib`` that check what we rest on.

Names are imported when first asked for: RLlib takes seconds and a hundred megabytes, of which actors that sweep over a model need
nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from robust_rl.training.optional import require

ray = require("ray", "robust-rl[rllib]")

_HOMES = {
    "Columns": "ray.rllib.core.columns",
    "DQN": "ray.rllib.algorithms.dqn",
    "DQNConfig": "ray.rllib.algorithms.dqn",
    "DQNTorchLearner": "ray.rllib.algorithms.dqn.torch.dqn_torch_learner",
    "DefaultDQNTorchRLModule": "ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module",
    "ENCODER_OUT": "ray.rllib.core.models.base",
    "EnvToModulePipeline": "ray.rllib.connectors.env_to_module",
    "GeneralAdvantageEstimation": "ray.rllib.connectors.learner",
    "ModuleToEnvPipeline": "ray.rllib.connectors.module_to_env",
    "MultiAgentEnv": "ray.rllib.env.multi_agent_env",
    "MultiAgentEpisode": "ray.rllib.env.multi_agent_episode",
    "NotProvided": "ray.rllib.utils.from_config",
    "PPO": "ray.rllib.algorithms.ppo",
    "PPOConfig": "ray.rllib.algorithms.ppo",
    "PPOTorchLearner": "ray.rllib.algorithms.ppo.torch.ppo_torch_learner",
    "Postprocessing": "ray.rllib.evaluation.postprocessing",
    "QF_NEXT_PREDS": "ray.rllib.algorithms.dqn.dqn_learner",
    "QF_TARGET_NEXT_PREDS": "ray.rllib.algorithms.dqn.dqn_learner",
    "RLModule": "ray.rllib.core.rl_module.rl_module",
    "RunningStat": "ray.rllib.utils.filter",
    "register_env": "ray.tune.registry",
}
"""Name -> module of Ray that has it."""


def __getattr__(name: str) -> Any:
    """Import a name from Ray at first use."""
    if name == "tune":
        return importlib.import_module("ray.tune")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def start_ray(**arguments: Any) -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start Ray here without its dashboard; nothing if it runs already."""
    if ray.is_initialized():
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    here = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "include_dashboard": False}
    ray.init(**(quiet | here | arguments))
