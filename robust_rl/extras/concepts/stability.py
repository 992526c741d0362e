"""How often an edge is found again when rows are drawn anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import resample

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.estimator import HierarchicalConceptDiscovery
from robust_rl.extras.concepts.metrics import match_latents
from robust_rl.extras.concepts.stages import Stages
from robust_rl.training import check_same_problem, read_json, write_json

FILE = "resamples.json"
Edges = list[tuple[str, str]]


class Resamples:
    """Fits to rows drawn with replacement, as a :class:`~robust_rl.training.Trainable`: a step is one of them.

    Parameters
    ----------
    est
        A fitted estimator; it is not changed.
    X
        The sample.
    count
        Number of draws, >= 1.
    seed
        Of the draws.

    Attributes
    ----------
    found
        The edges of each, with latents named after those of the fitted graph such that as many as can be agree. A resample in
        which a column is constant finds nothing.

    Raises
    ------
    InvalidArgumentError
        ``count`` is out of range.
    """

    def __init__(self, est: Any, X: Any, count: int, *, seed: int = 0) -> None:
        if count < 1:
            raise InvalidArgumentError(f"n_resamples is {count}; it must be at least 1")
        self.est, self.X, self.count, self.seed = est, X, count, seed
        self.found: list[Edges] = []
        self.seeds = np.random.default_rng(seed).integers(2**31 - 1, size=count).tolist()

    @property
    def done(self) -> bool:
        """Whether all are drawn."""
        return len(self.found) >= self.count

    def step(self) -> Mapping[str, float]:
        """Draw rows and fit them."""
        self.found.append(self._edges(self.seeds[len(self.found)]))
        return {"stability/resamples": float(len(self.found))}

    def frequencies(self) -> dict[tuple[str, str], float]:
        """Return (parent, child) -> share of the resamples that have the edge in either direction."""
        counts = Counter(frozenset(edge) for edges in self.found for edge in edges)
        return {edge: counts[frozenset(edge)] / max(1, len(self.found)) for edge in self.est.graph_.edges}

    def save_checkpoint(self, directory: Path) -> None:
        """Write what was found."""
        write_json(directory / FILE, self._problem() | {"found": [[list(edge) for edge in edges] for edges in self.found]})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        state = read_json(directory / FILE)
        check_same_problem(state, self._problem())
        self.found = [[(one, other) for one, other in edges] for edges in state["found"][: self.count]]

    def _edges(self, seed: int) -> Edges:
        try:
            again = clone(self.est).fit(resample(self.X, random_state=seed))
        except InvalidArgumentError:
            return []
        names = {theirs: ours for ours, theirs in match_latents(again, self.est.graph_).items()}
        return sorted({(names.get(one, one), names.get(other, other)) for one, other in again.graph_.edges})

    def _problem(self) -> dict[str, Any]:
        return {"seed of the resamples": self.seed, "rows": len(self.X)}


def edge_frequencies(est: Any, X: Any, n_resamples: int = 20, *, seed: int = 0) -> dict[tuple[str, str], float]:
    """Return for each edge of a fitted graph how often it is found in resamples of the rows, whatever its direction.

    Parameters
    ----------
    est
        A fitted estimator; it is not changed.
    X
        The sample.
    n_resamples
        Number of draws with replacement, >= 1.
    seed
        Of the draws.

    Returns
    -------
    dict
        (parent, child) -> share in [0, 1].
    """
    draws = Resamples(est, X, n_resamples, seed=seed)
    while not draws.done:
        draws.step()
    return draws.frequencies()


def with_resamples(
    est: HierarchicalConceptDiscovery, X: Any, count: int, seed: int = 0
) -> Stages[dict[tuple[str, str], float] | None]:
    """Fit an estimator, then as many resamples; stages that end with the frequencies, or None without resamples."""
    yield from est.stages(X)
    if not count:
        return None
    draws = Resamples(est, X, count, seed=seed)
    yield draws
    return draws.frequencies()
