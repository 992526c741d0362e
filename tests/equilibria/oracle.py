"""Equilibria by enumeration, scipy and cvxpy. Shares no code with the library."""

from itertools import product

import numpy as np
from scipy.optimize import linprog


def gain(payoff, joint, player, told, played):
    """What ``player`` gains by playing ``played`` whenever it is told one of ``told``."""
    total = 0.0
    for actions in np.ndindex(joint.shape):
        if actions[player] in told:
            other = tuple(played if i == player else a for i, a in enumerate(actions))
            total += joint[actions] * (payoff[player][other] - payoff[player][actions])
    return total


def gap_by_enumeration(payoff, joint, kind):
    """Largest gain over all deterministic deviations, for CE over all maps of own actions to own actions."""
    largest = 0.0
    for i, size in enumerate(joint.shape):
        if kind == "ce":
            table = [[gain(payoff, joint, i, [a], b) for b in range(size)] for a in range(size)]
            gains = [sum(table[a][b] for a, b in enumerate(mapping)) for mapping in product(range(size), repeat=size)]
        else:
            gains = [gain(payoff, joint, i, range(size), b) for b in range(size)]
        largest = max(largest, *gains)
    return largest


def gain_matrix(payoff, kind):
    """Rows: deviations; columns: joint actions."""
    shape, rows = payoff.shape[1:], []
    for i, size in enumerate(shape):
        told = [[a] for a in range(size)] if kind == "ce" else [range(size)]
        for recommended in told:
            for b in range(size):
                row = []
                for a in np.ndindex(shape):
                    point = np.zeros(shape)
                    point[a] = 1.0
                    row.append(gain(payoff, point, i, recommended, b))
                rows.append(row)
    return np.array(rows)


def best_value(payoff, kind, selection):
    """Optimum of the selection rule over all equilibria, by scipy."""
    gains, flat = gain_matrix(payoff, kind), payoff.reshape(len(payoff), -1)
    count = flat.shape[1]
    above = np.hstack([gains, np.zeros((len(gains), 1))])
    if selection == "maximin":
        above = np.vstack([above, np.hstack([-flat, np.ones((len(flat), 1))])])
        cost = np.append(np.zeros(count), -1.0)
    else:
        cost = np.append(-flat.sum(axis=0), 0.0)
    result = linprog(
        cost,
        A_ub=above,
        b_ub=np.zeros(len(above)),
        A_eq=[[1.0] * count + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * count + [(None, None)],
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert result.status == 0
    return -result.fun


def largest_entropy(payoff, kind, cvxpy):
    """Largest entropy of an equilibrium, by cvxpy."""
    x = cvxpy.Variable(payoff[0].size, nonneg=True)
    problem = cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(cvxpy.entr(x))), [gain_matrix(payoff, kind) @ x <= 0, cvxpy.sum(x) == 1])
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return problem.value
