"""From several graphs to the one that explains the sample best for its size, and on from there step by step.

A rank test looks at a few variables; the likelihood of a whole graph uses all of them at once. So graphs from searches at several
levels are compared by the Bayesian information criterion of their fitted tables, and the best is improved by the steps of
shapes.py as long as one of them lowers the criterion:

    BIC = -2 log-likelihood + (free entries of the tables) log n                                              (1)

This stands where the linear search deletes a cover and its neighbours and looks again (phase 3).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robust_rl.extras.concepts.discovery import searched
from robust_rl.extras.concepts.em import TRIAL_ITERATIONS, Fit, Floats, Posterior, Rows, Tables, climb, go_on, random_tables
from robust_rl.extras.concepts.graphs import latents, observed
from robust_rl.extras.concepts.sample_ranks import SampleRanks
from robust_rl.extras.concepts.shapes import Shape, covers, graph_of_shape, leaves, neighbours, shape_of

LOOKAHEAD = 3
FACTORS = (1e-2, 10, 100)
"""Of the level of the tests, for further starts."""
ITERATIONS = 300
NEAR = 60.0
"""A start whose criterion is further than this from the best after a few iterations is given up."""


class ShapeScore:
    """The criterion of a tree of covers (eq. 1), kept once computed.

    Parameters
    ----------
    codes
        States from 0, shape (n, number of variables).
    names
        Of the columns.
    k
        Number of states of the latents.
    seed
        Of the random starts.
    max_fits
        Number of graphs to fit, about: no step begins after so many.
    """

    def __init__(self, codes: NDArray[np.int64], names: Sequence[str], k: int, seed: int = 0, max_fits: float = math.inf) -> None:
        order = np.argsort(names)
        self.rows, self.k, self.n = Rows.of(codes[:, order]), k, len(codes)
        self.n_states = {names[i]: int(codes[:, i].max()) + 1 for i in order}
        self.rng, self.max_fits = np.random.default_rng(seed), max_fits
        self.scores: dict[Shape, float] = {}
        self.fits: dict[Shape, Fit] = {}
        self._told: tuple[Shape, Posterior, Floats] | None = None  # what the last neighbour said of the latents

    def __call__(self, shape: Shape, near: Shape | None = None) -> float:
        """Return the criterion; a neighbour of ``near`` starts from that one's latents, and may be given up early."""
        if shape not in self.scores:
            posterior = self._posterior(shape)
            starts = self._fresh(posterior, shape) if near is None else self._from(posterior, shape, near)
            fit = climb(posterior, starts, TRIAL_ITERATIONS, 0.1)
            if near is None or fit.bic(self.n) < self.scores[near] + NEAR:
                fit = go_on(posterior, fit, ITERATIONS, 0.05)
            self.scores[shape], self.fits[shape] = fit.bic(self.n), fit
        return self.scores[shape]

    @property
    def spent(self) -> bool:
        """Whether as many graphs have been fitted as may be."""
        return len(self.scores) >= self.max_fits

    def _posterior(self, shape: Shape) -> Posterior:
        graph = graph_of_shape(shape)
        return Posterior(graph, {name: self.n_states.get(name, self.k) for name in graph}, self.rows)

    def _fresh(self, posterior: Posterior, shape: Shape) -> list[Tables]:
        """Return random starts, more of them where covers of several latents make more optima."""
        count = 4 + 12 * max(cover[0] - 1 for cover in covers(shape))
        return [random_tables(posterior.graph, posterior.n_states, self.rng) for _ in range(count)]

    def _from(self, posterior: Posterior, shape: Shape, near: Shape) -> list[Tables]:
        """Return starts in which latents with the children of known ones mean the same, and new ones something random."""
        if self._told is None or self._told[0] != near:
            teller = self._posterior(near)
            self._told = near, teller, teller(self.fits[near].tables)[0]
        known, q = self._told[1], self._told[2].reshape(-1, *[self.k] * len(self._told[1].latents))
        partner = _partners(posterior.graph, known.graph)
        kept = [known.latents.index(partner[name]) + 1 for name in posterior.latents if name in partner]
        q = q.sum(axis=tuple(i for i in range(1, q.ndim) if i not in kept))
        q = q.transpose([0, *(np.argsort(np.argsort(kept)) + 1)])
        new = len(posterior.latents) - len(kept)
        warm = [posterior.maximise(self._filled(q, posterior, partner)) for _ in range(1 if new == 0 else 6)]
        return warm + (self._fresh(posterior, shape)[:5] if any(cover[0] > 1 for cover in covers(shape)) else [])

    def _filled(self, q: Floats, posterior: Posterior, partner: Mapping[str, str]) -> Floats:
        """Return q with an axis more for each latent without partner, whose states are random functions of the row."""
        for i, name in enumerate(posterior.latents):
            if name not in partner:
                leaning = np.exp(posterior.indicators @ self.rng.normal(size=(posterior.indicators.shape[1], self.k)))
                leaning /= leaning.sum(axis=1, keepdims=True)
                q = np.expand_dims(q, i + 1) * leaning.reshape(-1, *[1] * i, self.k, *[1] * (q.ndim - i - 1))
        return q.reshape(len(q), -1)


def _partners(new: nx.DiGraph, old: nx.DiGraph) -> dict[str, str]:
    """Return new latent -> the old one with the most leaves in common, each old one at most once."""
    ours, theirs = _leaves_below(new), _leaves_below(old)
    gain = np.array([[len(a & b) / len(a | b) for b in theirs.values()] for a in ours.values()])
    rows, columns = linear_sum_assignment(-gain)
    return {list(ours)[i]: list(theirs)[j] for i, j in zip(rows, columns, strict=True)}


def _leaves_below(graph: nx.DiGraph) -> dict[str, set[str]]:
    return {name: nx.descendants(graph, name) & set(observed(graph)) for name in latents(graph)}


def refine(starts: Iterable[Shape], score: ShapeScore, max_cover: int) -> Shape:
    """Return the best tree of covers that steps downhill lead to, from the best start and from the least bad steps off it."""
    best = _downhill(min(starts, key=score), score, max_cover)
    while not score.spent:
        near = sorted(neighbours(best, max_cover), key=lambda shape: score(shape, best))[:LOOKAHEAD]
        found = min((_downhill(shape, score, max_cover) for shape in near), key=score, default=best)
        if score(found) >= score(best) - 1e-6:
            break
        best = found
    return best


def _downhill(shape: Shape, score: ShapeScore, max_cover: int) -> Shape:
    """Return the tree of covers at which no step lowers the criterion any more."""
    while True:
        below = score(shape) - 1e-6
        ahead = itertools.takewhile(lambda _: not score.spent, neighbours(shape, max_cover))
        better = next((found for found in ahead if score(found, shape) < below), None)
        if better is None:
            return shape
        shape = better


class SampleRefiner:
    """Searches a component at several levels of the tests, and refines what they find.

    Parameters
    ----------
    ranks
        The sample's.
    codes
        States from 0, shape (n, number of variables).
    names
        Of the columns.
    k, max_cover
        As the search takes them.
    seed, max_fits
        As :class:`ShapeScore` takes them, for each component.
    """

    def __init__(
        self,
        ranks: SampleRanks,
        codes: NDArray[np.int64],
        names: Sequence[str],
        k: int,
        max_cover: int,
        *,
        seed: int = 0,
        max_fits: float = math.inf,
    ) -> None:
        self.ranks, self.codes, self.names = ranks, codes, list(names)
        self.k, self.max_cover, self.seed, self.max_fits = k, max_cover, seed, max_fits

    def __call__(self, graph: nx.DiGraph, names: Sequence[str]) -> nx.DiGraph:
        """Return the refined graph of a component."""
        levels = [self.ranks.at_level(min(0.5, self.ranks.alpha * factor)) for factor in FACTORS]
        graphs = [graph, *(searched(ranks, names, self.k, self.max_cover)[0] for ranks in levels)]
        starts = dict.fromkeys(shape for found in graphs if (shape := _whole(found, names)) is not None)
        columns = [self.names.index(name) for name in names]
        score = ShapeScore(self.codes[:, columns], names, self.k, self.seed, self.max_fits)
        refined = graph_of_shape(refine(starts or [(1, frozenset(names))], score, self.max_cover))
        refined.graph["absorbed"] = graph.graph.get("absorbed", 0)
        return refined


def _whole(graph: nx.DiGraph, names: Sequence[str]) -> Shape | None:
    """Return a graph as a tree of covers, if it is one with all the names."""
    roots = [node for node in latents(graph) if not graph.in_degree(node)]
    shape = shape_of(graph, roots[0]) if roots else None
    return shape if shape is not None and leaves(shape) == set(names) else None
