r"""How fast the robust value falls as the set grows, and which rows make it fall.

Let V be the robust value of a policy pi, q* its worst kernel, and lambda(s,a) minus the derivative in the radius of the inner
problem min_q q.z at fixed z: the multiplier that every set returns. Differentiate V(s) = F(s; V, sigma), where F is the inner
value. By the envelope theorem the kernel's own motion counts for nothing, so dF/dV(s') = gamma q*(s') and dF/dsigma = -lambda:

    g(s) = -lambda(s, pi(s)) + gamma sum_s' q*(s') g(s'),    that is    (I - gamma P_pi^{q*}) g = -lambda_pi                (1)

g is the derivative of V when all rows' radii grow by the same amount. Each row's radius on its own moves the value from the
start mu by

    dV(mu)/dsigma(s,a) = -d(s) pi(a|s) lambda(s,a),    d = mu + gamma (P_pi^{q*})^T d                                       (2)

visits in the worst case times multiplier; over all rows these add up to mu.g, since (2) is the transpose of (1). Over a horizon
both are recursions, g_h = -lambda_h + P_h g_{h+1}. The envelope theorem applies once more to the maximum over policies: where
one policy alone is optimal, g is the derivative of the optimal robust value.

Where the value has a kink the derivative is one-sided, and g is one of many. Kinks come with the radius (a set's next entry
runs empty; total variation then gives the side of growth), with states of equal worth between which the adversary may choose,
and with policies that tie: there the optimal value falls no faster than g says as the radius grows, and rises no
slower as it shrinks, since V* >= V_pi with equality at this radius.

References: Milgrom and Segal (2002), the envelope theorem for arbitrary choice sets; eqs. (1) and (2) are derived here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.linear import solve_chain
from robust_rl.solvers.policy_evaluation import policy_weights
from robust_rl.solvers.solution import Solution
from robust_rl.solvers.visits import discounted_visits, staged_visits
from robust_rl.uncertainty import RadiusSet

Array = NDArray[np.float64]


class Sensitivity(NamedTuple):
    """Derivatives of a solution's robust value in the radius; negative, in the unit of the rewards a unit of the radius.

    value : (S,) or (H, S)
        Of each state's value when all rows' radii grow alike, eq. 1.
    rows : (S, A) or (H, S, A)
        Of the value from the start in the radius of one row alone, eq. 2; 0 for rows that the policy doesn't use.
    start : float
        Of the value from the start when all radii grow alike; the sum of ``rows``.
    """

    value: Array
    rows: Array
    start: float

    def heaviest(self, count: int = 10) -> list[tuple[int, int, float]]:
        """Return (state, action, derivative) of the rows that matter most, heaviest first, summed over the stages."""
        total = self.rows if self.rows.ndim == 2 else self.rows.sum(axis=0)
        order = np.argsort(-abs(total), axis=None, kind="stable")[:count]
        places = [(int(i) // total.shape[1], int(i) % total.shape[1]) for i in order]
        return [(state, action, float(total[state, action])) for state, action in places if total[state, action]]


def radius_sensitivity(model: TabularMDP, solution: Solution) -> Sensitivity:
    """Return the derivative of a solution's robust value in the radius of its set.

    For :class:`robust_rl.CVaR` it is the derivative in the level, and positive.

    Parameters
    ----------
    model : TabularMDP
        What was solved.
    solution : Solution
        Of :func:`robust_rl.solve`, with a set that has a radius, one for all rows or one a row.

    Returns
    -------
    Sensitivity

    Raises
    ------
    InvalidUncertaintyError
        If the set has no radius, or the value no finite slope there: around radius 0 a divergence moves the value by its
        square root.
    InvalidArgumentError
        If the solution is of another model.

    Examples
    --------
    >>> from robust_rl import TotalVariation, envs, solve
    >>> model = envs.tabular("CliffWalking-v1")
    >>> sensitivity = radius_sensitivity(model, solve(model, TotalVariation(0.1, support="reachable"), discount=0.99))
    >>> round(sensitivity.start), sensitivity.heaviest(1)[0][:2]
    (-261, (36, 0))
    """
    if not isinstance(solution.uncertainty, RadiusSet):
        raise InvalidUncertaintyError(
            f"{solution.uncertainty!r} has no radius, so there is no derivative in it; solve with a set such as TotalVariation"
        )
    if solution.action_values.shape[-2:] != (model.num_states, model.num_actions):
        raise InvalidArgumentError(
            f"the solution has {solution.action_values.shape[-2:]} states and actions, the model "
            f"{(model.num_states, model.num_actions)}; give the model that was solved"
        )
    return _discounted(model, solution) if solution.horizon is None else _over_a_horizon(model, solution)


def _discounted(model: TabularMDP, solution: Solution) -> Sensitivity:
    discount = float(solution.discount or 0.0)
    backup = BellmanOperator(model, solution.uncertainty, discount)
    weights, slopes = _policy_slopes(backup, solution.policy, solution.value)
    transitions = sparse.csr_array(weights @ solution.kernel)
    value = solve_chain(transitions, weights @ slopes, discount)  # eq. 1
    visits = discounted_visits(transitions, model.start, discount)
    return Sensitivity(value, _by_row(model, visits, weights, slopes), float(model.start @ value))  # eq. 2


def _over_a_horizon(model: TabularMDP, solution: Solution) -> Sensitivity:
    stages = len(solution.policy)
    backup = BellmanOperator(model, solution.uncertainty, 1.0)
    following = np.vstack([solution.value[1:], np.zeros(model.num_states)])
    found = [_policy_slopes(backup, solution.policy[h], following[h]) for h in range(stages)]
    transitions = [sparse.csr_array(weights @ kernel) for (weights, _), kernel in zip(found, solution.kernel, strict=True)]
    value = np.zeros((stages + 1, model.num_states))
    for h in reversed(range(stages)):
        weights, slopes = found[h]
        value[h] = weights @ slopes + transitions[h] @ value[h + 1]
    visits = staged_visits(transitions, model.start)
    rows = np.stack([_by_row(model, d, *pair) for d, pair in zip(visits, found, strict=True)])
    return Sensitivity(value[:-1], rows, float(model.start @ value[0]))


def _policy_slopes(backup: BellmanOperator, policy: NDArray[Any], value: Array) -> tuple[sparse.csr_array, Array]:
    """Return the policy as (S, S*A) weights, and -lambda (S*A,) of the rows that it uses."""
    weights = policy_weights(backup.model, policy)
    rows = np.unique(weights.indices).astype(np.int64)
    slopes = np.zeros(weights.shape[1])
    slopes[rows] = -backup.rows.worst_case(value, rows, kernel=False).multipliers[rows]
    endless = np.flatnonzero(~np.isfinite(slopes))
    if endless.size:
        state, action = divmod(int(endless[0]), backup.model.num_actions)
        raise InvalidUncertaintyError(
            f"the value has no finite derivative in the radius of {backup.uncertainty!r} at (s={state}, a={action}): "
            "around radius 0 it falls like the radius' square root; solve with a positive radius"
        )
    return weights, slopes


def _by_row(model: TabularMDP, visits: Array, weights: sparse.csr_array, slopes: Array) -> Array:
    return np.asarray((visits @ weights) * slopes).reshape(model.num_states, model.num_actions)
