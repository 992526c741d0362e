"""What accelerates value iteration: something that says, after each application of T, where to apply it next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.uncertainty.backup import Groups

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One application of T.

    ==============  =================================================================================================
    value, applied  V and TV, (S,)
    choice          (S,) row s*A + a that attains TV
    groups          rows that T took the maximum over
    middle          what to add to TV for the middle of the bounds, where a state isn't terminal; a number or (S,)
    spread          max d - min d of d = TV - V, to which the certificate's width is proportional
    enough          spread at which the certificate meets the tolerance
    residual        size of d in a norm in which T is a contraction, and
    modulus         what an application reduces it by, at least
    ==============  =================================================================================================
    """

    value: Array
    applied: Array
    choice: NDArray[np.int64]
    groups: Groups
    middle: Any
    spread: float
    enough: float
    residual: float
    modulus: float


class Acceleration(Protocol):
    """Proposes where to apply T next. An object belongs to one solver, whose checkpoints hold its memory."""

    @property
    def name(self) -> str:
        """Name of the algorithm, in words."""
        ...

    def check(self, backup: BellmanOperator) -> None:
        """Raise InvalidArgumentError if the acceleration isn't sound for the problem."""
        ...

    def next_value(self, backup: BellmanOperator, step: Step) -> Array:
        """Return V of the next step, (S,), 0 in terminal states; ``step`` is not to be written to."""
        ...

    def arrays(self) -> dict[str, Any]:
        """Return all that a later call reads and that isn't in its step."""
        ...

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over what ``arrays`` returned."""
        ...


class Memoryless:
    """Base of accelerations that need nothing but the last step."""

    def check(self, backup: BellmanOperator) -> None:
        """Accept every problem."""

    def arrays(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, arrays: dict[str, Any]) -> None:
        """Take over nothing."""


def refuse_randomised(backup: BellmanOperator, name: str) -> None:
    """Raise InvalidArgumentError for sets whose best policies draw their actions: they have no one row a state to evaluate."""
    if getattr(backup.uncertainty, "randomises", False):
        raise InvalidArgumentError(
            f"{name} evaluates policies without chance, and the best against {backup.uncertainty!r} may need it; "
            "use method='anderson' or 'value_iteration'"
        )


def spread_of(value: Array, new_value: Array) -> float:
    """Return max d - min d of ``d = new_value - value``."""
    d = new_value - value
    return float(d.max() - d.min())
