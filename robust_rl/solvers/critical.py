"""Critical radii: where the optimal policy changes as the set grows.

The optimal policies at a radius are all selections from the actions A(s) that are optimal in each state, so one policy is
optimal at several radii exactly if the intersection of these sets is nowhere empty. From the smallest radius on, each policy is
kept for as long as it stays optimal, and where it stops is bracketed by bisection:

    C <- A(start);   while C(s) & A(radius)(s) is nonempty for all s:  C <- C & A(radius), go on;   else halve the bracket

Actions count as optimal if the certificate can't tell them from the best (:attr:`Solution.optimal_actions`), so ties are no
changes, and a change is proved: at the upper end of its bracket every policy that was optimal at all radii tried since the last
change is worse than the optimum in some state, by more than the certificates leave open.

What is not proved is that nothing happens in between. A policy that is optimal at both ends of a stretch, but not inside, goes
unnoticed. ``grid`` radii are always tried, so that a stretch without a change is missed only if it lies between two neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.criterion import check_criterion
from robust_rl.solvers.planning import solve
from robust_rl.solvers.solution import Solution
from robust_rl.uncertainty import RadiusSet
from robust_rl.uncertainty.resize import one_radius, resized

Actions = NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """One change of the optimal policy.

    =========  ==========================================================================================================
    low, high  ``before`` is optimal at ``low``, and is not at ``high``
    before     (S,) or (H, S): a policy that was optimal at every radius tried since the last change, up to ``low``
    after      one that is optimal at ``high``, and differs only where it must
    =========  ==========================================================================================================
    """

    low: float
    high: float
    before: NDArray[np.intp]
    after: NDArray[np.intp]

    @property
    def states(self) -> NDArray[np.intp]:
        """(n,) states where the policy changes, at whatever stage."""
        return np.flatnonzero(np.atleast_2d(self.before != self.after).any(axis=0))

    @property
    def radius(self) -> float:
        """Middle of the bracket."""
        return (self.low + self.high) / 2


class CriticalRadii(NamedTuple):
    """Where the optimal policy changes.

    changes : tuple of Change
        In the order in which the set grows.
    complete : bool
        Whether all radii were looked at; false if the search ended at its ``most`` changes.
    radii : (n,)
        All radii that were solved, in the order in which the set grows.
    values : (n,)
        The optimal robust value from the start at each of them.
    """

    changes: tuple[Change, ...]
    complete: bool
    radii: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def first(self) -> Change | None:
        """The first change, or None if one policy is optimal at all radii tried."""
        return self.changes[0] if self.changes else None


def critical_radii(
    model: TabularMDP,
    uncertainty: RadiusSet,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    largest: float | None = None,
    resolution: float | None = None,
    grid: int = 8,
    most: int = 20,
    tol: float = 1e-6,
) -> CriticalRadii:
    """Find the radii at which the optimal policy changes, from the nominal problem up to ``largest``.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RadiusSet
        The set's norm and support; its radius is the default of ``largest``.
    discount, horizon
        Exactly one, as in :func:`robust_rl.solve`.
    largest : float, optional
        Where to stop. :class:`robust_rl.CVaR` starts at level 1 and goes down.
    resolution : float, optional
        Width of a bracket, default a thousandth of the range; changes closer than that are one.
    grid : int
        Into how many equal parts the range is cut at least.
    most : int
        End after so many changes. Each costs some log2(range / grid / resolution) solutions.
    tol : float
        Width of the certificates, as in :func:`robust_rl.solve`. Actions closer than that count as ties, so a change shows
        where the old policy's loss exceeds some multiple of ``tol``.

    Returns
    -------
    CriticalRadii

    Raises
    ------
    InvalidUncertaintyError
        If the set has no radius, or one a row, or ``largest`` is out of its range.
    InvalidArgumentError
        If another argument is out of range.

    Examples
    --------
    >>> from robust_rl import TotalVariation, envs
    >>> found = critical_radii(envs.tabular("CliffWalking-v1"), TotalVariation(0.1, support="reachable"), discount=0.99)
    >>> first = found.first
    >>> f"{first.low:.4f} to {first.high:.4f}", first.states
    ('0.0018 to 0.0019', array([24]))
    """
    discount, horizon = check_criterion(discount, horizon)
    own, nominal = one_radius(uncertainty), type(uncertainty).point
    end = own if largest is None else one_radius(resized(uncertainty, largest))
    width = abs(end - nominal)
    resolution = width / 1000 if resolution is None else resolution
    if not resolution > 0 and width > 0:
        raise InvalidArgumentError(f"resolution is {resolution!r}; it must be positive")
    if grid < 1 or most < 1:
        raise InvalidArgumentError(f"grid is {grid}, most is {most}; both must be at least 1")
    search = _Search(model, uncertainty, {"discount": discount, "horizon": horizon, "tol": tol})
    changes, complete = search.run(np.linspace(nominal, end, grid + 1 if width else 1).tolist(), resolution, most)
    radii = sorted(search.solved, reverse=end < nominal)
    return CriticalRadii(changes, complete, np.array(radii), np.array([search.solved[radius][1] for radius in radii]))


class _Search:
    """The loop of the module's docstring; every radius is solved once."""

    def __init__(self, model: TabularMDP, uncertainty: RadiusSet, criterion: dict[str, Any]) -> None:
        self.model, self.uncertainty, self.criterion = model, uncertainty, criterion
        self.solved: dict[float, tuple[Actions, float]] = {}

    def optimal(self, radius: float) -> Actions:
        """Return the optimal actions at a radius."""
        if radius not in self.solved:
            solution = solve(self.model, resized(self.uncertainty, radius), **self.criterion)
            self.solved[radius] = solution.optimal_actions, _from_start(self.model, solution)
        return self.solved[radius][0]

    def run(self, points: list[float], resolution: float, most: int) -> tuple[tuple[Change, ...], bool]:
        """Return the changes between ascending or descending points, and whether all were looked at."""
        changes: list[Change] = []
        low, kept = points[0], self.optimal(points[0])
        for point in points[1:]:
            while not _everywhere(kept & self.optimal(point)):
                if len(changes) == most:
                    for rest in points:  # the values are told up to the end all the same
                        self.optimal(rest)
                    return tuple(changes), False
                low, high, kept = self.bisect(low, point, kept, resolution)
                after = self.optimal(high)
                changes.append(_change(low, high, kept, after))
                low, kept = high, after
            low, kept = point, kept & self.optimal(point)
        return tuple(changes), True

    def bisect(self, low: float, high: float, kept: Actions, resolution: float) -> tuple[float, float, Actions]:
        """Return the ends of a bracket, and the actions that are optimal up to the first."""
        while abs(high - low) > resolution:
            middle = (low + high) / 2
            if middle in (low, high):
                break
            common = kept & self.optimal(middle)
            if _everywhere(common):
                low, kept = middle, common
            else:
                high = middle
        return low, high, kept


def _everywhere(actions: Actions) -> bool:
    return bool(actions.any(axis=-1).all())


def _change(low: float, high: float, kept: Actions, optimal: Actions) -> Change:
    common = kept & optimal
    stays = common.any(axis=-1, keepdims=True)
    before, after = np.where(stays, common, kept), np.where(stays, common, optimal)
    return Change(low, high, before.argmax(axis=-1), after.argmax(axis=-1))


def _from_start(model: TabularMDP, solution: Solution) -> float:
    return float(model.start @ solution.at_first_stage().value)
