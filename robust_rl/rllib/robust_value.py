"""What a next state is worth to a robust learner that sees one next state at a time, in torch.

The distribution of the next state may move from P by rho, and the worst state there is has value m. Robust Q-learning needs the
worst case of E[V(s')]; a learner has one s' ~ P and v = V(s'). The dual of each set turns the worst case into the largest
expectation, over dual variables, of something that one s' is enough for:

    contamination        (1 - rho) v + rho m                                                                               (1)
    total variation      min(v, eta) - rho (eta - m)                                                                       (2)
    Kullback-Leibler     nu + lambda - lambda rho - lambda exp((nu - v) / lambda),     lambda > 0                          (3)

with eta, nu and lambda functions of (s, a): outputs of a network that ascends the mean of the same expression. The maximiser of
(2) is the (1 - rho)-quantile of V(s') (Panaganti, Xu, Kalathil and Ghavamzadeh, 2022, arXiv:2208.05129); at that of (3)
nu = -lambda log E[exp(-V / lambda)], the usual dual, whose logarithm of a mean one s' can't estimate without bias. Other values
of the dual variables give less: a poorly fitted network costs value, but never promises too much.

In (1) and (2) the adversary may move to any state, and goes to the one worth m. In (3) it reweights the states that P reaches, so
no m is needed; exp((nu - v) / lambda) is the factor on the probability of s'. Beyond a factor of MOST we continue the exponential
by its tangent: that keeps gradients and targets in bounds, and values too high where an adversary would want more.

===========  ===========  ====================================================================
symbol       here         meaning, shape
===========  ===========  ====================================================================
v            values       (B,) value of the sampled next state, 0 after the end of an episode
rho          radius       of the set
m            floor        value of the worst state there is
eta          dual         (B, 1)
nu, lambda   dual         (B, 2), lambda as softplus(dual[:, 1]) + LEAST
===========  ===========  ====================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robust_rl.uncertainty import KL, Contamination, RectangularSet, TotalVariation

MOST, LEAST = 20.0, 1e-2


def contamination(values: Tensor, dual: Tensor | None, radius: float, floor: float) -> Tensor:
    """Return eq. (1), (B,)."""
    return (1 - radius) * values + radius * floor


def total_variation(values: Tensor, dual: Tensor, radius: float, floor: float) -> Tensor:
    """Return eq. (2), (B,)."""
    eta = dual[:, 0]
    return torch.minimum(values, eta) - radius * (eta - floor)


def kl(values: Tensor, dual: Tensor, radius: float, floor: float | None) -> Tensor:
    """Return eq. (3), (B,)."""
    nu, lam = dual[:, 0], torch.nn.functional.softplus(dual[:, 1]) + LEAST
    exponent, most = (nu - values) / lam, math.log(MOST)
    weight = torch.exp(exponent.clip(max=most)) + MOST * (exponent - most).clip(min=0)
    return nu + lam - lam * radius - lam * weight


WORST: dict[type[RectangularSet], Callable[..., Tensor]] = {
    Contamination: contamination, TotalVariation: total_variation, KL: kl
}  # fmt: skip
HEADS: dict[type[RectangularSet], int] = {Contamination: 0, TotalVariation: 1, KL: 2}
"""How many dual variables each set has."""


def worst_value(uncertainty: RectangularSet, values: Tensor, dual: Tensor | None, floor: float | None) -> Tensor:
    """Return what next states are worth in the worst case, (B,): differentiable in ``dual``, whose loss is minus the mean of it.

    Parameters
    ----------
    uncertainty : Contamination, TotalVariation or KL
        With one radius, above 0.
    values : (B,) tensor
        Values of the sampled next states, 0 after the end of an episode.
    dual : (B, k) tensor, or None
        Dual variables of the states and actions; k is ``HEADS`` of the set.
    floor : float, or None
        Value of the worst state there is.

    Examples
    --------
    >>> v, eta = torch.tensor([1.0, 5.0]), torch.tensor([[2.0], [2.0]])
    >>> worst_value(TotalVariation(0.5, support="free"), v, eta, 0.0)
    tensor([0., 1.])
    """
    return WORST[type(uncertainty)](values, dual, uncertainty.radius, floor)  # type: ignore[attr-defined]
