"""What rows tell of the latents, and the tables that make this likely: the two halves of a step of em.py.

The tables lie in one vector, one after another. A row x and a configuration h of the latents read one entry of each table:

    log p(x, h) = sum over variables v of log theta[place of v's entry given x and h]

All configurations of the latents are gone through: their number times that of distinct rows bounds memory.

=====  ===========  ==========================================
symbol here         meaning, shape
=====  ===========  ==========================================
q      posterior    (distinct rows U, configurations H)
w      weights      (U,)
theta  theta        tables in one vector, (entries,)
=====  ===========  ==========================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.graphs import latents, observed

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tables = Mapping[str, Floats]
MAX_ENTRIES = 2**26
"""Of the posterior: 512 MB."""
PSEUDO_COUNT = 1e-2
LOG_ZERO = -1e4


@dataclass(frozen=True)
class Rows:
    """The distinct rows of a sample.

    Attributes
    ----------
    states
        Shape (U, number of variables).
    weights
        How often each was seen, (U,).
    inverse
        Which of them each row of the sample is, (n,).
    """

    states: Integers
    weights: Integers
    inverse: Integers

    @classmethod
    def of(cls, codes: Integers) -> Rows:
        """Collect the distinct rows of a sample, shape (n, number of variables)."""
        states, inverse, weights = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
        return cls(states, weights, inverse.ravel())


class Posterior:
    """What rows tell of the latents, under tables that may change.

    Parameters
    ----------
    graph
        Of the hierarchy; observed variables may have children, too.
    n_states
        Of each variable.
    rows
        Of the observed variables in the graph's order.

    Raises
    ------
    InvalidArgumentError
        Rows and configurations are too many for memory.
    """

    def __init__(self, graph: nx.DiGraph, n_states: Mapping[str, int], rows: Rows) -> None:
        self.graph, self.n_states, self.rows = graph, dict(n_states), rows
        self.latents, self.observed = latents(graph), observed(graph)
        sizes = [n_states[name] for name in self.latents]
        _check_memory(len(rows.states), sizes)
        grid = np.indices(sizes).reshape(len(sizes), -1) if sizes else np.zeros((0, 1), np.int64)
        self.states = dict(zip(self.latents, grid, strict=True))
        self.shapes = {node: [n_states[name] for name in (*graph.predecessors(node), node)] for node in graph}
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])
        self.ends, self.size = ends[:-1], int(ends[-1])
        firsts = dict(zip(graph, [0, *self.ends.tolist()], strict=True))
        self.starts = np.concatenate(
            [first + np.arange(0, math.prod(self.shapes[node]), n_states[node]) for node, first in firsts.items()]
        )
        self.lengths = np.diff([*self.starts, self.size])
        parts = [self._part(node, first) for node, first in firsts.items()]
        self.indicators = np.hstack([indicator for indicator, _ in parts])
        self.entries = np.vstack([entries for _, entries in parts])

    def __call__(self, tables: Tables) -> tuple[Floats, Floats]:
        """Return q, shape (U, H), and the log-likelihood of each distinct row (eq. 1)."""
        return self.told(self.flat(tables))

    def told(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return the same for tables in one vector."""
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(theta), LOG_ZERO)
        total = logs[self.entries].T @ self.indicators.T  # (H, U): sums over the first axis are quicker
        highest = total.max(axis=0)
        joint = np.exp(total - highest)
        sums = joint.sum(axis=0)
        return (joint / sums).T, np.log(sums) + highest

    def maximise(self, posterior: Floats) -> Floats:
        """Return the tables of eq. 2 in one vector."""
        counts = self.indicators.T @ (posterior * self.rows.weights[:, None])
        return self.normalised(np.bincount(self.entries.ravel(), counts.ravel(), self.size).astype(float) + PSEUDO_COUNT)

    def normalised(self, theta: Floats) -> Floats:
        """Return a vector of tables with each distribution scaled to sum 1."""
        return theta / np.repeat(np.add.reduceat(theta, self.starts), self.lengths)  # type: ignore[no-any-return]

    def flat(self, tables: Tables) -> Floats:
        """Return tables in one vector."""
        return np.concatenate([np.ravel(tables[node]) for node in self.graph])

    def tables(self, theta: Floats) -> dict[str, Floats]:
        """Return tables from a vector."""
        parts = zip(self.shapes.items(), np.split(theta, self.ends), strict=True)
        return {node: part.reshape(shape) for (node, shape), part in parts}

    def marginals(self, tables: Tables) -> list[Floats]:
        """Return the posterior of each latent for each row of the sample, (n, its states)."""
        q = self(tables)[0]
        one_hot = (np.eye(self.n_states[name])[states] for name, states in self.states.items())
        return [(q @ states)[self.rows.inverse] for states in one_hot]

    def _part(self, node: str, first: int) -> tuple[Floats, Integers]:
        """Return where rows read a variable's table, which begins at ``first``.

        That is the joint state j of what is observed of it and its parents, as indicators (U, J), and for each j and
        configuration of the latents the place of the entry, (J, H).
        """
        family, shape = [*self.graph.predecessors(node), node], self.shapes[node]
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        place, width, joint = np.array([[first]]), 1, np.zeros(len(self.rows.states), np.int64)
        for name, stride, size in zip(family, strides, shape, strict=True):
            if name in self.states:
                place = place + stride * self.states[name]
            else:
                place = (place[:, None] + stride * np.arange(size)[:, None]).reshape(-1, place.shape[-1])
                joint, width = joint * size + self.rows.states[:, self.observed.index(name)], width * size
        return np.eye(width)[joint], np.broadcast_to(place, (width, math.prod(self.n_states[name] for name in self.latents)))


def _check_memory(rows: int, sizes: Sequence[int]) -> None:
    if rows * math.prod(sizes) > MAX_ENTRIES:
        raise InvalidArgumentError(
            f"{rows} distinct rows times {math.prod(sizes)} configurations of {len(sizes)} latents are above the limit of 2^26; "
            "use fewer columns or rows"
        )
