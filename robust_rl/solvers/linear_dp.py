"""Exact robust dynamic programming on a known linear MDP whose factors move one by one (d-rectangular).

    nu_{h,i} = min { mu . V_{h+1} : mu in U(mu_{h,i}) },    Q_h = <phi, theta_h + nu_h>,    V_h(s) = max_a Q_h(s, a)          (1)

or with the average over a given policy's actions for the maximum. It is the truth that DROP estimates. A set of factors of
radius rho lies within the (s,a)-rectangular one of the same radius, so its values are at least those of backward induction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import LinearMDP
from robust_rl.uncertainty import Nominal, RadiusSet, RectangularSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinearValues:
    """Value (H, S), action_values (H, S, A), greedy policy (H, S), and the worst factors (H, d, S)."""

    value: Array
    action_values: Array
    policy: NDArray[np.intp]
    factors: Array


def linear_values(model: LinearMDP, uncertainty: RectangularSet | None, policy: ArrayLike | None = None) -> LinearValues:
    """Solve eq. (1).

    Parameters
    ----------
    model : LinearMDP
    uncertainty : RectangularSet or None
        Around each factor, as it would be around each row (s, a) elsewhere: any set that takes lone rows, ``support="free"`` or
        ``"nominal"``. A radius is a number, (d,) or (H, d).
    policy : (H, S) actions or (H, S, A) probabilities, optional
        Evaluate it instead of optimising.

    Raises
    ------
    InvalidArgumentError
        If the policy has another shape.
    """
    horizon, states, actions = model.horizon, model.num_states, model.num_actions
    weights = None if policy is None else action_weights(policy, (horizon, states, actions))
    value, q = np.zeros((horizon + 1, states)), np.zeros((horizon, states, actions))
    factors = np.zeros_like(model.factors)
    for h in reversed(range(horizon)):
        worst = set_at_stage(uncertainty, h, model.theta.shape).worst_case(model.factors[h], value[h + 1])
        factors[h] = worst.q
        q[h] = model.phi @ (model.theta[h] + worst.value)  # eq. 1
        value[h] = q[h].max(axis=1) if weights is None else (weights[h] * q[h]).sum(axis=1)
    return LinearValues(value[:-1], q, q.argmax(axis=2), factors)


def set_at_stage(uncertainty: RectangularSet | None, h: int, shape: tuple[int, ...]) -> RectangularSet:
    """Return the set around the factors of stage h."""
    if uncertainty is None:
        return Nominal()
    if isinstance(uncertainty, RadiusSet) and np.shape(uncertainty.radius) == shape:
        return type(uncertainty)(**(uncertainty.describe() | {"radius": np.asarray(uncertainty.radius)[h]}))
    return uncertainty


def action_weights(policy: ArrayLike, shape: tuple[int, int, int]) -> Array:
    """Return a policy's probabilities of shape (H, S, A). Raises InvalidArgumentError if it has another shape."""
    given = np.asarray(policy)
    if given.shape == shape:
        return given.astype(np.float64)
    if given.shape != shape[:2]:
        raise InvalidArgumentError(f"the policy has shape {given.shape}; expected actions {shape[:2]} or probabilities {shape}")
    return np.eye(shape[2])[given.astype(np.intp)]
