"""The robust value of a given policy.

For a fixed policy pi the adversary faces a minimisation MDP, solved by policy iteration on its side: freeze the worst kernel
q_k against V_k, and solve

    (I - gamma P_pi^{q_k}) V_{k+1} = r_pi^{q_k}                                                                     (1)

V_k falls monotonically to the robust value; with one kernel (no uncertainty) the first solve is the answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]
ROUNDS = 1000


def policy_value(
    model: TabularMDP,
    policy: ArrayLike,
    uncertainty: RectangularSet | None = None,
    *,
    discount: float | None = None,
    horizon: int | None = None,
) -> Array:
    """Return the exact robust value of a policy.

    Parameters
    ----------
    model : TabularMDP
    policy : (S,) actions or (S, A) probabilities; for a horizon also (H, S) or (H, S, A)
    uncertainty : RectangularSet or None
        ``None`` evaluates on the model itself.
    discount, horizon
        Exactly one, as in :func:`robust_rl.solve`.

    Returns
    -------
    (S,) array, or (H, S) for a horizon

    Raises
    ------
    InvalidArgumentError
        If the policy has the wrong shape or uses an unavailable action; the message names it.
    ConvergenceError
        With discount 1, if the policy never ends from some state.
    """
    if (discount is None) == (horizon is None):
        raise InvalidArgumentError(f"give exactly one of discount and horizon; got discount={discount}, horizon={horizon}")
    if horizon is not None:
        return _finite_horizon(model, policy, uncertainty, horizon)
    weights = policy_weights(model, policy)
    backup = BellmanOperator(model, uncertainty, float(discount))  # type: ignore[arg-type]
    value = _solve(backup, np.zeros(model.num_states), weights)
    for _ in range(ROUNDS):
        lower = _solve(backup, value, weights)  # eq. 1
        if (value - lower).max() <= 1e-12 * (1 + abs(lower).max()):
            return np.minimum(value, lower)
        value = lower
    raise ConvergenceError(f"the adversary's policy iteration didn't settle in {ROUNDS} rounds")


def policy_weights(model: TabularMDP, policy: ArrayLike) -> sparse.csr_array:
    """Return the policy as CSR of shape (S, S*A): entry (s, s*A + a) is pi(a|s). Terminal states have none."""
    given = np.asarray(policy)
    states, actions = model.num_states, model.num_actions
    if given.shape == (states,) and np.issubdtype(given.dtype, np.integer):
        probabilities = np.zeros((states, actions))
        if ((given < 0) | (given >= actions)).any():
            raise InvalidArgumentError(
                f"the policy uses action {int(given.min() if given.min() < 0 else given.max())}; actions are 0..{actions - 1}"
            )
        probabilities[np.arange(states), given] = 1.0
    elif given.shape == (states, actions):
        probabilities = given.astype(np.float64)
    else:
        raise InvalidArgumentError(
            f"the policy has shape {given.shape}; expected integer actions ({states},) or probabilities {(states, actions)}"
        )
    live = ~model.terminal
    if (probabilities < 0).any() or (abs(probabilities[live].sum(axis=1) - 1) > 1e-8).any():
        raise InvalidArgumentError("the policy has a row that is not a probability vector")
    wrong = np.argwhere((probabilities > 0) & ~model.action_mask & live[:, None])
    if wrong.size:
        raise InvalidArgumentError(f"the policy uses action {wrong[0, 1]} in state {wrong[0, 0]}, where it is not available")
    row, action = np.nonzero(probabilities * live[:, None])
    return sparse.csr_array((probabilities[row, action], (row, row * actions + action)), shape=(states, states * actions))


def _solve(backup: BellmanOperator, value: Array, weights: sparse.csr_array) -> Array:
    """Value of the policy under the kernel that is worst at the given value."""
    kernel, rewards = backup.worst_case(value, np.unique(weights.indices))
    transitions = weights @ kernel
    reward = weights @ np.asarray(kernel.multiply(rewards).sum(axis=1)).ravel()
    system = sparse.csc_array(sparse.eye_array(len(value)) - backup.discount * transitions)
    with np.errstate(all="ignore"):
        result = np.atleast_1d(spsolve(system, reward))
    if not np.isfinite(result).all():
        raise ConvergenceError("the policy has no finite value: with discount 1 it must reach a terminal state from everywhere")
    return np.asarray(result)


def _finite_horizon(model: TabularMDP, policy: ArrayLike, uncertainty: RectangularSet | None, horizon: int) -> Array:
    given = np.asarray(policy)
    stationary = given.shape in ((model.num_states,), (model.num_states, model.num_actions))
    if not stationary and len(given) != horizon:
        raise InvalidArgumentError(f"the policy has {len(given)} stages; the horizon is {horizon}")
    backup = BellmanOperator(model, uncertainty, 1.0)
    value = np.zeros((horizon + 1, model.num_states))
    for h in reversed(range(horizon)):
        weights = policy_weights(model, given if stationary else given[h])
        q = backup.q_values(value[h + 1])
        value[h] = weights @ np.where(np.isneginf(q), 0.0, q).ravel()
    return value[:-1]
