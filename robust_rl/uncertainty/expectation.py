"""Sweeps of the plain expectation p . z: the nominal problem, and every ball of radius zero, to the same bits."""

from __future__ import annotations

from robust_rl._numba import dot, njit
from robust_rl.uncertainty.sweeps import Sweeps, folded, shared


@njit
def start(radius, slack):  # type: ignore[no-untyped-def]
    """Begin at nothing."""
    return 0.0


@njit
def step(expected, z, p, u, radius, slack):  # type: ignore[no-untyped-def]
    """Add an entry."""
    return expected + p * z


@njit
def _finish(expected, lowest, radius, slack):  # type: ignore[no-untyped-def]
    return expected


@njit
def _full_row(p, u, z, order, lowest, radius, slack, memory):  # type: ignore[no-untyped-def]
    return dot(p, z), memory


_short_rows = folded(start, step, _finish, ordered=False)
_full_rows = shared(_full_row)


@njit
def short_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over short rows."""
    _short_rows(*arguments)


@njit
def full_rows(*arguments):  # type: ignore[no-untyped-def]
    """Sweep over full rows that share z."""
    _full_rows(*arguments)


EXPECTATION = Sweeps(short_rows, full_rows, ordered=False)
