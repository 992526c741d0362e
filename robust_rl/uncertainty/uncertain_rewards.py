"""Rewards known up to a radius:  r(s,a,.) in [r - rho(s,a), r + rho(s,a)], chosen with the kernel, for each row on its own.

The adversary takes the lowest rewards whatever else it does, so r - rho takes the place of r in every formula of the set that
holds the kernel. Minus the derivative of a row's value in rho is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty.base import Array, RectangularSet, checked_radius
from robust_rl.uncertainty.layout import Layout, Model
from robust_rl.uncertainty.nominal import Nominal


class UncertainRewards(RectangularSet):
    """Rewards that may be up to ``radius`` lower or higher than the model's, around any set of kernels.

    Parameters
    ----------
    radius : float >= 0, or (S, A) array
        Largest error of a reward, in the unit of the rewards. Terminal states pay nothing, for certain.
    uncertainty : RectangularSet, optional
        Where the adversary may move the transition probabilities as well; by default they are known.

    Raises
    ------
    InvalidUncertaintyError
        If the radius is negative or not finite, or the set isn't one.

    Examples
    --------
    >>> import numpy as np
    >>> from robust_rl import TabularMDP, solve
    >>> model = TabularMDP(np.ones((1, 2, 1)), np.array([[1.0, 2.0]]))
    >>> solution = solve(model, UncertainRewards([[0.1, 1.5]]), discount=0.5)
    >>> solution.value.round(6), solution.policy
    (array([1.8]), array([0]))
    """

    name = "uncertain-rewards"

    def __init__(self, radius: ArrayLike, uncertainty: RectangularSet | None = None) -> None:
        self.radius = checked_radius(radius, "UncertainRewards: radius", "error of a reward", np.inf)
        if uncertainty is not None and not isinstance(uncertainty, RectangularSet):
            raise InvalidUncertaintyError(f"UncertainRewards goes around an uncertainty set, or None; got {uncertainty!r}")
        self.uncertainty = uncertainty
        self.kernels: RectangularSet = Nominal() if uncertainty is None else uncertainty
        self.randomises = self.kernels.randomises
        self.support, self.error = self.kernels.support, self.kernels.error

    def describe(self) -> dict[str, Any]:
        """Return the radius and the set of kernels."""
        return {"radius": self.radius, "uncertainty": self.uncertainty}

    def of_kernels(self) -> RectangularSet:
        """Return what the inner set returns."""
        return self.kernels.of_kernels()

    def lay_out(self, model: Model) -> Layout:
        """Lay a model out as the inner set does, with the lowest rewards."""
        layout = self.kernels.lay_out(model)
        lower = self._lower(model.action_mask.shape).reshape(-1)
        changes: dict[str, Any] = {"outside": layout.outside - lower} if layout.outside.size else {}
        if layout.reward.size:
            return replace(layout, reward=layout.reward - layout.spread(lower), **changes)
        return replace(layout, row_reward=layout.row_reward - lower, **changes)

    def backup(self, layout: Layout, shape: tuple[int, ...], discount: float) -> Any:
        """Return the inner set's backup; the layout has the lowest rewards already."""
        return self.kernels.backup(layout, shape, discount)

    def check(self, layout: Layout, where: Callable[[int], str]) -> None:
        """Check the inner set."""
        self.kernels.check(layout, where)

    def worst_case(self, p: ArrayLike, z: ArrayLike, *, allowed: ArrayLike | None = None) -> Any:
        """Return the inner set's worst case at ``z - radius``; multipliers are those of the inner set.

        Arguments and errors as of :meth:`RectangularSet.worst_case`; the radius must fit the rows.
        """
        p, z = np.asarray(p), np.asarray(z)
        lowered = z - self._lower(p.shape[:-1])[..., None]
        return self.kernels.worst_case(p, lowered.astype(np.result_type(z.dtype, np.float32)), allowed=allowed)

    def _lower(self, shape: tuple[int, ...]) -> Array:
        try:
            return np.asarray(np.broadcast_to(self.radius, shape), dtype=np.float64)
        except ValueError:
            raise InvalidUncertaintyError(
                f"UncertainRewards has radii of shape {np.shape(self.radius)}, which don't fit rows of shape {shape}"
            ) from None
