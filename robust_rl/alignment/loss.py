"""The VPO loss: one pure function, for torch tensors and for NumPy arrays.

VPO fits a reward to preferences and leans towards rewards whose best policy is worth much (online, optimism) or little
(offline, pessimism). With the reward written in its own best policy, and fixed to average zero under a calibration
distribution, this is DPO with one more term:

    L(pi) = - sum_D log sigmoid( beta [h(x, y+) - h(x, y-)] )  +  sign alpha beta E_{x, y ~ pi_cal} h(x, y)          (1)
    h(x, y) = log pi(y|x) - log pi_ref(y|x)

=========  =====  ==============================  =================================================
mode       sign   log pi on calibration samples   meaning
=========  =====  ==============================  =================================================
online     +1     goes down                       probability leaves what calibration knows
offline    -1     goes up                         a behaviour-cloning term on calibration samples
alpha = 0  any    not controlled                  exactly DPO
=========  =====  ==============================  =================================================

=========  ===========================  ==============================================================================
symbol     here                         meaning, shape
=========  ===========================  ==============================================================================
log pi     ``policy_...``               log-probabilities of whole responses (sums over tokens), (N,) or (M,)
log pi_ref ``reference_...``            the same under the reference policy; no gradient passes through them
beta       ``beta``                     weight of KL(pi || pi_ref), > 0
alpha      ``alpha``                    strength of the value term, >= 0
E h        ``calibration_mean``         minus ``E h`` times beta estimates the value of the fitted reward's best policy
=========  ===========================  ==============================================================================

Two scalings. ``"sum"`` is equation 1: pairs are summed, calibration is averaged. ``"batch_mean"`` averages both, so that
alpha doesn't depend on the number of pairs N; its alpha is that of equation 1 divided by N.

Online the loss is unbounded below where no pair holds log pi up: bound the parameters, or stop when ``E h`` falls too far.

Reference: Cen et al., Value-incentivized preference optimization, ICLR 2025, arXiv:2405.19320.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from robust_rl.errors import InvalidArgumentError

Mode = Literal["offline", "online"]
Scaling = Literal["sum", "batch_mean"]
SIGNS: dict[str, int] = {"online": 1, "offline": -1}
SCALINGS = ("sum", "batch_mean")


def vpo_loss(
    policy_chosen: Any,
    policy_rejected: Any,
    reference_chosen: Any,
    reference_rejected: Any,
    policy_calibration: Any,
    reference_calibration: Any = None,
    *,
    beta: float = 0.1,
    alpha: float = 0.1,
    mode: Mode = "offline",
    scaling: Scaling = "batch_mean",
    pair_weights: Any = None,
    calibration_weights: Any = None,
) -> Any:
    """Return the VPO loss of equation 1, to be minimised.

    Parameters
    ----------
    policy_chosen, policy_rejected, reference_chosen, reference_rejected : tensor or array (N,)
        Log-probabilities of the preferred and the other response of each pair. All torch tensors, or all NumPy arrays.
    policy_calibration : tensor or array (M,)
        Log-probabilities of calibration responses, drawn from a distribution that doesn't depend on the policy.
    reference_calibration : tensor or array (M,), optional
        Shifts the loss by a constant and leaves its gradient alone; left out, it counts as zero.
    beta, alpha : float
        Weight of the KL term, > 0, and strength of the value term, >= 0, in the units of ``scaling``.
    mode : "offline" or "online"
        Pessimism or optimism.
    scaling : "batch_mean" or "sum"
        Whether pairs are averaged or summed. Calibration is averaged either way.
    pair_weights : tensor or array (N,), optional
        How often each pair counts. Default: once.
    calibration_weights : tensor or array (M,), optional
        Weights of the average over calibration responses: probabilities, when M is all of them. Default: equal ones.

    Returns
    -------
    tensor or NumPy scalar
        With alpha = 0 the DPO loss, bit for bit.

    Raises
    ------
    InvalidArgumentError
        If beta, alpha, mode or scaling is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> chosen, rejected, reference = np.log([0.6]), np.log([0.1]), np.log([0.3])
    >>> pair = (chosen, rejected, reference, reference)
    >>> round(float(vpo_loss(*pair, chosen, reference, beta=1.0, alpha=0.0)), 4)
    0.1542
    >>> round(float(vpo_loss(*pair, chosen, reference, beta=1.0, alpha=0.1)), 4)
    0.0848
    """
    check(beta, alpha, mode)
    if scaling not in SCALINGS:
        raise InvalidArgumentError(f"scaling={scaling!r} is not one of {', '.join(map(repr, SCALINGS))}")
    margin = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    losses = -log_sigmoid(beta * margin)
    if pair_weights is not None:
        losses = losses * pair_weights
    loss = losses.sum()
    if scaling == "batch_mean":
        loss = losses.mean() if pair_weights is None else loss / pair_weights.sum()
    if alpha == 0:  # not "+ 0 * E h", which is nan where a response has probability 0
        return loss
    return loss + calibration_term(
        policy_calibration, reference_calibration, beta=beta, alpha=alpha, mode=mode, weights=calibration_weights
    )


def calibration_term(
    policy_calibration: Any,
    reference_calibration: Any = None,
    *,
    beta: float,
    alpha: float,
    mode: Mode,
    weights: Any = None,
) -> Any:
    """Return ``sign alpha beta E h``, the term that VPO adds to DPO's loss; arguments and errors as for :func:`vpo_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> print(calibration_term(np.array([-1.0, -3.0]), beta=0.5, alpha=1.0, mode="offline"))
    1.0
    """
    check(beta, alpha, mode)
    return SIGNS[mode] * alpha * beta * calibration_mean(policy_calibration, reference_calibration, weights)


def calibration_mean(policy_calibration: Any, reference_calibration: Any = None, weights: Any = None) -> Any:
    """Return ``E h`` over the calibration responses, or ``E log pi`` where no reference is given."""
    h = policy_calibration if reference_calibration is None else policy_calibration - reference_calibration
    return h.mean() if weights is None else (weights * h).sum() / weights.sum()


def log_sigmoid(x: Any) -> Any:
    """Return ``log(1 / (1 + exp(-x)))``, exact in both tails; a tensor for a tensor, an array for anything else."""
    if hasattr(x, "requires_grad"):
        from torch.nn.functional import logsigmoid

        return logsigmoid(x)
    return -np.logaddexp(0.0, -np.asarray(x))


def check(beta: float, alpha: float, mode: str) -> None:
    """Raise InvalidArgumentError unless beta > 0, alpha >= 0, both finite, and the mode is known."""
    if not (math.isfinite(beta) and beta > 0):
        raise InvalidArgumentError(f"beta={beta!r} is the weight of a KL term and must be positive and finite")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise InvalidArgumentError(f"alpha={alpha!r} must be at least 0 and finite; mode= sets the direction, not alpha's sign")
    if mode not in SIGNS:
        raise InvalidArgumentError(f"mode={mode!r} is not 'offline' (pessimism) or 'online' (optimism)")
