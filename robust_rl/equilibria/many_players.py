"""Nash equilibria of any number of players, from many starts.

Finding one is PPAD-hard, so this is a search: from a random product of strategies, regret matching+ for a while; the actions
that its average plays are a guess at the support; Newton's method then solves the indifference equations on it,

    u_i(b, x_-i) = v_i  for b in the support of i,        sum_b x_i(b) = 1,                                          (1)

and the answer counts if it is a product of distributions and no player gains by a deviation, pure actions off the support
included. Pure equilibria are found by looking at all joint actions. Where no start leads to an equilibrium, Newton's method is
tried on every support.

======  ==========  ====================================================
symbol  here        meaning, shape
======  ==========  ====================================================
Q_i     payoff      (n, M), each player's brought to [0, 1]
x_i     x           (n, A), rows filled up with zeros
u_i(b)  utility     (n, A): payoff of b against the others' strategies
v_i     value       unknown number n_1 + .. + n_n + i of the system
======  ==========  ====================================================

References: Hart and Mas-Colell (2000) and Tammelin (2014) for regret matching; Govindan and Wilson (2003) for Newton on (1).
"""

from __future__ import annotations

import numpy as np

from robust_rl._numba import njit
from robust_rl.equilibria.linear import solve_in_place

ROUNDS = 400
PLAYED = np.array([0.02, 0.08, 0.005, 0.2])  # what share of the average counts as played; starts take turns
NEWTON = 30


@njit
def digits(num_actions, joint):  # type: ignore[no-untyped-def]
    """Each player's own action in each joint action: (M, n)."""
    own = np.empty((joint, len(num_actions)), dtype=np.intp)
    stride = joint
    for i in range(len(num_actions)):
        stride //= num_actions[i]
        for a in range(joint):
            own[a, i] = a // stride % num_actions[i]
    return own


@njit
def write_utility(payoff, own, x, utility):  # type: ignore[no-untyped-def]
    """``utility[i, b] = u_i(b, x_-i)``."""
    n = len(payoff)
    utility[:] = 0.0
    for a in range(len(own)):
        for i in range(n):
            weight = 1.0
            for j in range(n):
                if j != i:
                    weight *= x[j, own[a, j]]
            utility[i, own[a, i]] += weight * payoff[i, a]


@njit
def regret_matching(payoff, own, num_actions, x, average, utility, regrets):  # type: ignore[no-untyped-def]
    """Play from ``x`` on; write the average of the strategies, later ones weighing more."""
    regrets[:], average[:] = 0.0, 0.0
    for step in range(ROUNDS):
        write_utility(payoff, own, x, utility)
        for i in range(len(num_actions)):
            paid, total = 0.0, 0.0
            for b in range(num_actions[i]):
                paid += x[i, b] * utility[i, b]
            for b in range(num_actions[i]):
                average[i, b] += (step + 1) * x[i, b]
                regrets[i, b] = max(regrets[i, b] + utility[i, b] - paid, 0.0)
                total += regrets[i, b]
            if total > 0.0:
                for b in range(num_actions[i]):
                    x[i, b] = regrets[i, b] / total
    average /= ROUNDS * (ROUNDS + 1) / 2


@njit
def polish(payoff, own, num_actions, played, x, utility):  # type: ignore[no-untyped-def]
    """Newton on (1) from ``x``, on the actions above ``played``; False where it ends at no distribution."""
    n = len(num_actions)
    index, unknowns = np.full(x.shape, -1), 0
    for i in range(n):
        for b in range(num_actions[i]):
            if x[i, b] > played or x[i, b] == x[i].max():
                index[i, b], unknowns = unknowns, unknowns + 1
            else:
                x[i, b] = 0.0
        x[i] /= x[i].sum()
    system, right = np.empty((unknowns + n, unknowns + n)), np.empty(unknowns + n)
    write_utility(payoff, own, x, utility)
    value = np.array([(x[i] * utility[i]).sum() for i in range(n)])
    for _ in range(NEWTON):
        residual = write_system(payoff, own, index, unknowns, x, value, utility, system, right)
        if residual < 1e-14:
            break
        if not solve_in_place(system, right):
            return False
        for i in range(n):
            value[i] -= right[unknowns + i]
            for b in range(num_actions[i]):
                if index[i, b] >= 0:
                    x[i, b] -= right[index[i, b]]
                    if not abs(x[i, b]) < 100.0:
                        return False
        write_utility(payoff, own, x, utility)
    for i in range(n):
        for b in range(num_actions[i]):
            if x[i, b] < -1e-9:
                return False
            x[i, b] = max(x[i, b], 0.0)
        x[i] /= x[i].sum()
    return True


@njit
def write_system(payoff, own, index, unknowns, x, value, utility, system, right):  # type: ignore[no-untyped-def]
    """Write the Jacobian and the residuals of (1); return the largest residual."""
    n, worst = len(payoff), 0.0
    system[:] = 0.0
    for a in range(len(own)):
        for i in range(n):
            row = index[i, own[a, i]]
            if row < 0:
                continue
            for j in range(n):
                column = index[j, own[a, j]]
                if j == i or column < 0:
                    continue
                weight = payoff[i, a]
                for l in range(n):  # noqa: E741
                    if l not in (i, j):
                        weight *= x[l, own[a, l]]
                system[row, column] += weight
    for i in range(n):
        total = -1.0
        for b in range(index.shape[1]):
            if index[i, b] >= 0:
                system[index[i, b], unknowns + i] = -1.0
                system[unknowns + i, index[i, b]] = 1.0
                right[index[i, b]] = utility[i, b] - value[i]
                worst = max(worst, abs(right[index[i, b]]))
                total += x[i, b]
        right[unknowns + i] = total
        worst = max(worst, abs(total))
    return worst


@njit
def search(payoff, own, num_actions, start, played, joint):  # type: ignore[no-untyped-def]
    """One start: write the joint policy that it leads to, regret matching's own average where Newton fails."""
    x = start.copy()
    average, utility, regrets = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    regret_matching(payoff, own, num_actions, x, average, utility, regrets)
    x[:] = average
    write_product(x if polish(payoff, own, num_actions, played, x, utility) else average, own, joint)


@njit
def search_support(payoff, own, num_actions, start, number, joint):  # type: ignore[no-untyped-def]
    """Newton from ``start`` on the support of this number, without a guess; False where it ends at no distribution."""
    x, utility = start.copy(), np.empty_like(start)
    for i in range(len(num_actions)):
        sets = (1 << num_actions[i]) - 1
        members, number = number % sets + 1, number // sets
        for b in range(num_actions[i]):
            if not members >> b & 1:
                x[i, b] = 0.0
        x[i] /= x[i].sum()
    if not polish(payoff, own, num_actions, 0.0, x, utility):
        return False
    write_product(x, own, joint)
    return True


@njit
def write_product(x, own, joint):  # type: ignore[no-untyped-def]
    """The joint policy of the players' strategies."""
    for a in range(len(own)):
        joint[a] = 1.0
        for i in range(len(x)):
            joint[a] *= x[i, own[a, i]]
