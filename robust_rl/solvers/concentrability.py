"""How well logged data cover what a policy needs on a known linear MDP.

The clipped concentrability C is the least number with, for all stages h, features i, vectors u and kernels P of the set,

    u^T diag_i(min{E_{pi,P}[phi_i(s_h, a_h)^2], 1/d}) u  <=  C u^T B_h u,    B_h = E_{b,P0}[phi phi^T]                        (1)

where diag_i(x) holds x at (i, i) and zeros else, and data are logged by b in the nominal kernel P0. The largest ratio over u of
(u_i)^2 to u^T B u is [B^{-1}]_ii, and infinite where feature i isn't in the range of B, so

    C = max_{h,i} min{m_hi, 1/d} [B_h^{-1}]_ii,    m_hi = max_P E_{pi,P}[phi_i(s_h, a_h)^2].                                  (2)

Factors move one by one, so that m_hi is found backwards from W_h(s) = phi_i(s, pi_h(s))^2 by W_k = <phi, max_mu mu . W_{k+1}>.

C is at least 1/d. It is finite if the data cover the features that the policy meets under some kernel of the set, whatever else
they leave out; kappa = min_h lambda_min(B_h), which enters the bounds for full coverage, is 0 if they leave out anything. The
suboptimality of DROP is of the order d^{3/2} H^2 sqrt(C / K) for the optimal pi. The definition is after arXiv:2403.12946, whose
constants may differ; the order follows from it by [Lambda_h^{-1}]_ii <= 1 / (1 + K min{m_hi, 1/d} / C), up to logarithms.

=============  ==========  ==========================
symbol         here        meaning, shape
=============  ==========  ==========================
B              gram        (H, d, d)
[B^{-1}]_ii    inverse     (H, d)
m              most        (H, d)
W              meets       (S, d), all features at once
=============  ==========  ==========================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.models import LinearMDP
from robust_rl.solvers.linear_dp import action_weights, set_at_stage
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """Concentrability C, its parts ``by_feature`` (H, d), of which it is the largest, and ``least_eigenvalue`` kappa."""

    concentrability: float
    by_feature: Array
    least_eigenvalue: float


def coverage(
    model: LinearMDP, uncertainty: RectangularSet | None, policy: ArrayLike, behaviour: ArrayLike | None = None
) -> Coverage:
    """Compute eq. (2).

    Parameters
    ----------
    model : LinearMDP
    uncertainty : RectangularSet or None
        Around each factor, as for :func:`robust_rl.solvers.linear_values`.
    policy : (H, S) actions or (H, S, A) probabilities
        pi, usually the optimal one, ``linear_values(model, uncertainty).policy``.
    behaviour : (H, S) actions or (H, S, A) probabilities, optional
        b, by which data are logged. Default: uniformly random.

    Raises
    ------
    InvalidArgumentError
        If a policy has another shape.

    Examples
    --------
    One state and three actions, each a feature of its own; uniform data cover the third, those of the second alone don't:

    >>> model = LinearMDP(np.eye(3)[None], [[[1.0]] * 3], [[0.0, 0.0, 1.0]])
    >>> coverage(model, None, [[2]]).concentrability
    1.0
    >>> coverage(model, None, [[2]], behaviour=[[1]]).concentrability
    inf
    """
    shape = (model.horizon, model.num_states, model.num_actions)
    follows = action_weights(policy, shape)
    logs = np.full(shape, 1 / model.num_actions) if behaviour is None else action_weights(behaviour, shape)
    gram = np.einsum("hsa,sai,saj->hij", _visits(model, logs), model.phi, model.phi)
    most = np.stack([_most(model, uncertainty, follows, h) for h in range(model.horizon)])
    needed = np.minimum(most, 1 / model.phi.shape[2])
    inverse = np.stack([_inverse_diagonal(part) for part in gram])
    by_feature = np.where(needed > 0, needed * np.where(needed > 0, inverse, 1.0), 0.0)
    return Coverage(float(by_feature.max()), by_feature, max(float(np.linalg.eigvalsh(gram).min()), 0.0))


def _visits(model: LinearMDP, weights: Array) -> Array:
    """Return how likely the nominal model is in each (s, a) at each stage, (H, S, A)."""
    visits = np.zeros_like(weights)
    state = np.asarray(model.start)
    for h in range(model.horizon):
        visits[h] = state[:, None] * weights[h]
        state = np.einsum("sa,sad->d", visits[h], model.phi) @ model.factors[h]
    return visits


def _most(model: LinearMDP, uncertainty: RectangularSet | None, weights: Array, stage: int) -> Array:
    """Return m of a stage, (d,): what the set can make of each squared feature."""
    meets = np.einsum("sa,sai->si", weights[stage], model.phi**2)
    for k in reversed(range(stage)):
        at_stage = set_at_stage(uncertainty, k, model.theta.shape)
        feature = np.einsum("sa,sad->sd", weights[k], model.phi)
        meets = np.stack([feature @ -at_stage.worst_case(model.factors[k], -column).value for column in meets.T], axis=1)
    return np.asarray(model.start @ meets)


def _inverse_diagonal(gram: Array) -> Array:
    """Return the diagonal of the inverse, (d,); infinite for features outside the range."""
    values, vectors = np.linalg.eigh(gram)
    nothing = values <= len(gram) * np.finfo(float).eps * values[-1]
    shares = vectors**2
    known = (shares / np.where(nothing, np.inf, values)).sum(axis=1)
    return np.where(shares[:, nothing].sum(axis=1) > np.sqrt(np.finfo(float).eps), np.inf, known)
