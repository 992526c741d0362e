"""Wasserstein-1 ball:  U = { q : W1(q, p) <= eps },  where W1 is the least cost of moving the mass of p to q.

Moving mass m from state s to t costs m d(s, t), with a metric d between states. The worst case is greedy: from each state s that
p reaches, mass moves along the lower convex envelope of the points (d(s, t), z_t) from (0, z_s), and eps is spent on the
steepest segments of all first, each of length p_s times its own. This is the solution of the transport problem, since its
dual  max_lambda  -lambda eps + sum_s p_s min_t [z_t + lambda d(s, t)]  takes one vertex of every envelope at each lambda. The
multiplier is the slope of the last segment used: minus the right derivative of the value in eps. At most one state's mass is
split in two.

Mass may move to any state within a finite distance, reached by the nominal row or not. See
:mod:`robust_rl.uncertainty.transport` for the sweeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import RadiusSet
from robust_rl.uncertainty.layout import Layout, Model, lay_out
from robust_rl.uncertainty.metrics import Metric, checked_metric, neighbours
from robust_rl.uncertainty.transport import TransportBackup


class Wasserstein(RadiusSet):
    """Ball of Wasserstein-1 (earth mover's) distance around each nominal row, for a metric between states.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Transport cost, in units of the metric: mass times distance.
    metric : (S, S) array or sparse matrix
        Distances between states. Infinite ones, and those that a sparse matrix leaves out, are out of reach, so that a metric
        may be cut off: see :func:`robust_rl.graph_metric`. With a sparse metric and a sparse model, time and memory grow with
        the neighbours of the nominal successors; otherwise rows are written out in full.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative, the metric isn't one, or it isn't on the model's states.

    Examples
    --------
    >>> metric = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    >>> worst = Wasserstein(0.5, metric=metric).worst_case([0.0, 0.5, 0.5], [0.0, 1.0, 4.0])
    >>> float(worst.value), worst.q
    (1.0, array([0., 1., 0.]))
    """

    name = "wasserstein"
    norm = "transport cost, in units of the metric"
    support = "free"

    def __init__(self, radius: ArrayLike, *, metric: Any) -> None:
        super().__init__(radius)
        self.metric: Metric = checked_metric(metric)
        self.neighbours = neighbours(self.metric)

    def describe(self) -> dict[str, Any]:
        """Return radius and metric."""
        return {"radius": self.radius, "metric": self.metric}

    def backup(self, layout: Layout, shape: tuple[int, ...], discount: float) -> TransportBackup:
        """Return the set on a layout whose rows have the given shape."""
        self._check_states(layout.num_states)
        return TransportBackup(self, layout, self.radii(shape), discount, self.neighbours)

    def lay_out(self, model: Model) -> Layout:
        """Lay a model out over the neighbours of each row's successors; over all states if model or metric are dense."""
        self._check_states(model.num_states)
        if not model.is_sparse or not sparse.issparse(self.metric):
            return lay_out(model, "free", every_state=True)
        near = sparse.csr_array((np.ones(len(self.neighbours.state)), self.neighbours.state, self.neighbours.ptr))
        return lay_out(model, sparse.csr_array(model.csr() @ near))  # type: ignore[arg-type]

    def _check_states(self, count: int) -> None:
        if count != self.metric.shape[0]:
            raise InvalidUncertaintyError(f"Wasserstein: the metric is on {self.metric.shape[0]} states, but there are {count}")
