"""Regrets: what a player gains by leaving a joint policy, exactly.

With payoffs Q_i(a), a joint policy x(a) and a deviation of player i, the gain is linear in x,

    CCE, NE   G_i(b) x    = sum_a x(a) [ Q_i(b, a_-i) - Q_i(a) ]                                  play b whatever is recommended
    CE        G_i(a_i, b) = the same sum over the joint actions that recommend a_i to player i              play b instead of a_i

and the stage gap of x is the largest gain of a deviation. For CE it is the largest over players of sum_(a_i) max_b G_i(a_i, b):
a modification may change every recommendation at once. All gaps are at least 0: not to deviate is a deviation, too.

======  ================  ====================================================
symbol  here              meaning, shape
======  ================  ====================================================
Q       payoffs           (K, n, A1, .., An); kernels see (K, n, M), M = A1 .. An
x       policies          (K, A1, .., An); kernels see (K, M)
A_i     num_actions       (n,)
G       incentives        (m, M), a row a deviation; m = sum A_i, or sum A_i (A_i - 1)
======  ================  ====================================================

Joint actions are numbered in C order: player i's own action of the joint action a is ``a // stride_i % A_i``, where stride_i is
the product of the action counts of the players behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl._numba import njit
from robust_rl.equilibria.checks import Array, as_kind, as_payoffs, as_policies
from robust_rl.errors import InvalidArgumentError


def stage_gaps(payoffs: ArrayLike, policies: ArrayLike, kind: str) -> Array:
    """Return the exact regret of joint policies in a batch of games.

    Parameters
    ----------
    payoffs : (K, n, A1, .., An)
    policies : (K, A1, .., An)
        A distribution over joint actions for each game; for "ne" the product of its marginals.
    kind : "ne", "ce" or "cce"

    Returns
    -------
    (K,)
        The most that a player gains by the best deviation; 0 where none gains.

    Raises
    ------
    InvalidArgumentError
        If shapes don't fit, entries aren't finite, a policy isn't a distribution, or, for "ne", not a product.

    Examples
    --------
    >>> chicken = [[[[0.0, 7.0], [2.0, 6.0]], [[0.0, 2.0], [7.0, 6.0]]]]
    >>> lights = [[[0.0, 0.5], [0.5, 0.0]]]
    >>> stage_gaps(chicken, lights, "ce"), stage_gaps(chicken, [[[0.25, 0.25], [0.25, 0.25]]], "ce")
    (array([0.]), array([0.25]))
    """
    as_kind(kind)
    games = as_payoffs(payoffs)
    joint = as_policies(policies, games.shape[:1] + games.shape[2:])
    if kind == "ne":
        _check_product(joint)
    num_actions = np.array(games.shape[2:])
    size = int(num_actions.prod())
    gaps: Array = regrets(games.reshape(*games.shape[:2], size), joint.reshape(-1, size), num_actions, kind == "ce")
    return gaps


def marginals(policies: ArrayLike) -> tuple[Array, ...]:
    """Return each player's distribution over its own actions: ``(K, A1, .., An) -> n arrays (K, A_i)``."""
    joint = np.asarray(policies, dtype=np.float64)
    players = range(1, joint.ndim)
    return tuple(joint.sum(axis=tuple(j for j in players if j != i)) for i in players)


def product(strategies: tuple[Array, ...] | list[Array]) -> Array:
    """Return the joint policies in which players draw on their own: ``n arrays (K, A_i) -> (K, A1, .., An)``."""
    joint = np.ones((len(strategies[0]),))
    for own in strategies:
        joint = joint[..., None] * own.reshape(len(own), *[1] * (joint.ndim - 1), -1)
    return joint


def _check_product(joint: Array) -> None:
    distance = abs(joint - product(marginals(joint))).reshape(len(joint), -1).max(axis=1, initial=0.0)
    if (distance > 1e-9).any():
        k = int(distance.argmax())
        raise InvalidArgumentError(
            f"policies[{k}] is correlated: it is {distance[k]:.3g} from the product of its marginals, and a Nash equilibrium "
            'is a product; ask for the "ce" or "cce" gap, or hand in product(marginals(policies))'
        )


@njit
def regrets(payoffs, policies, num_actions, correlated):  # type: ignore[no-untyped-def]
    """Gaps of a batch: (K, n, M) and (K, M) -> (K,). ``correlated``: deviations may depend on the recommendation."""
    gaps = np.empty(len(payoffs))
    gains = np.empty((num_actions.max(), num_actions.max()))
    for k in range(len(payoffs)):
        gaps[k] = regret(payoffs[k], policies[k], num_actions, correlated, gains)
    return gaps


@njit
def regret(payoff, policy, num_actions, correlated, gains):  # type: ignore[no-untyped-def]
    """Gap of one game; ``gains`` is scratch."""
    worst, stride = 0.0, len(policy)
    for i in range(len(num_actions)):
        own = num_actions[i]
        stride //= own
        gains[:own, :own] = 0.0
        for outer in range(0, len(policy), own * stride):
            for told in range(own):
                first = outer + told * stride
                for b in range(own):
                    other, total = outer + b * stride, 0.0
                    for inner in range(stride):
                        total += policy[first + inner] * (payoff[i, other + inner] - payoff[i, first + inner])
                    gains[told, b] += total
        gain = 0.0
        if correlated:  # a best answer to each recommendation
            for told in range(own):
                gain += gains[told, :own].max()
        else:  # one answer to all
            for b in range(own):
                gain = max(gain, gains[:own, b].sum())
        worst = max(worst, gain)
    return worst


@njit
def write_incentives(payoff, num_actions, correlated, rows):  # type: ignore[no-untyped-def]
    """Write G of one game, a row a deviation, into ``rows`` (m, M); return m."""
    m, joint, stride = 0, payoff.shape[1], payoff.shape[1]
    for i in range(len(num_actions)):
        own = num_actions[i]
        stride //= own
        for told in range(own if correlated else 1):
            for b in range(own):
                if correlated and b == told:
                    continue
                rows[m, :joint] = 0.0
                for outer in range(0, joint, own * stride):
                    for a in range(told if correlated else 0, told + 1 if correlated else own):
                        first, other = outer + a * stride, outer + b * stride
                        for inner in range(stride):
                            rows[m, first + inner] = payoff[i, other + inner] - payoff[i, first + inner]
                m += 1
    return m


def num_deviations(num_actions: NDArray[np.intp], correlated: bool) -> int:
    """Rows of G."""
    return int((num_actions * (num_actions - 1)).sum() if correlated else num_actions.sum())
