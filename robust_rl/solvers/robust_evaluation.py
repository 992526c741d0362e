"""The robust value of one deterministic policy, as an accelerator needs it: started warm, to a chosen accuracy, never failing.

Two ways to improve V, the second for where the first is slow:

    a sweep        V <- T_pi V
    a correction   V <- V + (I - gamma P)^-1 (T_pi V - V),    P the kernel of pi that is worst at V                       (1)

Corrections are Newton's method on V = T_pi V, which is policy iteration of the adversary: its V falls to the robust value, from
the second on. Written as a correction, the linear solver need only be as accurate as the next one can mend.

Where no state ends, what is the same in all states is left out of eq. (1), on both sides: spreads and bounds don't see it, but
rounding would.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robust_rl.solvers.acceleration import Array, spread_of
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.linear import DIRECT, SMALL, approximate

# sweeps that cost about as much as a correction, by the linear solver that a chain of so many states takes
WORTH = {SMALL: 2, DIRECT: 6}
WORTH_KRYLOV = 25


def by_sweeps(
    backup: BellmanOperator, choice: NDArray[np.int64], value: Array, enough: float, *, sweeps: int, correct_slow: bool = False
) -> Array:
    """Sweep until values spread by no more than ``enough`` in a sweep.

    Parameters
    ----------
    backup : BellmanOperator
    choice : (S,) row s*A + a of each state
    value : (S,)
    enough : float
    sweeps : int
        At most so many.
    correct_slow : bool
        Correct where the sweeps' rate says that as many more as a correction costs won't do.
    """
    worth = next((worth for size, worth in WORTH.items() if len(value) <= size), WORTH_KRYLOV)
    groups, before, last_corrected = backup.row_groups(choice), math.inf, math.inf
    for k in range(sweeps):
        new_value, _ = backup.sweep(value, groups)
        spread, value = spread_of(value, new_value), new_value
        if spread <= enough:
            break
        slow = k > 0 and spread * (spread / before) ** worth > enough
        before = spread
        if correct_slow and slow:
            correct_slow = spread < 0.5 * last_corrected  # else corrections don't help
            last_corrected = spread
            value, _ = correct(backup, choice, value)
    return value


def by_corrections(backup: BellmanOperator, choice: NDArray[np.int64], value: Array, enough: float, *, rounds: int) -> Array:
    """Correct until values spread by no more than ``enough``, or than rounding in two backups, at most ``rounds`` times."""
    enough = max(enough, 4 * backup.rounding(value))
    for _ in range(rounds):
        value, spread = correct(backup, choice, value)
        if spread <= enough:
            break
    return value


def correct(backup: BellmanOperator, choice: NDArray[np.int64], value: Array) -> tuple[Array, float]:
    """Return eq. (1), and the spread of ``T_pi V - V`` before."""
    new_value, transitions = backup.chain(value, choice)
    d = new_value - value
    spread = float(d.max() - d.min())
    if backup.model.terminal.any():
        return value + approximate(transitions, d, backup.discount), spread
    return value + _centred(approximate(transitions, _centred(d), backup.discount)), spread


def _centred(x: Array) -> Array:
    return np.asarray(x - (x.max() + x.min()) / 2)
