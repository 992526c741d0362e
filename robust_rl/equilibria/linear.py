"""Small linear systems, without LAPACK's overhead."""

from __future__ import annotations

from robust_rl._numba import njit

SINGULAR = 1e-11


@njit
def solve_in_place(system, right):  # type: ignore[no-untyped-def]
    """Gaussian elimination with partial pivoting; the solution replaces ``right``. False where the system is singular."""
    n = len(right)
    for c in range(n):
        row = c
        for r in range(c + 1, n):
            if abs(system[r, c]) > abs(system[row, c]):
                row = r
        if abs(system[row, c]) < SINGULAR:
            return False
        if row != c:
            for e in range(c, n):
                system[c, e], system[row, e] = system[row, e], system[c, e]
            right[c], right[row] = right[row], right[c]
        for r in range(c + 1, n):
            factor = system[r, c] / system[c, c]
            if factor != 0.0:
                for e in range(c + 1, n):
                    system[r, e] -= factor * system[c, e]
                right[r] -= factor * right[c]
    for c in range(n - 1, -1, -1):
        for e in range(c + 1, n):
            right[c] -= system[c, e] * right[e]
        right[c] /= system[c, c]
    return True
