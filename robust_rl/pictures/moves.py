"""Where the adversary puts the mass that it takes away, weighted by how often the policy gets there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.models import TabularMDP
from robust_rl.solvers import Solution
from robust_rl.solvers.policy_evaluation import policy_weights
from robust_rl.solvers.visits import discounted_visits, staged_visits


@dataclass(frozen=True)
class Moves:
    """What the worst case does along a policy.

    occupancy : (S,) visits, discounted or summed over the horizon
    flows : (source, receiving state, visits times mass received), heaviest first
    """

    occupancy: NDArray[np.float64]
    flows: list[tuple[int, int, float]]


def mass_moved(solution: Solution, model: TabularMDP) -> Moves:
    """Compare the worst case with the nominal kernel along the policy, weighted by (discounted) visits in the worst case."""
    discounted = solution.horizon is None
    policies = [solution.policy] if discounted else list(solution.policy)
    kernels = [solution.kernel] if discounted else solution.kernel
    weights = [policy_weights(model, policy) for policy in policies]
    worst = [sparse.csr_array(w @ kernel) for w, kernel in zip(weights, kernels, strict=True)]
    visits = (
        [discounted_visits(worst[0], model.start, solution.discount or 0.0)] if discounted else staged_visits(worst, model.start)
    )
    flow = sparse.csr_array((model.num_states, model.num_states))
    for w, q, d in zip(weights, worst, visits, strict=True):
        flow = flow + sparse.diags_array(d) @ (q - w @ model.csr()).maximum(0)
    flow = sparse.coo_array(flow)
    order = np.argsort(-flow.data, kind="stable")
    flows = [(int(flow.row[i]), int(flow.col[i]), float(flow.data[i])) for i in order if flow.data[i] > 1e-12]
    return Moves(np.sum(visits, axis=0), flows)
