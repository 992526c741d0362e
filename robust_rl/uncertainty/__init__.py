"""Uncertainty sets: where an adversary may move the transition probabilities, and what the worst move is."""

from __future__ import annotations

from typing import Any

import numpy as np

from robust_rl.errors import FileFormatError, UnknownNameError, nearest
from robust_rl.uncertainty.base import RadiusSet, RectangularSet, SupportedSet, WorstCase
from robust_rl.uncertainty.chi_square import ChiSquare
from robust_rl.uncertainty.contamination import Contamination
from robust_rl.uncertainty.custom import CustomSet
from robust_rl.uncertainty.cvar import CVaR
from robust_rl.uncertainty.interval import Interval, LInfinity
from robust_rl.uncertainty.kl import KL
from robust_rl.uncertainty.l1 import L1
from robust_rl.uncertainty.l2 import L2
from robust_rl.uncertainty.metrics import graph_metric
from robust_rl.uncertainty.nominal import Nominal
from robust_rl.uncertainty.reverse_kl import ReverseKL
from robust_rl.uncertainty.s_rectangular import SRectangular
from robust_rl.uncertainty.total_variation import TotalVariation
from robust_rl.uncertainty.uncertain_rewards import UncertainRewards
from robust_rl.uncertainty.wasserstein import Wasserstein
from robust_rl.uncertainty.weighted_l1 import WeightedL1

SETS: dict[str, type[RectangularSet]] = {
    s.name: s
    for s in (
        TotalVariation,
        L1,
        WeightedL1,
        L2,
        LInfinity,
        KL,
        ReverseKL,
        ChiSquare,
        CVaR,
        Contamination,
        Wasserstein,
        Interval,
    )
}
# sets that a name and a number don't make: around other sets, or of functions
COMPOSED: dict[str, type[RectangularSet]] = {s.name: s for s in (SRectangular, UncertainRewards, CustomSet)}

__all__ = [
    "COMPOSED",
    "KL",
    "L1",
    "L2",
    "SETS",
    "CVaR",
    "ChiSquare",
    "Contamination",
    "CustomSet",
    "Interval",
    "LInfinity",
    "Nominal",
    "RadiusSet",
    "RectangularSet",
    "ReverseKL",
    "SRectangular",
    "SupportedSet",
    "TotalVariation",
    "UncertainRewards",
    "Wasserstein",
    "WeightedL1",
    "WorstCase",
    "from_description",
    "graph_metric",
    "set_class",
]


def set_class(name: str) -> type[RectangularSet]:
    """Return the set of a command-line name, or raise UnknownNameError suggesting the nearest."""
    if name not in SETS:
        raise UnknownNameError(f"no uncertainty set named {name!r}; known: {', '.join(SETS)}{nearest(name, list(SETS))}")
    return SETS[name]


def from_description(name: str, arguments: dict[str, Any]) -> RectangularSet | None:
    """Rebuild a set from its name and ``describe()``; ``"none"`` gives None, the nominal problem."""
    if name == Nominal.name:
        return None
    known = SETS | COMPOSED
    if name not in known:
        raise FileFormatError(f"the file holds an uncertainty set {name!r} that this version doesn't know")
    restored = {
        key: value.astype(bool) if key == "support" and isinstance(value, np.ndarray) else value
        for key, value in arguments.items()
    }
    return known[name].restore(restored)
