"""Nash equilibria of two players: Lemke and Howson's path, and all supports of equal size.

With payoffs made positive, equilibria are the pairs of vertices, other than the origin, of

    { x >= 0 : B' x <= 1 }        and        { y >= 0 : A y <= 1 }                                                   (1)

that carry every label: label a of the first player's actions where x_a = 0 or (A y)_a = 1, label b of the second's likewise.
Drop one label at the origin and pivot from one polytope to the other until it is found again. Ties in the ratio test are
decided lexicographically, as if the right-hand sides were perturbed, so that the path never cycles in degenerate games.

Supports (I, J) of equal size: x on I makes the second player indifferent among J, y on J the first among I; it is an
equilibrium if both are distributions and nobody gains. In a nondegenerate game these are all equilibria.

======  ==========  ==============================================================
symbol  here        meaning, shape
======  ==========  ==============================================================
A, B    first, second  payoffs, (A1, A2), brought to [0, 1]
T_0     left        tableau of x: (A2, A1 + A2 + 1); columns are labels, then 1
T_1     right       tableau of y: (A1, A1 + A2 + 1)
======  ==========  ==============================================================

References: Lemke and Howson (1964); von Stengel (2007); Dickhaut and Kaplan (1991) for supports.
"""

from __future__ import annotations

import numpy as np

from robust_rl._numba import njit
from robust_rl.equilibria.linear import solve_in_place

SMALL = 1e-12


@njit
def lemke_howson(first, second, label, x, y):  # type: ignore[no-untyped-def]
    """Write the equilibrium at the end of the path of ``label``; False where rounding broke the path."""
    rows, columns = first.shape
    labels = rows + columns
    left, right = np.zeros((columns, labels + 1)), np.zeros((rows, labels + 1))
    left_basic, right_basic = np.arange(rows, labels), np.arange(rows)
    for b in range(columns):
        left[b, :rows], left[b, rows + b], left[b, labels] = second[:, b] + 1.0, 1.0, 1.0
    for a in range(rows):
        right[a, rows:labels], right[a, a], right[a, labels] = first[a] + 1.0, 1.0, 1.0
    entering, on_left = label, label < rows
    for _ in range(1000 * labels):
        if on_left:
            entering = exchange(left, left_basic, entering, rows)
        else:
            entering = exchange(right, right_basic, entering, 0)
        if entering < 0:
            return False
        if entering == label:
            return read_strategy(left, left_basic, 0, x) and read_strategy(right, right_basic, rows, y)
        on_left = not on_left
    return False


@njit
def exchange(tableau, basic, entering, slack):  # type: ignore[no-untyped-def]
    """Bring ``entering`` into the basis; return the label that leaves. ``slack``: the first column of the first basis."""
    row = lexicographic_row(tableau, entering, slack)
    if row < 0:
        return -1
    tableau[row] /= tableau[row, entering]
    for r in range(len(tableau)):
        factor = tableau[r, entering]
        if r != row and factor != 0.0:
            for c in range(tableau.shape[1]):
                tableau[r, c] -= factor * tableau[row, c]
    leaving = basic[row]
    basic[row] = entering
    return leaving


@njit
def lexicographic_row(tableau, entering, slack):  # type: ignore[no-untyped-def]
    """The row of the least ratio; equal ratios are compared in the columns of the first basis, one after another."""
    chosen, last = -1, tableau.shape[1] - 1
    for r in range(len(tableau)):
        pivot = tableau[r, entering]
        if pivot <= SMALL:
            continue
        if chosen < 0:
            chosen = r
            continue
        difference = tableau[r, last] / pivot - tableau[chosen, last] / tableau[chosen, entering]
        column = slack
        while abs(difference) <= SMALL and column < slack + len(tableau):
            difference = tableau[r, column] / pivot - tableau[chosen, column] / tableau[chosen, entering]
            column += 1
        if difference < 0.0:
            chosen = r
    return chosen


@njit
def read_strategy(tableau, basic, shift, strategy):  # type: ignore[no-untyped-def]
    """Basic variables that are actions, renormalised; False where they are no distribution."""
    strategy[:] = 0.0
    for r in range(len(basic)):
        if 0 <= basic[r] - shift < len(strategy):
            strategy[basic[r] - shift] = max(tableau[r, -1], 0.0)
    total = strategy.sum()
    if not total > 0.0:
        return False
    strategy /= total
    return True


@njit
def indifferent(payoffs, responders, support, size, strategy, system, right):  # type: ignore[no-untyped-def]
    """Write the strategy on ``support`` (a bit set) that pays each of ``responders`` the same; False where it is no strategy.

    ``payoffs`` (responders' actions, own actions); ``size`` is the number of actions in either set.
    """
    row = 0
    for r in range(len(payoffs)):
        if responders >> r & 1:
            column = 0
            for c in range(payoffs.shape[1]):
                if support >> c & 1:
                    system[row, column] = payoffs[r, c]
                    column += 1
            system[row, size], right[row] = -1.0, 0.0
            row += 1
    system[size, :size], system[size, size], right[size] = 1.0, 0.0, 1.0
    if not solve_in_place(system[: size + 1, : size + 1], right[: size + 1]):
        return False
    column = 0
    for c in range(len(strategy)):
        strategy[c] = 0.0
        if support >> c & 1:
            if right[column] < -SMALL:
                return False
            strategy[c] = max(right[column], 0.0)
            column += 1
    strategy /= strategy.sum()
    return True


@njit
def bits(number):  # type: ignore[no-untyped-def]
    """Size of a bit set."""
    count = 0
    while number:
        number &= number - 1
        count += 1
    return count


@njit
def no_gain(first, second, x, y, tolerance):  # type: ignore[no-untyped-def]
    """Whether neither player gains by a deviation from (x, y)."""
    rows, columns = first.shape
    paid, best = 0.0, -np.inf
    for a in range(rows):
        value = 0.0
        for b in range(columns):
            value += first[a, b] * y[b]
        paid, best = paid + x[a] * value, max(best, value)
    if best - paid > tolerance:
        return False
    paid, best = 0.0, -np.inf
    for b in range(columns):
        value = 0.0
        for a in range(rows):
            value += second[a, b] * x[a]
        paid, best = paid + y[b] * value, max(best, value)
    return best - paid <= tolerance
