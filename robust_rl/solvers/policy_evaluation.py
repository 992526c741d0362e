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

from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.criterion import check_criterion
from robust_rl.solvers.linear import solve_chain
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
    discount, horizon = check_criterion(discount, horizon)
    if horizon is not None:
        return _finite_horizon(model, policy, uncertainty, horizon)
    assert discount is not None
    weights = policy_weights(model, policy)
    backup = BellmanOperator(model, uncertainty, discount)
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
    if not ((probabilities >= 0).all() and (abs(probabilities[live].sum(axis=1) - 1) <= 1e-8).all()):
        raise InvalidArgumentError("the policy has a row that is not a probability vector")
    wrong = np.argwhere((probabilities > 0) & ~model.action_mask & live[:, None])
    if wrong.size:
        raise InvalidArgumentError(f"the policy uses action {wrong[0, 1]} in state {wrong[0, 0]}, where it is not available")
    row, action = np.nonzero(probabilities * live[:, None])
    return sparse.csr_array((probabilities[row, action], (row, row * actions + action)), shape=(states, states * actions))


def _solve(backup: BellmanOperator, value: Array, weights: sparse.csr_array) -> Array:
    """Value of the policy under the kernel that is worst at the given value."""
    kernel, rewards = backup.worst_case(value, np.unique(weights.indices), _of_rows(weights))
    transitions = sparse.csr_array(weights @ kernel)
    if backup.discount == 1:
        _check_ends(transitions, backup.model.terminal)
    expected = np.asarray(kernel.multiply(rewards).sum(axis=1)) if sparse.issparse(rewards) else rewards
    reward = weights @ expected.ravel()
    return solve_chain(transitions, reward, backup.discount)


def _check_ends(transitions: sparse.csr_array, terminal: NDArray[np.bool_]) -> None:
    """Raise ConvergenceError naming a state from which the chain can't reach a terminal state."""
    ends = terminal.copy()
    while True:
        grown = ends | (transitions @ ends.astype(float) > 0)
        if (grown == ends).all():
            break
        ends = grown
    if not ends.all():
        state = int(np.flatnonzero(~ends)[0])
        raise ConvergenceError(
            f"discount is 1, but the policy never ends from state {state}; use a discount below 1, or a horizon"
        )


def _finite_horizon(model: TabularMDP, policy: ArrayLike, uncertainty: RectangularSet | None, horizon: int) -> Array:
    given = np.asarray(policy)
    # integer actions have one axis a state, probabilities two; whatever comes before is the stage
    stationary = given.ndim == (1 if np.issubdtype(given.dtype, np.integer) else 2)
    if not stationary and len(given) != horizon:
        raise InvalidArgumentError(f"the policy has {len(given)} stages; the horizon is {horizon}")
    backup = BellmanOperator(model, uncertainty, 1.0)
    value = np.zeros((horizon + 1, model.num_states))
    for h in reversed(range(horizon)):
        weights = policy_weights(model, given if stationary else given[h])
        q = backup.q_values(value[h + 1], _of_rows(weights))
        value[h] = weights @ np.where(np.isneginf(q), 0.0, q).ravel()
    return value[:-1]


def _of_rows(weights: sparse.csr_array) -> Array:
    """The policy as one probability a row, (S*A,)."""
    return np.asarray(weights.sum(axis=0)).ravel()
