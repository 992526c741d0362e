"""Discount 1: stochastic shortest paths that end under every policy and every kernel of the set.

Let w(s) be the longest expected time to a terminal state, over policies and kernels: w = 1 + max_a max_q sum_s' q(s') w(s').
It is finite exactly when no policy and no kernel can keep the process among non-terminal states for ever. With c = max(max d,
0) and d = TV - V,

    T(V + c w) <= TV + c (w - 1) <= V + c w,    hence   V* <= TV + c (w - 1),

and likewise from below with max(-min d, 0). T is a contraction in the norm weighted by w, with modulus 1 - 1/max w.

References: Bertsekas and Tsitsiklis (1991), for one kernel; the weighted bounds are derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate

Array = NDArray[np.float64]
SWEEPS = 100_000


def longest_time(backup: BellmanOperator) -> Array:
    """Return an upper bound on w, (S,), that satisfies its equation with >=; 0 in terminal states.

    Raises
    ------
    InvalidArgumentError
        If some policy and kernel never end; the message names a state where they can begin.
    ConvergenceError
        If w isn't settled after 100,000 sweeps, so expected times are of that order.
    """
    model = backup.model
    plain = BellmanOperator(
        model.replace(rewards=np.zeros((model.num_states, model.num_actions))), backup.uncertainty.of_kernels(), 1.0
    )
    _refuse_improper(plain)
    time = np.zeros(model.num_states)
    for _ in range(SWEEPS):
        longer = np.where(model.terminal, 0.0, 1 - _least(plain, -time))
        excess = (longer - time).max()
        time = longer
        if excess <= 0.25:
            # T w <= w + excess, so w / (1 - excess) satisfies its equation with >=
            return np.asarray(time / (1 - excess))
    raise ConvergenceError(
        f"discount 1: the longest expected time to the end exceeds {time.max():.3g} steps; use a discount below 1"
    )


def _refuse_improper(plain: BellmanOperator) -> None:
    """Find the greatest set in which some action and kernel stay with certainty; whoever is in it need never end."""
    inside = ~plain.model.terminal
    while inside.any():
        leaving = _least(plain, np.where(inside, 0.0, 1.0))
        stays = inside & (leaving <= 1e-12)
        if (stays == inside).all():
            state = int(np.flatnonzero(inside)[0])
            raise InvalidArgumentError(
                f"discount is 1, but from state {state} some policy may never end under {plain.uncertainty!r}; "
                "use a discount below 1, or a horizon"
            )
        inside = stays


def _least(plain: BellmanOperator, value: Array) -> Array:
    """Lowest expectation of a vector over actions and kernels, (S,)."""
    q = plain.q_values(value)
    return np.asarray(np.where(np.isneginf(q), np.inf, q).min(axis=1))


def shortest_path_certificate(
    value: Array, new_value: Array, time: Array, rounding: float, terminal: NDArray[np.bool_]
) -> Certificate:
    """Return the bounds of the module's docstring from one application ``new_value = T value``."""
    d, eta = new_value - value, rounding
    lower = new_value - max(-d.min(), 0.0) * (time - 1) - eta * time
    upper = new_value + max(d.max(), 0.0) * (time - 1) + eta * time
    return Certificate(np.where(terminal, 0.0, lower), np.where(terminal, 0.0, upper))
