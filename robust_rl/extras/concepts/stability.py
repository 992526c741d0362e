"""How often an edge is found again when rows are drawn anew."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import resample

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.metrics import match_latents


def edge_frequencies(est: Any, X: Any, n_resamples: int = 20, *, seed: int = 0) -> dict[tuple[str, str], float]:
    """Return for each edge of a fitted graph how often it is found in resamples of the rows, whatever its direction.

    Latents of a resample are named after those of the graph such that as many edges as can be agree. A resample in which a
    column is constant counts as one that finds nothing.

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
    if n_resamples < 1:
        raise InvalidArgumentError(f"n_resamples is {n_resamples}; it must be at least 1")
    rng, counts = np.random.default_rng(seed), Counter[frozenset[str]]()
    for _ in range(n_resamples):
        try:
            again = clone(est).fit(resample(X, random_state=int(rng.integers(2**31 - 1))))
        except InvalidArgumentError:
            continue
        names = {theirs: ours for ours, theirs in match_latents(again, est.graph_).items()}
        counts.update({frozenset(names.get(node, node) for node in edge) for edge in again.graph_.edges})
    return {edge: counts[frozenset(edge)] / n_resamples for edge in est.graph_.edges}
