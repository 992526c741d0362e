"""What a solver of Markov games returns: plain arrays, and the stage regrets that bound its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import FileFormatError
from robust_rl.solvers.solution import pack_arguments, unpack_arguments
from robust_rl.uncertainty import Nominal, RectangularSet, from_description

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GameSolution:
    """A robust equilibrium of a finite-horizon game.

    ===========  ===========================================================================================================
    policy       (H, S, A1..An) probabilities of joint actions; products of the agents' own for "ne"
    value        (n, H, S) robust value of the policy to each agent
    stage_gaps   (H, S) exact regret of the stage games' equilibria
    equilibrium  "ne", "ce" or "cce"
    selection    rule that chose among equilibria; None if any was taken
    uncertainty  each agent's set, by name; None for a nominal agent
    ===========  ===========================================================================================================
    """

    policy: Array
    value: Array
    stage_gaps: Array
    equilibrium: str
    selection: str | None
    uncertainty: dict[str, RectangularSet | None]

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents, in the order of the axes."""
        return tuple(self.uncertainty)

    @property
    def horizon(self) -> int:
        """Number of decisions."""
        return len(self.policy)

    @property
    def gap(self) -> float:
        """Certificate: on the game that was solved, no agent gains more than this by leaving the policy, from any state."""
        return float(self.stage_gaps.max(axis=1).sum())

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return named arrays and JSON metadata that hold everything."""
        arrays: dict[str, Any] = {"policy": self.policy, "value": self.value, "stage_gaps": self.stage_gaps}
        sets = []
        for i, (agent, chosen) in enumerate(self.uncertainty.items()):
            one: Any = Nominal() if chosen is None else chosen
            sets.append({"agent": agent, "set": one.name, "arguments": pack_arguments(one.describe(), arrays, f"set.{i}")})
        return arrays, {"equilibrium": self.equilibrium, "selection": self.selection, "sets": sets}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], metadata: dict[str, Any]) -> GameSolution:
        """Inverse of :meth:`to_arrays`. Raises FileFormatError where something is missing."""
        try:
            uncertainty = {
                one["agent"]: from_description(one["set"], unpack_arguments(one["arguments"], arrays, f"set.{i}"))
                for i, one in enumerate(metadata["sets"])
            }
            parts = {name: arrays[name] for name in ("policy", "value", "stage_gaps")}
            return cls(**parts, equilibrium=metadata["equilibrium"], selection=metadata["selection"], uncertainty=uncertainty)
        except KeyError as error:
            raise FileFormatError(f"the file holds no solution of a game: {error} is missing") from None
