"""The linear program behind every equilibrium here, solved by a dual simplex on a small dense tableau.

    max over x of  min_j P_j x      subject to   G x <= 0,   1 . x = 1,   x >= 0                                      (1)

=====================  ======================================  ======================
problem                P, the rows of the objective            G
=====================  ======================================  ======================
zero-sum game          the columns of the payoff matrix        none
utilitarian            sum_i Q_i, one row                      gains of deviations
maximin                Q_i, a row a player                     gains of deviations
any equilibrium        minus the regret of pure joint actions  gains of deviations
=====================  ======================================  ======================

The right-hand side of (1) is almost all zeros, so the primal simplex stalls; the costs are all different in a generic game, so
the dual simplex doesn't. It needs no first phase: with t = P_0 x - s_0, where row 0 is the one whose maximum over a is least,
the joint action a* that maximises P_0, with all slacks basic, is dual feasible. Where a* is an equilibrium already (a saddle
point, a pure equilibrium), that is also the end. The leaving row is the most negative; the entering column has the least
ratio of reduced cost, among equal ones the largest pivot; after a run of pivots that don't lower the bound, Bland's rule
(least index) until one does, which rules out cycling. Where several x are optimal the answer is the vertex that these rules
reach: it depends on the game alone, not on its batch.

No answer is trusted: x is clipped and renormalised, and x and the multipliers y of P, w of G bound the optimum from both sides,

    min_j P_j x  <=  optimum  <=  max_a [ y P - w G ](a),                                                           (2)

so that what rounding has spoiled is seen, and goes to HiGHS. Loops are written out: on games this small an array expression
costs as much as a pivot. A row's entries are padded to fours, which are eliminated by one instruction each.

======  ===============  ============================================
symbol  here             meaning, shape
======  ===============  ============================================
P       objectives       (k, n)
G       incentives       (m, n)
T       tableau          (k + m + 1, n + 1): objectives but one, incentives, the sum, costs; column n is the right side
======  ===============  ============================================

References: Lemke (1954) for the dual simplex; Bland (1977).
"""

from __future__ import annotations

import numpy as np

from robust_rl._numba import njit, subtract_four

FEASIBLE = 1e-11  # how negative a basic variable may stay; entries are at most 1
PIVOT = 1e-9  # smaller entries are rounding
EQUAL = 1e-13


@njit
def fill_tableau(objectives, incentives, tableau, basic, nonbasic):  # type: ignore[no-untyped-def]
    """Write the first, dual feasible tableau. Variables: x_a is a, the slack of row j is n + j, of incentive d is n + k + d."""
    k, n = objectives.shape
    m = len(incentives)
    first, least = 0, np.inf
    for j in range(k):
        most = objectives[j, 0]
        for a in range(1, n):
            value = objectives[j, a]
            most = value if value > most else most
        lower = most < least
        first, least = j if lower else first, most if lower else least
    star, row = 0, 0
    for a in range(n - 1, -1, -1):
        star = a if objectives[first, a] == least else star
    for j in range(k):
        if j != first:  # t <= P_j x, with t = P_0 x - s_0
            at_star = objectives[first, star] - objectives[j, star]
            for a in range(n):
                tableau[row, a] = objectives[first, a] - objectives[j, a] - at_star
            tableau[row, star], tableau[row, n], basic[row] = -1.0, -at_star, n + j
            row += 1
    for d in range(m):
        at_star = incentives[d, star]
        for a in range(n):
            tableau[row, a] = incentives[d, a] - at_star
        tableau[row, star], tableau[row, n], basic[row] = 0.0, -at_star, n + k + d
        row += 1
    basic[row], tableau[row, n] = star, 1.0
    for a in range(n):
        tableau[row, a], tableau[row + 1, a], nonbasic[a] = 1.0, objectives[first, star] - objectives[first, a], a
    tableau[row, star] = 0.0
    tableau[row + 1, star], tableau[row + 1, n], nonbasic[star] = 1.0, objectives[first, star], n + first


@njit
def leaving_row(tableau, basic, rows, n, bland):  # type: ignore[no-untyped-def]
    """The most negative basic variable, or of the least index by Bland's rule; -1 where none is negative."""
    chosen, lowest = -1, -FEASIBLE
    if bland:
        for r in range(rows):
            if tableau[r, n] < -FEASIBLE and (chosen < 0 or basic[r] < basic[chosen]):
                chosen = r
        return chosen
    for r in range(rows):
        value = tableau[r, n]
        lower = value < lowest
        chosen, lowest = r if lower else chosen, value if lower else lowest
    return chosen


@njit
def entering_column(row, costs, nonbasic, bland):  # type: ignore[no-untyped-def]
    """The least ratio of reduced cost to pivot keeps all reduced costs non-negative; -1 where the row has no pivot."""
    n, least = len(nonbasic), np.inf
    for c in range(n):
        ratio = max(costs[c], 0.0) / max(-row[c], PIVOT)
        least = ratio if row[c] < -PIVOT and ratio < least else least
    chosen, largest = -1, PIVOT
    for c in range(n):
        among = -row[c] > PIVOT and max(costs[c], 0.0) <= (least + EQUAL) * -row[c]
        if bland:
            chosen = c if among and (chosen < 0 or nonbasic[c] < nonbasic[chosen]) else chosen
        else:
            better = among and -row[c] > largest
            chosen, largest = c if better else chosen, -row[c] if better else largest
    return chosen, least


@njit
def pivot(tableau, rows, row, column):  # type: ignore[no-untyped-def]
    """Exchange a basic and a nonbasic variable."""
    width, inverse = tableau.shape[1], 1.0 / tableau[row, column]
    for r in range(rows + 1):
        factor = tableau[r, column] * inverse
        if r != row and factor != 0.0:
            for c in range(0, width, 4):
                subtract_four(tableau, r, row, factor, c)
            tableau[r, column] = -factor
    for c in range(width):
        tableau[row, c] *= inverse
    tableau[row, column] = inverse


@njit
def dual_simplex(objectives, incentives, tableau, basic, nonbasic):  # type: ignore[no-untyped-def]
    """Solve (1) in place; False where rounding stopped it."""
    rows, n = len(objectives) + len(incentives), objectives.shape[1]
    fill_tableau(objectives, incentives, tableau, basic, nonbasic)
    stalled, patience = 0, 2 * rows + 10
    for _ in range(50 * (rows + n)):
        bland = stalled > patience
        row = leaving_row(tableau, basic, rows, n, bland)
        if row < 0:
            return True
        column, ratio = entering_column(tableau[row], tableau[rows], nonbasic, bland)
        if column < 0:
            return False
        stalled = stalled + 1 if ratio <= EQUAL else 0
        pivot(tableau, rows, row, column)
        basic[row], nonbasic[column] = nonbasic[column], basic[row]
    return False


@njit
def read_solution(objectives, incentives, tableau, basic, nonbasic, x, primal, dual):  # type: ignore[no-untyped-def]
    """Write x (n,) and, after n reduced costs, (y, w) in ``dual``, clipped and renormalised; return the two sides of (2)."""
    k, n = objectives.shape
    rows = k + len(incentives)
    for i in range(n + rows):
        primal[i], dual[i] = 0.0, 0.0
    for r in range(rows):
        primal[basic[r]] = max(tableau[r, n], 0.0)
    for c in range(n):
        dual[nonbasic[c]] = max(tableau[rows, c], 0.0)
    if k == 1:
        dual[n] = 1.0
    primal_sum, dual_sum = 0.0, 0.0
    for a in range(n):
        primal_sum += primal[a]
    for j in range(k):
        dual_sum += dual[n + j]
    primal_scale, dual_scale = 1.0 / primal_sum, 1.0 / dual_sum
    for a in range(n):
        x[a] = primal[a] * primal_scale
    for j in range(k):
        dual[n + j] *= dual_scale
    lower = np.inf
    for j in range(k):
        total = 0.0
        for a in range(n):
            total += objectives[j, a] * x[a]
        lower = min(lower, total)
    return lower, upper_bound(objectives, incentives, dual, tableau[rows])


@njit
def upper_bound(objectives, incentives, dual, sums):  # type: ignore[no-untyped-def]
    """The right-hand side of (2); ``sums`` is scratch."""
    k, n = objectives.shape
    for a in range(n):
        total = 0.0
        for j in range(k):
            total += dual[n + j] * objectives[j, a]
        sums[a] = total
    for d in range(len(incentives)):
        w = dual[n + k + d]
        if w != 0.0:
            for a in range(n):
                sums[a] -= w * incentives[d, a]
    highest = sums[0]
    for a in range(1, n):
        highest = max(highest, sums[a])
    return highest
