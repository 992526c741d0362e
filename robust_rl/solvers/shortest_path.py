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


class ShortestPathBounds:
    """The bounds of the module's docstring, from the range of d = TV - V; see :class:`~robust_rl.solvers.certificate.SpanBounds`.

    Parameters
    ----------
    time : (S,) array
        What :func:`longest_time` returned.
    """

    def __init__(self, time: Array) -> None:
        longest = float(time.max())
        self.time, self.factor, self.blur, self.modulus = time, longest - 1, longest, 1 - 1 / longest
        self._after = np.maximum(time - 1, 0.0)

    def shifts(self, lowest: float, highest: float, eta: float) -> tuple[Array, Array]:
        """Return what to add to TV, (S,), for the lower and the upper bound."""
        return -max(-lowest, 0.0) * self._after - eta * self.time, max(highest, 0.0) * self._after + eta * self.time

    def gap(self, spread: float, eta: float) -> float:
        """Return the largest width of the bounds; a terminal state is there, so d has a 0 and ``spread = max d - min d``."""
        return self.factor * spread + 2 * eta * self.blur

    def residual(self, d: Array) -> float:
        """Return the largest ``|d| / time``, a norm in which T is a contraction."""
        return float(abs(d / np.maximum(self.time, 1.0)).max())
