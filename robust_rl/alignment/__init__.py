"""Learning from preferences: VPO, which leans towards valuable rewards online and away from them offline.

Names are looked up when first used, so that importing this package loads neither torch nor trl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.alignment.bandit import VPOBandit
    from robust_rl.alignment.bandit_learner import BanditLearner
    from robust_rl.alignment.comparison import Comparison
    from robust_rl.alignment.config import VPOConfig
    from robust_rl.alignment.loss import calibration_term, vpo_loss
    from robust_rl.alignment.online import OnlineVPO, OnlineVPOConfig
    from robust_rl.alignment.trainer import VPOTrainer

_HOMES = {
    "BanditLearner": "bandit_learner",
    "Comparison": "comparison",
    "OnlineVPO": "online",
    "OnlineVPOConfig": "online",
    "VPOBandit": "bandit",
    "VPOConfig": "config",
    "VPOTrainer": "trainer",
    "calibration_term": "loss",
    "vpo_loss": "loss",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "BanditLearner",
    "Comparison",
    "OnlineVPO",
    "OnlineVPOConfig",
    "VPOBandit",
    "VPOConfig",
    "VPOTrainer",
    "calibration_term",
    "vpo_loss",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
