"""Robust reinforcement learning on Ray: RLlib's algorithms, Tune's sweeps, and value iteration across processes.

Nothing outside this package imports ray. Names are looked up when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_rl.rllib.robust_dqn import RobustDQN, RobustDQNConfig
    from robust_rl.rllib.robust_ppo import RobustPPO, RobustPPOConfig
    from robust_rl.rllib.sharded import ShardedValueIteration
    from robust_rl.rllib.tasks import ray_map
    from robust_rl.rllib.tuning import tune_sweep, tune_trainable

_HOMES = {
    "RobustDQN": "robust_dqn",
    "RobustDQNConfig": "robust_dqn",
    "RobustPPO": "robust_ppo",
    "RobustPPOConfig": "robust_ppo",
    "ShardedValueIteration": "sharded",
    "ray_map": "tasks",
    "tune_sweep": "tuning",
    "tune_trainable": "tuning",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "RobustDQN",
    "RobustDQNConfig",
    "RobustPPO",
    "RobustPPOConfig",
    "ShardedValueIteration",
    "ray_map",
    "tune_sweep",
    "tune_trainable",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
