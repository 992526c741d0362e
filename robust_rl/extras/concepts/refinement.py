"""From several graphs to the one that explains the sample best for its size, and on from there step by step.

A rank test looks at a few variables; the likelihood of a whole graph uses all of them at once. So graphs from searches at several
levels are compared by the criterion of scoring.py, and the best is improved by the steps of shapes.py:

    best = the start with the lowest criterion
    go downhill: take the first step that lowers the criterion, until none does                              (1)
    fit the closest rivals of the best again, with many starts                                               (2)
    go downhill from the few nearest neighbours; if one ends below the best, it is the best: back to (2)     (3)

This stands where the linear search deletes a cover and its neighbours and looks again (phase 3). A step of the search fits one
graph. All it must remember are these fits: with them the same search comes to the same place at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from robust_rl.extras.concepts.discovery import drawn
from robust_rl.extras.concepts.em import Fit
from robust_rl.extras.concepts.graphs import latents
from robust_rl.extras.concepts.sample_ranks import SampleRanks
from robust_rl.extras.concepts.scoring import Request, ShapeScore
from robust_rl.extras.concepts.search import CoverSearch
from robust_rl.extras.concepts.shapes import Shape, graph_of_shape, leaves, neighbours, plain, shape_from, shape_of
from robust_rl.extras.concepts.stages import Stages
from robust_rl.training import check_same_problem, load_arrays, save_arrays

FILE = "fits.safetensors"
LOOKAHEAD = 3
FACTORS = (1e-2, 10, 100)
"""Of the level of the tests, for further starts."""
RIVALS, CLOSE = 12, 30.0
"""At most so many graphs, with a criterion within so much of the best, are fitted again."""
LEAST_GAIN = 1e-3

Search = Generator[Request, None, Shape]


class Refinement:
    """The way down as a :class:`~robust_rl.training.Trainable`: a step fits one graph.

    Parameters
    ----------
    starts
        Trees of covers.
    score
        Their criterion.
    max_cover
        Largest number of latents in a cover.

    Attributes
    ----------
    best
        The best tree, once done.
    """

    def __init__(self, starts: Iterable[Shape], score: ShapeScore, max_cover: int) -> None:
        self.starts, self.score, self.max_cover = list(starts), score, max_cover
        self.best: Shape | None = None
        self._restart()

    @property
    def done(self) -> bool:
        """Whether nothing better is near."""
        return self.best is not None

    @property
    def found(self) -> Shape:
        """The best tree, or the best start so far."""
        return self.best if self.best is not None else min(self.score.scores, key=self.score.scores.__getitem__)

    def step(self) -> Mapping[str, float]:
        """Fit the graph that the search asks for."""
        if self._asked is not None:
            self.score.fit(self._asked)
            self._advance()
        return {"refine/fits": float(len(self.score.asked)), "refine/criterion": min(self.score.scores.values())}

    def _restart(self) -> None:
        self.score.forget()
        self._search, self.best = self._found(), None
        self._advance()

    def _advance(self) -> None:
        self._asked: Request | None = None
        try:
            self._asked = next(self._search)
        except StopIteration as end:
            self.best = end.value

    def _found(self) -> Search:
        scores = self.score.scores
        for start in self.starts:
            yield from self.score.asking(start)
        best = yield from self._downhill(min(self.starts, key=scores.__getitem__))  # eq. 1
        while not self.score.spent:
            near = yield from self._rivals(best)  # eq. 2
            found = best
            for shape in near[:LOOKAHEAD]:  # eq. 3
                end = yield from self._downhill(shape)
                found = min(found, end, key=scores.__getitem__)
            if scores[found] >= scores[best] - LEAST_GAIN:
                break
            best = found
        return best

    def _downhill(self, shape: Shape) -> Search:
        """Return the tree at which no step lowers the criterion any more."""
        scores, better = self.score.scores, True
        while better:
            better = False
            for found in neighbours(shape, self.max_cover):
                if self.score.spent:
                    break
                yield from self.score.asking(found, shape)
                if scores[found] < scores[shape] - LEAST_GAIN:
                    shape, better = found, True
                    break
        return shape

    def _rivals(self, best: Shape) -> Generator[Request, None, list[Shape]]:
        """Fit the best and the closest of its neighbours again; return the neighbours, the nearest first."""
        scores = self.score.scores
        yield from self.score.asking(best, best, again=True)
        near = sorted((shape for shape in neighbours(best, self.max_cover) if shape in scores), key=scores.__getitem__)
        for shape in near[:RIVALS]:
            if not self.score.spent and scores[shape] < scores[best] + CLOSE:
                yield from self.score.asking(shape, best, again=True)
        return sorted(near, key=scores.__getitem__)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the fits."""
        done = self.score.done
        requests = [[None if near is None else plain(near), plain(shape), again] for shape, near, again in done]
        tables = [table.ravel() for fit in done.values() for table in fit.tables.values()]
        fits = [[fit.log_likelihood, fit.iterations, fit.converged] for fit in done.values()]
        state = self._problem() | {"requests": requests, "fits": fits}
        save_arrays(directory / FILE, {"tables": np.concatenate(tables) if tables else np.zeros(0)}, state)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem())
        values, self.score.done = iter(arrays["tables"]), {}
        for (near, shape, again), numbers in zip(state["requests"], state["fits"], strict=True):
            tree = shape_from(shape)
            tables = {
                name: np.array([*itertools.islice(values, math.prod(size))]).reshape(size)
                for name, size in self.score.sizes(tree)
            }
            self.score.done[tree, None if near is None else shape_from(near), again] = Fit(tables, *numbers)
        self._restart()

    def _problem(self) -> dict[str, Any]:
        return self.score.problem() | {"starts": [plain(start) for start in self.starts], "max_cover": self.max_cover}


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

    def __call__(self, graph: nx.DiGraph, names: Sequence[str]) -> Stages[nx.DiGraph]:
        """Refine the graph of a component."""
        starts = dict.fromkeys(shape for found in (graph, *self._others(names)) if (shape := _whole(found, names)) is not None)
        columns = [self.names.index(name) for name in names]
        score = ShapeScore(self.codes[:, columns], names, self.k, self.seed, self.max_fits)
        search = Refinement(starts or [(1, frozenset(names))], score, self.max_cover)
        yield search
        refined = graph_of_shape(search.found)
        refined.graph["absorbed"] = graph.graph.get("absorbed", 0)
        return refined

    def _others(self, names: Sequence[str]) -> Iterator[nx.DiGraph]:
        """Yield what is found at other levels."""
        for factor in FACTORS:
            ranks = self.ranks.at_level(min(0.5, self.ranks.alpha * factor))
            search = CoverSearch(ranks, names, self.k, self.max_cover)
            while not search.done:
                search.step()
            yield drawn(search)[0]


def _whole(graph: nx.DiGraph, names: Sequence[str]) -> Shape | None:
    """Return a graph as a tree of covers, if it is one with all the names."""
    roots = [node for node in latents(graph) if not graph.in_degree(node)]
    shape = shape_of(graph, roots[0]) if roots else None
    return shape if shape is not None and leaves(shape) == set(names) else None
