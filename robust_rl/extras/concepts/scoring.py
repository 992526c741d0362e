"""How well a tree of covers explains a sample for its size, and from where its tables are fitted.

    criterion = -2 log-likelihood + (free entries of the tables) log(n / 2 pi)                               (1)

is the Bayesian information criterion with the constant that Laplace's approximation has beside log n (Haughton 1988); lower is
better. Without that constant a latent that nearly copies its parent is given up too soon.

A graph one step away from a fitted one shares most latents with it. These start with the posterior that they have there. A new
latent starts as a noisy copy of one of its neighbours, of each in turn, or as something random.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robust_rl.extras.concepts.em import TRIAL_ITERATIONS, Fit, climb, go_on, random_start
from robust_rl.extras.concepts.graphs import latents, observed
from robust_rl.extras.concepts.posterior import Floats, Integers, Posterior, Rows
from robust_rl.extras.concepts.shapes import Shape, covers, graph_of_shape, repr_of

ITERATIONS = 400
TOLERANCE = 0.01
NEAR = 60.0
"""A start whose criterion is further than this from the neighbour's after a few iterations is given up."""
FAITHFUL = 0.8
"""Share of a noisy copy that agrees, beside chance."""
LEANINGS = 3

Request = tuple[Shape, Shape | None, bool]
"""A tree, the neighbour it starts from if any, and whether with many starts."""


class ShapeScore:
    """The criterion of trees of covers (eq. 1), by fits that are kept.

    Parameters
    ----------
    codes
        States from 0, shape (n, number of variables).
    names
        Of the columns.
    k
        Number of states of the latents.
    seed
        Of the random starts. Each request has its own stream, whatever was fitted before it.
    max_fits
        Number of graphs to fit, about: no step begins after so many.

    Attributes
    ----------
    done
        Request -> its fit: all that is worth keeping.
    scores, fits
        Of each tree, the best among the requests that a search has come by.
    """

    def __init__(self, codes: NDArray[np.int64], names: Sequence[str], k: int, seed: int = 0, max_fits: float = math.inf) -> None:
        order = np.argsort(names)
        self.rows, self.k, self.n = Rows.of(codes[:, order]), k, len(codes)
        self.n_states = {names[i]: int(codes[:, i].max()) + 1 for i in order}
        self.seed, self.max_fits = seed, max_fits
        self.done: dict[Request, Fit] = {}
        self.forget()
        self._told: tuple[Fit, Posterior, Floats] | None = None  # what the last neighbour said of the latents

    def forget(self) -> None:
        """Begin a search anew; fits that were made are found again at no cost."""
        self.scores: dict[Shape, float] = {}
        self.fits: dict[Shape, Fit] = {}
        self.asked: set[Request] = set()

    @property
    def spent(self) -> bool:
        """Whether as many graphs have been fitted as may be."""
        return len(self.asked) >= self.max_fits

    def asking(self, shape: Shape, near: Shape | None = None, *, again: bool = False) -> Iterator[Request]:
        """Yield what must be fitted before ``scores`` has the tree, if anything; ``again`` has a known tree fitted once more."""
        request = (shape, near, again)
        if (shape in self.scores and not again) or request in self.asked:
            return
        if request not in self.done:
            yield request
        fit = self.done[request]
        self.asked.add(request)
        if shape not in self.fits or fit.log_likelihood > self.fits[shape].log_likelihood:
            self.scores[shape], self.fits[shape] = self.criterion(fit), fit

    def criterion(self, fit: Fit) -> float:
        """Return eq. 1."""
        return fit.n_parameters * math.log(self.n / (2 * math.pi)) - 2 * fit.log_likelihood

    def fit(self, request: Request) -> None:
        """Do what was asked for; hopeless neighbours are given up early."""
        shape, near, again = request
        rng = np.random.default_rng([self.seed, zlib.crc32(repr([near and repr_of(near), repr_of(shape), again]).encode())])
        posterior = self._posterior(shape)
        starts = [] if near is None else self._from(posterior, near, rng)
        if near is None or again or any(cover[0] > 1 for cover in covers(shape)):
            starts += self._fresh(posterior, shape, rng)
        fit = climb(posterior, starts, TRIAL_ITERATIONS, TOLERANCE)
        if near is None or self.criterion(fit) < self.scores[near] + NEAR:
            fit = go_on(posterior, fit, ITERATIONS, TOLERANCE)
        self.done[request] = fit

    def sizes(self, shape: Shape) -> Iterator[tuple[str, list[int]]]:
        """Yield the variables of a tree in the order of its fits' tables, and the shapes of these."""
        graph = graph_of_shape(shape)
        for name in graph:
            yield name, [self.n_states.get(other, self.k) for other in (*graph.predecessors(name), name)]

    def problem(self) -> dict[str, Any]:
        """Return what fits of another sample would differ in, for checkpoints."""
        digest = zlib.crc32(np.hstack([self.rows.states, self.rows.weights[:, None]]).tobytes())
        return {"rows": self.n, "columns": self.n_states, "checksum": digest, "k": self.k, "seed": self.seed}

    def _posterior(self, shape: Shape) -> Posterior:
        graph = graph_of_shape(shape)
        return Posterior(graph, {name: self.n_states.get(name, self.k) for name in graph}, self.rows)

    def _fresh(self, posterior: Posterior, shape: Shape, rng: np.random.Generator) -> list[Floats]:
        """Return random starts, more of them where covers of several latents make more optima."""
        count = 4 + 4 * max(cover[0] - 1 for cover in covers(shape))
        return [random_start(posterior, rng) for _ in range(count)]

    def _from(self, posterior: Posterior, near: Shape, rng: np.random.Generator) -> list[Floats]:
        """Return starts in which latents that the neighbour has mean what they mean there."""
        fit = self.fits[near]
        if self._told is None or self._told[0] is not fit:
            teller = self._posterior(near)
            self._told = fit, teller, teller(fit.tables)[0]
        known, q = self._told[1:]
        partner = _partners(posterior.graph, known.graph)
        kept = [name for name in posterior.latents if name in partner]
        told = _marginal(q, self.k, [known.latents.index(partner[name]) for name in kept])[:, _place(posterior, kept, self.k)]
        fresh = [name for name in posterior.latents if name not in partner]
        copies = {name: _models(posterior.graph, name, fresh) for name in fresh}
        starts = []
        for i in range(max([1, *(len(models) + LEANINGS for models in copies.values())])):
            guess = told
            for name, models in copies.items():
                guess = guess * self._guessed(posterior, name, models[i] if i < len(models) else None, rng)
            starts.append(posterior.maximise(guess))
        return starts

    def _guessed(self, posterior: Posterior, name: str, model: str | None, rng: np.random.Generator) -> Floats:
        """Return p(state of a new latent), (U or 1, H): a noisy copy of a neighbour, or a random function of the row."""
        own = posterior.states[name]
        copy = FAITHFUL * np.eye(self.k) + (1 - FAITHFUL) / self.k
        if model in posterior.states:
            return np.asarray(copy[posterior.states[model], own][None])
        if model is not None:
            column = posterior.rows.states[:, posterior.observed.index(model)]
            return np.asarray(copy[column % self.k][:, own])
        leaning = np.exp(posterior.indicators @ rng.normal(size=(posterior.indicators.shape[1], self.k)))
        return np.asarray((leaning / leaning.sum(axis=1, keepdims=True))[:, own])


def _marginal(q: Floats, k: int, axes: Sequence[int]) -> Floats:
    """Return the posterior of some latents, (U, their configurations), in the order asked for."""
    count = round(math.log(q.shape[1], k))
    q = q.reshape(-1, *[k] * count)
    q = q.sum(axis=tuple(i + 1 for i in range(count) if i not in axes))
    return q.transpose([0, *(np.argsort(np.argsort(axes)) + 1)]).reshape(len(q), -1)


def _place(posterior: Posterior, names: Sequence[str], k: int) -> Integers:
    """Return the joint state of some latents in each configuration, (H,)."""
    place = np.zeros(1, np.int64)
    for name in names:
        place = place * k + posterior.states[name]
    return place


def _models(graph: nx.DiGraph, name: str, fresh: Sequence[str]) -> list[str]:
    """Return the neighbours that a new latent may start as a copy of, latents first."""
    around = [other for other in nx.all_neighbors(graph, name) if other not in fresh]
    hidden = [other for other in around if graph.nodes[other]["latent"]]
    return hidden or around[:2]


def _partners(new: nx.DiGraph, old: nx.DiGraph) -> dict[str, str]:
    """Return new latent -> the old one with the most leaves in common, its own counting most; each old one at most once."""
    ours, theirs = _leaves(new), _leaves(old)
    gain = np.array([[_overlap(a[0], b[0]) + 0.5 * _overlap(a[1], b[1]) for b in theirs.values()] for a in ours.values()])
    rows, columns = linear_sum_assignment(-gain)
    return {list(ours)[i]: list(theirs)[j] for i, j in zip(rows, columns, strict=True)}


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _leaves(graph: nx.DiGraph) -> dict[str, tuple[set[str], set[str]]]:
    """Return latent -> its own leaves, and all below it."""
    seen = set(observed(graph))
    return {name: (set(graph.successors(name)) & seen, nx.descendants(graph, name) & seen) for name in latents(graph)}
