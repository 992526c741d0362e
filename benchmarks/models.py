"""Models that several benchmarks share."""

import numpy as np
from scipy import sparse

import robust_rl as rr


def dense(states: int, actions: int) -> rr.TabularMDP:
    """Full rows, uniform on the simplex, r(s,a)."""
    rng = np.random.default_rng(0)
    return rr.TabularMDP(rng.dirichlet(np.ones(states), size=(states, actions)), rng.random((states, actions)))


def banded(states: int, actions: int, successors: int, reach: int = 50) -> rr.TabularMDP:
    """Successors within ``reach`` states of where one is: slow to mix, and kind to caches."""
    rng, rows = np.random.default_rng(0), states * actions
    offsets = np.argpartition(rng.random((rows, 2 * reach)), successors, axis=1)[:, :successors] - reach
    to = np.sort((np.repeat(np.arange(states), actions)[:, None] + offsets) % states, axis=1).astype(np.int32)
    p = rng.random((rows, successors))
    data, ends = (p / p.sum(axis=1, keepdims=True)).ravel(), np.arange(rows + 1, dtype=np.int32) * successors
    return rr.TabularMDP(sparse.csr_array((data, to.ravel(), ends), shape=(rows, states)), rng.random((states, actions)))
