"""Advantages of robust PPO: RLlib's, with the discount and the reward of :mod:`robust_rl.rllib.robust_ppo`, eq. (1)."""

from __future__ import annotations

from typing import Any

from robust_rl.rllib._compat import Columns, GeneralAdvantageEstimation, Postprocessing, PPOTorchLearner
from robust_rl.rllib.checked_set import check_ends, moving

COMPUTED = (Postprocessing.ADVANTAGES, Postprocessing.VALUE_TARGETS)


class RobustAdvantages(GeneralAdvantageEstimation):
    """RLlib's advantage estimation, each module's by its own set."""

    def __init__(self, config: Any) -> None:
        super().__init__(gamma=config.gamma, lambda_=config.lambda_)
        self.config = config

    def __call__(self, *, batch: dict[str, Any], **context: Any) -> dict[str, Any]:
        """Add advantages and value targets to the batch of each module."""
        for module_id, columns in batch.items():
            config = self.config.get_config_for_module(module_id)
            self.gamma, self.lambda_, shift = config.gamma, config.lambda_, 0.0
            if moving(config.uncertainty) is not None:
                check_ends(config.value_floor, columns[Columns.TERMINATEDS])
                rho = config.uncertainty.radius
                self.gamma, shift = config.gamma * (1 - rho), config.gamma * rho * config.value_floor
            # RLlib adds a last, masked step to each episode, which has no reward
            rewards = columns[Columns.REWARDS] + shift * columns[Columns.LOSS_MASK]
            shifted = {**columns, Columns.REWARDS: rewards}
            super().__call__(batch={module_id: shifted}, **context)
            columns.update({name: shifted[name] for name in COMPUTED if name in shifted})
        return batch


class RobustPPOLearner(PPOTorchLearner):
    """RLlib's PPO learner with robust advantages."""

    def build(self) -> None:
        """Put our advantages where RLlib's are."""
        super().build()
        for module_id, _ in self.module.items():
            self.config.get_config_for_module(module_id).check_set()
        if self._learner_connector is not None and self.config.add_default_connectors_to_learner_pipeline:
            self._learner_connector.remove(GeneralAdvantageEstimation)
            self._learner_connector.append(RobustAdvantages(self.config))
