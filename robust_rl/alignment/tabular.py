"""VPO where everything can be summed: softmax policies over K responses, with exact gradients, many runs at once.

The loss is equation 1 of :mod:`robust_rl.alignment.loss` in its sum form. With W(i, j) the number of pairs in which i beat j, and
d(i, j) = h(i) - h(j), in which the normaliser of pi cancels,

    dL/dtheta(y) = beta sum_i W(i, y) sigmoid(-beta d(i, y)) - beta sum_j W(y, j) sigmoid(-beta d(y, j))
                   + sign alpha beta [ C(y) - pi(y) sum_k C(k) ]                                                        (1)

The value that a policy is after, and the best one, are

    J(r, pi) = E_{x, y ~ pi} r(x, y) - beta E_x KL(pi || pi_ref)                                                        (2)
    J*(r) = beta E_x log sum_y pi_ref(y|x) exp(r(x, y) / beta)                                                          (4)

==========  ===============  ===========================================================================
symbol      here             meaning, shape
==========  ===============  ===========================================================================
theta       ``theta``        logits of the policy, (..., X, K)
theta_ref   ``reference``    logits of the reference policy, (..., X, K)
W           ``wins``         how often the first arm beat the second, (..., X, K, K)
C           ``calibration``  rho(x) pi_cal(y|x), sums to 1 over contexts and arms, (..., X, K)
beta        ``beta``         number, or (..., 1, 1), one a run
alpha       ``alpha``        strength of the value term in the sum form; number, or (..., 1, 1)
r           ``rewards``      (..., X, K)
rho         ``weights``      distribution of contexts, (..., X)
==========  ===============  ===========================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from robust_rl.alignment.loss import SIGNS, Mode, vpo_loss

Array = NDArray[np.float64]


def log_softmax(logits: Array) -> Array:
    """Return the log-probabilities of the last axis's logits."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def loss(theta: Array, reference: Array, wins: Array, calibration: Array, *, beta: float, alpha: float, mode: Mode) -> float:
    """Return the loss of a run, (X, K), or its sum over runs, (B, X, K), by one call of :func:`~robust_rl.alignment.vpo_loss`.

    Pairs are weighted by their counts. Over B runs calibration is an average, which B times alpha turns into the sum.
    """
    log_pi, log_ref = log_softmax(theta), log_softmax(reference)
    *run, winner, loser = np.nonzero(wins)
    won, lost = (*run, winner), (*run, loser)
    value = vpo_loss(
        log_pi[won], log_pi[lost], log_ref[won], log_ref[lost], log_pi.ravel(), log_ref.ravel(),
        beta=beta, alpha=alpha * (len(theta) if theta.ndim == 3 else 1), mode=mode, scaling="sum",
        pair_weights=wins[(*run, winner, loser)], calibration_weights=calibration.ravel(),
    )  # fmt: skip
    return float(value)


def gradient(theta: Array, reference: Array, wins: Array, calibration: Array, *, beta: Any, alpha: Any, mode: Mode) -> Array:
    """Return the derivative of the loss by theta (equation 1), for any number of runs."""
    gain = theta - reference  # h up to a number for each context, which cancels in d
    each = np.asarray(beta)[..., None]
    pull = each * wins * expit(-each * (gain[..., :, None] - gain[..., None, :]))
    spread = calibration - np.exp(log_softmax(theta)) * calibration.sum(axis=-1, keepdims=True)
    return np.asarray(pull.sum(axis=-2) - pull.sum(axis=-1) + SIGNS[mode] * alpha * beta * spread)


def value(theta: Array, rewards: Array, reference: Array, weights: Array, beta: Any) -> Array:
    """Return J(r, pi), (...): expected reward less the price of leaving the reference (equation 2)."""
    log_pi, log_ref = log_softmax(theta), log_softmax(reference)
    by_context = (np.exp(log_pi) * (rewards - beta * (log_pi - log_ref))).sum(axis=-1)
    return np.asarray((weights * by_context).sum(axis=-1))


def best_value(rewards: Array, reference: Array, weights: Array, beta: Any) -> Array:
    """Return J*(r), (...): the value of the best policy (equation 3)."""
    by_context = beta * logsumexp(log_softmax(reference) + rewards / beta, axis=-1, keepdims=True)
    return np.asarray((weights * by_context[..., 0]).sum(axis=-1))


def count_pairs(shape: tuple[int, int], contexts: Any, winners: Any, losers: Any) -> Array:
    """Return W, (X, K, K), of pairs given as index arrays (N,)."""
    wins = np.zeros((*shape, shape[1]))
    np.add.at(wins, (contexts, winners, losers), 1)
    return wins
