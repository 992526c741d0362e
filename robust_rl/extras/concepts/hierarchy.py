"""A hierarchy of discrete variables with its tables: what is drawn from, and what an exact search is given.

    z_i := f_i(Pa(z_i), eps_i)        as a table p(z_i | Pa(z_i)), one axis a parent and the last one for z_i

Source: Kong et al., "Learning Discrete Concepts in Latent Hierarchical Models", arXiv:2406.00519, section on the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError, InvalidModelError
from robust_rl.extras.concepts.graphs import Spec, graph_of, latents, observed

Floats = NDArray[np.float64]
MAX_CELLS = 2**22
"""Cells of a joint table: 32 MB."""


@dataclass(frozen=True)
class DiscreteHierarchy:
    """A directed acyclic graph of discrete variables and a conditional table for each.

    Attributes
    ----------
    graph
        With the node attribute ``latent``; see :func:`graph_of`.
    tables
        Variable -> p(variable | parents), shape (states of each parent in the order of ``graph.predecessors``, own states).

    Raises
    ------
    InvalidModelError
        A table is missing, has the wrong shape, or rows that are no distributions.

    Examples
    --------
    >>> truth = DiscreteHierarchy.random("G1", n_states=2, seed=0)
    >>> truth.sample(3, seed=0).shape, truth.joint().shape
    ((3, 4), (2, 2, 2, 2))
    """

    graph: nx.DiGraph
    tables: Mapping[str, Floats]

    def __post_init__(self) -> None:
        object.__setattr__(self, "graph", graph_of(self.graph))
        object.__setattr__(self, "tables", {name: np.asarray(table, float) for name, table in self.tables.items()})
        for node in self.graph:
            if node not in self.tables:
                raise InvalidModelError(f"no table for {node!r}; give one p({node} | parents) to every variable")
        for node in self.graph:
            _check_table(node, self.tables[node], self.tables, self.parents(node))

    @classmethod
    def random(
        cls,
        graph: str | Spec | nx.DiGraph,
        n_states: int | tuple[int, int] | Mapping[str, int] = 2,
        *,
        seed: int | np.random.Generator = 0,
        strength: float = 0.6,
    ) -> DiscreteHierarchy:
        """Draw the tables.

        Each configuration of a variable's parents has a favourite state. It gets the share ``strength``; the rest is a
        distribution drawn uniformly. A variable with one parent copies it, up to the names of the states; with several, the
        favourites are a random function that depends on each of them.

        Parameters
        ----------
        graph
            As :func:`graph_of` takes it.
        n_states
            Of all variables; of the latent and of the observed ones; or of each by name.
        seed
            Of the draw.
        strength
            In [0, 1]: 0 has children that know little of their parents, 1 is without noise.

        Raises
        ------
        InvalidArgumentError
            A number is out of range.
        """
        if not 0 <= strength <= 1:
            raise InvalidArgumentError(f"strength is {strength}; it must be in [0, 1]")
        graph, rng = graph_of(graph), np.random.default_rng(seed)
        sizes = _sizes(graph, n_states)
        tables = {}
        for node in nx.topological_sort(graph):
            shape = [sizes[parent] for parent in graph.predecessors(node)]
            tables[node] = random_table(shape, sizes[node], strength, rng)
        return cls(graph, tables)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> DiscreteHierarchy:
        """Build a hierarchy from plain data, ``{"children": {...}, "tables": {...}}``, as :meth:`to_spec` gives.

        The parents of a variable are in the order in which ``children`` names them.
        """
        for part in ("children", "tables"):
            if part not in spec:
                raise InvalidModelError(f"the specification has no {part!r}; it needs 'children' and 'tables'")
        return cls(graph_of(spec["children"]), {name: np.array(table, float) for name, table in spec["tables"].items()})

    def to_spec(self) -> dict[str, Any]:
        """Return the hierarchy as plain data, for JSON."""
        children = {node: list(self.graph.successors(node)) for node in self.graph if self.graph.out_degree(node)}
        spec = graph_of(children)
        tables = {}
        for node in self.graph:
            order = [self.parents(node).index(parent) for parent in spec.predecessors(node)]
            tables[node] = self.tables[node].transpose([*order, len(order)]).tolist()
        return {"children": children, "tables": tables}

    @property
    def observed(self) -> list[str]:
        """Names of the observed variables: the columns of a sample."""
        return observed(self.graph)

    @property
    def latents(self) -> list[str]:
        """Names of the latent variables."""
        return latents(self.graph)

    @property
    def n_states(self) -> dict[str, int]:
        """Number of states of each variable."""
        return {node: self.tables[node].shape[-1] for node in self.graph}

    def parents(self, node: str) -> list[str]:
        """Return a variable's parents, in the order of its table's axes."""
        return list(self.graph.predecessors(node))

    def joint(self, names: Sequence[str] | None = None) -> Floats:
        """Return the joint table of some variables, one axis each; of the observed ones if none are named.

        Variables that are not named are summed out one by one, so that only the answer's size is bounded.

        Raises
        ------
        InvalidArgumentError
            The table would have more than 2^22 cells.
        """
        names = self.observed if names is None else list(names)
        cells = math.prod(self.n_states[name] for name in names)
        check_cells(cells)
        label = {node: i for i, node in enumerate(self.graph)}
        operands: list[Any] = []
        for node in self._ancestry(names):
            operands += [self.tables[node], [label[other] for other in [*self.parents(node), node]]]
        return np.asarray(np.einsum(*operands, [label[name] for name in names], optimize="greedy"))

    def sample(self, n: int, *, seed: int | np.random.Generator = 0, latents: bool = False) -> NDArray[np.int64]:
        """Draw rows.

        Parameters
        ----------
        n
            Number of rows, >= 0.
        seed
            Of the draw.
        latents
            Whether the latent variables follow as further columns, in the order of :attr:`latents`.

        Returns
        -------
        array (n, number of variables)
            States, from 0.
        """
        if n < 0:
            raise InvalidArgumentError(f"n is {n}; the number of rows can't be negative")
        rng = np.random.default_rng(seed)
        columns: dict[str, NDArray[np.int64]] = {}
        for node in nx.topological_sort(self.graph):
            rows = self.tables[node][tuple(columns[parent] for parent in self.parents(node))]
            below = np.cumsum(np.broadcast_to(rows, (n, rows.shape[-1])), axis=1)[:, :-1]
            columns[node] = (rng.random((n, 1)) >= below).sum(axis=1)
        names = self.observed + (self.latents if latents else [])
        return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((n, 0), np.int64)

    def _ancestry(self, names: Sequence[str]) -> list[str]:
        """Return the variables named and all above them; the others sum to 1."""
        above = set(names).union(*(nx.ancestors(self.graph, name) for name in names))
        return [node for node in self.graph if node in above]


def check_cells(cells: int) -> None:
    """Raise InvalidArgumentError for a table that is larger than memory should hold."""
    if cells > MAX_CELLS:
        raise InvalidArgumentError(
            f"the joint table would have {cells} cells, above the limit of 2^22; use fewer columns, or pool their states"
        )


def _sizes(graph: nx.DiGraph, n_states: int | tuple[int, int] | Mapping[str, int]) -> dict[str, int]:
    if isinstance(n_states, Mapping):
        sizes = dict(n_states)
    else:
        latent, seen = (n_states, n_states) if isinstance(n_states, int) else n_states
        sizes = {node: latent if known["latent"] else seen for node, known in graph.nodes(data=True)}
    for node in graph:
        if sizes.get(node, 0) < 2:
            raise InvalidArgumentError(f"{node!r} has {sizes.get(node, 'no number of')} states; a variable needs at least 2")
    return sizes


def random_table(shape: Sequence[int], size: int, strength: float, rng: np.random.Generator) -> Floats:
    """Return p(variable | parents) as :meth:`DiscreteHierarchy.random` draws it; ``shape`` is that of the parents."""
    if not shape:
        return rng.dirichlet(np.full(size, 10.0))
    noise = rng.dirichlet(np.ones(size), shape)
    favourite = np.eye(size)[_random_function(shape, size, rng)]
    return strength * favourite + (1 - strength) * noise


def _random_function(shape: Sequence[int], size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a state for each configuration, such that every parent matters and no state is left out if it can be helped."""
    configurations = math.prod(shape)
    while True:
        spread = rng.permutation(max(size, configurations)) % size  # even use of the states
        function = spread[:configurations] if len(shape) == 1 else rng.integers(size, size=configurations)
        if len(set(function.tolist())) < min(size, configurations):
            continue
        function = function.reshape(shape)
        if all(np.any(function != np.take(function, [0], axis)) for axis in range(len(shape))):
            return function


def _check_table(node: str, table: Floats, tables: Mapping[str, Floats], parents: Sequence[str]) -> None:
    shape = tuple(tables[parent].shape[-1] for parent in parents)
    if table.ndim != len(parents) + 1 or table.shape[:-1] != shape:
        raise InvalidModelError(f"the table of {node!r} has shape {table.shape}; its parents {parents} need {(*shape, 'states')}")
    if not np.all(np.isfinite(table)) or table.min() < 0 or not np.allclose(table.sum(-1), 1, atol=1e-8):
        raise InvalidModelError(f"the table of {node!r} has rows that are no distributions: non-negative, with sum 1")
