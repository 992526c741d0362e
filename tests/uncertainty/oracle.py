"""min q.z over a set, by HiGHS, many instances as one block-diagonal program. Shares no code with the library."""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from .cases import Constraints


def minimise(instances: list[tuple[np.ndarray, np.ndarray, Constraints]]) -> np.ndarray:
    """Return the optimal value of each (z, allowed, constraints)."""
    chunks = range(0, len(instances), 100)  # larger programs take more than their share of time
    return np.concatenate([_minimise(instances[first : first + 100]) for first in chunks])


def _minimise(instances):
    cost, blocks, limits, sums, bounds, splits = [], [], [], [], [], []
    for z, allowed, constraints in instances:
        n, width = len(z), constraints.a.shape[1]
        cost.append(np.concatenate([z, np.zeros(width - n)]))
        blocks.append(sparse.csr_array(constraints.a) if len(constraints.b) else sparse.csr_array((0, width)))
        limits.append(constraints.b)
        sums.append(sparse.csr_array(np.concatenate([np.ones(n), np.zeros(width - n)])[None]))
        upper = np.where(allowed, constraints.upper, 0.0)
        bounds += [*zip(constraints.lower, upper, strict=True), *[(0, None)] * (width - n)]
        splits.append(width)
    result = linprog(
        np.concatenate(cost),
        A_ub=sparse.block_diag(blocks, format="csr"),
        b_ub=np.concatenate(limits),
        A_eq=sparse.block_diag(sums, format="csr"),
        b_eq=np.ones(len(instances)),
        bounds=bounds,
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    assert result.status == 0, result.message
    parts = np.split(result.x * np.concatenate(cost), np.cumsum(splits)[:-1])
    return np.array([part.sum() for part in parts])
