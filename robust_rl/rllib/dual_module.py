"""RLlib's DQN module with a network for the dual variables beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from robust_rl.rllib._compat import ENCODER_OUT, Columns, DefaultDQNTorchRLModule

DUAL = "dual"


class DualDQNModule(DefaultDQNTorchRLModule):
    """A network of its own, shaped like Q's, so that dual gradients don't shape Q's features. Runners' copies have none.

    ``forward_train`` returns under ``"dual"`` the variables of each state and action, (B, A, heads).
    """

    heads = 1

    def setup(self) -> None:
        """Build Q, and on a learner the dual network."""
        super().setup()
        if not self.inference_only:
            self.dual_encoder = self.catalog.build_encoder(framework=self.framework)
            self.dual_heads = nn.ModuleList(self.catalog.build_af_head(framework=self.framework) for _ in range(self.heads))

    def get_non_inference_attributes(self) -> list[str]:
        """Return what isn't sent to runners."""
        return [*super().get_non_inference_attributes(), "dual_encoder", "dual_heads"]

    def _forward_train(self, batch: dict[str, Any]) -> dict[str, Any]:
        features = self.dual_encoder({Columns.OBS: batch[Columns.OBS]})[ENCODER_OUT]
        out: dict[str, Any] = super()._forward_train(batch)
        return out | {DUAL: torch.stack([head(features) for head in self.dual_heads], -1)}


class TwoDualsDQNModule(DualDQNModule):
    """The same with two variables, for Kullback-Leibler balls."""

    heads = 2
