"""Plain data: tabular models and how they are read, estimated, saved and played."""

from robust_rl.models.tabular import TabularMDP
from robust_rl.models.tabular_env import TabularEnv
from robust_rl.models.transforms import unroll, with_kernel

__all__ = ["TabularEnv", "TabularMDP", "unroll", "with_kernel"]
