"""What a calibration found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.calibration.log import pair_name
from robust_rl.models import TabularMDP
from robust_rl.solvers import Solution, radius_sensitivity
from robust_rl.table import Estimate, Table
from robust_rl.uncertainty import Interval, TotalVariation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A set that covers the real system, and what made it as large as it is.

    Attributes
    ----------
    uncertainty : TotalVariation or Interval
        For ``rr.solve(model.replace(transitions=found.kernel), found.uncertainty, ...)``.
    radius : float or (S, A) array
        In total variation, one number if pooled; for intervals the farthest that a bound is from the frequency.
    drivers : Table
        The pairs of largest radius, largest first, then by visits: visits, distance seen, and the bound on the distance.
    kernel : (S, A, S) array or CSR of shape (S*A, S)
        Centre of the set: the model's kernel, or the log's frequencies, where there are none the model's (or, without a model,
        the state that stays).
    visits : (S, A) array of integers
        n(s, a).
    distance : (S, A) array
        TV(phat, p_model) seen in the log; 0 where the set is around the log's own frequencies.
    guarantee : str
        What holds with which probability, by which bound.
    """

    uncertainty: TotalVariation | Interval
    radius: float | Array
    drivers: Table
    kernel: Any
    visits: NDArray[np.int64]
    distance: Array
    guarantee: str

    def drivers_of_value(self, model: TabularMDP, solution: Solution, count: int = 10) -> Table:
        """Return the pairs whose radii cost the most value from the start to first order (:func:`robust_rl.radius_sensitivity`).

        More visits to these pairs, not to those of ``drivers``, raise the guaranteed value: a pair that the policy never meets
        may have any radius.

        Parameters
        ----------
        model : TabularMDP
            What was solved.
        solution : Solution
            With this calibration's set.
        count : int
            At most so many rows.

        Raises
        ------
        InvalidUncertaintyError
            If the solution's set has no radius, as intervals have none.
        """
        slopes = radius_sensitivity(model, solution).rows
        slopes = slopes if slopes.ndim == 2 else slopes.sum(axis=0)
        radius = np.broadcast_to(self.radius, slopes.shape)
        order = np.argsort(slopes * radius, axis=None, kind="stable")[:count]
        pairs = order[(slopes * radius).flat[order] < 0]
        columns = {"visits": self.visits, "bound": radius, "slope of the value": slopes, "slope x bound": slopes * radius}
        return table("pairs whose radius costs the most value", pairs, columns)


def table(title: str, pairs: NDArray[np.int64], columns: dict[str, Array]) -> Table:
    """Return columns of (S, A) numbers at the given rows s*A + a."""
    actions = next(iter(columns.values())).shape[1]
    names = tuple(pair_name(int(pair), actions) for pair in pairs)
    cells = tuple(tuple(_estimate(column.flat[pair]) for column in columns.values()) for pair in pairs)
    return Table(title, names, tuple(columns), cells)


def _estimate(number: Any) -> Estimate:
    value = number.item()
    return Estimate(value, value, value, "count" if isinstance(value, int) else "exact")
