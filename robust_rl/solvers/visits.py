"""How often a Markov chain visits each state: discounted over an endless run, or stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.solvers.linear import solve_chain

Array = NDArray[np.float64]


def discounted_visits(transitions: sparse.csr_array, start: Array, discount: float) -> Array:
    """Solve ``d = start + discount * transitions.T @ d``: expected visits (S,), each weighted by gamma to its time."""
    return solve_chain(sparse.csr_array(transitions.T), start, discount)


def staged_visits(transitions: Sequence[sparse.csr_array], start: Array) -> list[Array]:
    """Return the distribution over states (S,) at every stage; stage h moves by ``transitions[h]``."""
    visits = [start]
    for kernel in transitions[:-1]:
        visits.append(visits[-1] @ kernel)
    return visits
