"""The loss of robust DQN: RLlib's own, on a batch whose rewards hold the robust target.

RLlib's loss compares Q(s, a) with r + gamma (1 - ended) v. We hand it

    r  <-  r + gamma worst(v'),    v' = (1 - ended) v,    ended <- 1                                                       (1)

with ``worst`` of :mod:`robust_rl.rllib.robust_value`, so that its target is the robust one, and masks, importance weights,
priorities and metrics stay RLlib's. The end of an episode is a state worth 0, from which an adversary may move mass as from any
other; changing the next Q-values instead would let RLlib's mask undo that.

The dual network ascends the importance-weighted mean of worst(v'), with v' held still; Q's target holds the dual variables still.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robust_rl.rllib._compat import QF_NEXT_PREDS, QF_TARGET_NEXT_PREDS, Columns, DQNTorchLearner
from robust_rl.rllib.checked_set import check_ends, moving
from robust_rl.rllib.dual_module import DUAL
from robust_rl.rllib.robust_value import worst_value


class RobustDQNLearner(DQNTorchLearner):
    """RLlib's DQN learner with robust targets."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]) -> Tensor:
        """Return the loss of Q plus that of the dual network, if there is one."""
        rllibs: Callable[..., Tensor] = partial(
            super().compute_loss_for_module, module_id=module_id, config=config, fwd_out=fwd_out
        )
        uncertainty, dual = moving(config.uncertainty), _chosen_dual(batch, fwd_out)
        if uncertainty is None:
            return rllibs(batch=batch)
        check_ends(config.value_floor, batch[Columns.TERMINATEDS])
        worst = worst_value(uncertainty, _next_values(config, batch, fwd_out), dual, config.value_floor)
        folded = {
            Columns.REWARDS: batch[Columns.REWARDS] + config.gamma * worst.detach(),  # eq. 1
            Columns.TERMINATEDS: torch.ones_like(batch[Columns.TERMINATEDS]),
        }
        loss = rllibs(batch={**batch, **folded})
        if dual is None:
            return loss
        dual_loss: Tensor = -(batch["weights"] * worst).mean()
        self.metrics.log_dict({"dual_loss": dual_loss, "dual_mean": dual.mean()}, key=module_id, window=1)
        return loss + dual_loss


def _next_values(config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]) -> Tensor:
    """Return v', (B,): the target network's value of the action chosen as RLlib does; 0 after the end of an episode."""
    q_next: Tensor = fwd_out[QF_TARGET_NEXT_PREDS]
    best = (fwd_out[QF_NEXT_PREDS] if config.double_q else q_next).argmax(-1, keepdim=True)
    values: Tensor = q_next.gather(-1, best).squeeze(-1).detach()
    return values.where(~batch[Columns.TERMINATEDS].bool(), 0.0)


def _chosen_dual(batch: dict[str, Any], fwd_out: dict[str, Any]) -> Tensor | None:
    """Return the dual variables of the actions taken, (B, heads)."""
    if DUAL not in fwd_out:
        return None
    dual: Tensor = fwd_out[DUAL]
    return dual[torch.arange(len(dual), device=dual.device), batch[Columns.ACTIONS].long().view(-1)]
