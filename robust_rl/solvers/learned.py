"""What a learner returns: Q and what follows from it. Unlike a Solution it proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import FileFormatError
from robust_rl.solvers.solution import pack_arguments, unpack_arguments
from robust_rl.uncertainty import Nominal, RectangularSet, from_description

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LearnedValues:
    """Learned robust Q, and the value and policy that are greedy in it.

    ==============  ======================================================================
    action_values   (S, A) estimates of the robust Q, -inf where unavailable
    terminal        (S,) states that end an episode; their value is 0
    uncertainty     the set, or None
    discount        gamma
    method          the algorithm
    updates, draws  how often an entry of Q was updated, and how many next states were drawn
    ==============  ======================================================================
    """

    action_values: Array
    terminal: NDArray[np.bool_]
    uncertainty: RectangularSet | None
    discount: float
    method: str
    updates: int
    draws: int
    horizon: ClassVar[None] = None

    @property
    def value(self) -> Array:
        """(S,) estimate of the optimal robust value."""
        return np.where(self.terminal, 0.0, self.action_values.max(axis=1))

    @property
    def policy(self) -> NDArray[np.intp]:
        """(S,) greedy actions, ties to the lowest index."""
        return np.asarray(self.action_values.argmax(axis=1))

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return named arrays and JSON metadata that hold everything."""
        arrays: dict[str, Any] = {"action_values": self.action_values, "terminal": self.terminal}
        uncertainty = Nominal() if self.uncertainty is None else self.uncertainty
        metadata = {"set": uncertainty.name, "set_arguments": pack_arguments(uncertainty.describe(), arrays)}
        return arrays, metadata | {name: getattr(self, name) for name in ("discount", "method", "updates", "draws")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], metadata: dict[str, Any]) -> LearnedValues:
        """Inverse of :meth:`to_arrays`. Raises FileFormatError where something is missing."""
        try:
            return cls(
                action_values=arrays["action_values"],
                terminal=arrays["terminal"],
                uncertainty=from_description(metadata["set"], unpack_arguments(metadata["set_arguments"], arrays)),
                **{name: metadata[name] for name in ("discount", "method", "updates", "draws")},
            )
        except KeyError as error:
            raise FileFormatError(f"the file holds no learned values: {error} is missing") from None
