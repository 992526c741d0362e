"""Tables of a hierarchy from a sample of its leaves, by expectation and maximisation.

With h a configuration of all latents, x_u a distinct row, seen w_u times, and the present tables:

    E:  q_u(h) = p(x_u, h) / sum_h' p(x_u, h'),    p(x, h) = product over variables of p(v | Pa(v))         (1)
    M:  p(v | Pa(v)) = expected count of (Pa(v), v) under w_u q_u(h), plus a pseudo-count, to sum 1          (2)

All configurations are gone through: their number times that of distinct rows bounds memory.

=====  ===========  ==========================================
symbol here         meaning, shape
=====  ===========  ==========================================
q      posterior    (distinct rows U, configurations H)
w      weights      (U,)
=====  ===========  ==========================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.graphs import latents, observed
from robust_rl.extras.concepts.hierarchy import random_table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tables = Mapping[str, Floats]
MAX_ENTRIES = 2**26
"""Of the posterior: 512 MB."""
PSEUDO_COUNT = 1e-2
LOG_ZERO = -1e4
FINALISTS = 4
START_STRENGTH = 0.3
"""How much a configuration's favourite state has more than a random share, at a start."""
TRIAL_ITERATIONS = 30
"""Of each random start, before the best few go on."""


@dataclass(frozen=True)
class Fit:
    """Tables that a sample makes likely.

    Attributes
    ----------
    tables
        As a :class:`DiscreteHierarchy` holds them.
    log_likelihood
        Of the sample, in nats.
    iterations
        Of the start that won.
    converged
        Whether the last iteration gained less than the tolerance.
    """

    tables: dict[str, Floats]
    log_likelihood: float
    iterations: int
    converged: bool

    @property
    def n_parameters(self) -> int:
        """Number of free entries of the tables."""
        return sum(table.size // table.shape[-1] * (table.shape[-1] - 1) for table in self.tables.values())

    def bic(self, n: int) -> float:
        """Return the Bayesian information criterion for n rows: lower is better."""
        return self.n_parameters * math.log(n) - 2 * self.log_likelihood


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
        Of the hierarchy; only latents may have children.
    n_states
        Of each variable.
    rows
        Of the observed variables in the graph's order.

    Raises
    ------
    InvalidArgumentError
        An observed variable has children, or rows and configurations are too many for memory.
    """

    def __init__(self, graph: nx.DiGraph, n_states: Mapping[str, int], rows: Rows) -> None:
        self.graph, self.n_states, self.rows = graph, dict(n_states), rows
        self.latents, self.observed = latents(graph), observed(graph)
        for name in self.observed:
            if graph.out_degree(name):
                raise InvalidArgumentError(f"{name!r} is observed and has children; tables are fitted where only latents have")
        sizes = [n_states[name] for name in self.latents]
        _check_memory(len(rows.states), sizes)
        grid = np.indices(sizes).reshape(len(sizes), -1) if sizes else np.zeros((0, 1), np.int64)
        self.states = dict(zip(self.latents, grid, strict=True))
        indicators = [np.eye(n_states[name])[rows.states[:, i]] for i, name in enumerate(self.observed)]
        self.indicators = np.hstack(indicators)
        self.ends = np.cumsum([n_states[name] for name in self.observed])[:-1]
        self.cells = {node: self._cells(node) for node in graph}
        self.shapes = {node: [n_states[name] for name in (*graph.predecessors(node), node)] for node in graph}
        self.members = {node: np.eye(math.prod(self.shapes[node][:-1]))[cells] for node, cells in self.cells.items()}

    def __call__(self, tables: Tables) -> tuple[Floats, Floats]:
        """Return q, shape (U, H), and the log-likelihood of each distinct row (eq. 1)."""
        given = {}
        for node, table in tables.items():
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log(table.reshape(-1, table.shape[-1])), LOG_ZERO)
            given[node] = logs[self.cells[node]]  # (H, own states)
        prior = sum((given[node][np.arange(len(states)), states] for node, states in self.states.items()), np.zeros(1))
        total = self.indicators @ np.hstack([given[node] for node in self.observed]).T + prior
        highest = total.max(axis=1, keepdims=True)
        joint = np.exp(total - highest)
        sums = joint.sum(axis=1, keepdims=True)
        return joint / sums, (np.log(sums) + highest)[:, 0]

    def marginals(self, tables: Tables) -> list[Floats]:
        """Return the posterior of each latent for each row of the sample, (n, its states)."""
        q = self(tables)[0]
        one_hot = (np.eye(self.n_states[name])[states] for name, states in self.states.items())
        return [(q @ states)[self.rows.inverse] for states in one_hot]

    def maximise(self, posterior: Floats) -> dict[str, Floats]:
        """Return the tables of eq. 2."""
        weighted = posterior * self.rows.weights[:, None]
        seen = dict(zip(self.observed, np.split(self.indicators.T @ weighted, self.ends), strict=True))  # each (states, H)
        mass, tables = weighted.sum(axis=0), {}
        for node, shape in self.shapes.items():
            counts = seen[node].T if node in seen else np.eye(shape[-1])[self.states[node]] * mass[:, None]
            table = (self.members[node].T @ counts).reshape(shape) + PSEUDO_COUNT
            tables[node] = table / table.sum(axis=-1, keepdims=True)
        return tables

    def _cells(self, node: str) -> Integers:
        """Return the number of the parents' joint state in each configuration, (H,)."""
        parents = list(self.graph.predecessors(node))
        if not parents:
            return np.zeros(math.prod(self.n_states[name] for name in self.latents), np.int64)
        return np.ravel_multi_index([self.states[name] for name in parents], [self.n_states[name] for name in parents])


def _check_memory(rows: int, sizes: Sequence[int]) -> None:
    if rows * math.prod(sizes) > MAX_ENTRIES:
        raise InvalidArgumentError(
            f"{rows} distinct rows times {math.prod(sizes)} configurations of {len(sizes)} latents are above the limit of 2^26; "
            "use fewer columns or rows"
        )


def fit_tables(
    graph: nx.DiGraph,
    n_states: Mapping[str, int],
    codes: Integers,
    *,
    restarts: int = 8,
    max_iterations: int = 1000,
    tol: float = 1e-3,
    seed: int | np.random.Generator = 0,
) -> Fit:
    """Return the tables under which a sample is likely.

    Parameters
    ----------
    graph
        Of the hierarchy, with the node attribute ``latent``.
    n_states
        Of each variable.
    codes
        States from 0, shape (n, observed variables in the graph's order).
    restarts
        Random starts; the best few of them after thirty iterations go on.
    max_iterations
        Of the start that goes on.
    tol
        Smallest gain in log-likelihood, in nats, that is worth an iteration.
    seed
        Of the starts.
    """
    posterior, rng = Posterior(graph, n_states, Rows.of(codes)), np.random.default_rng(seed)
    return climb(posterior, [random_tables(graph, n_states, rng) for _ in range(restarts)], max_iterations, tol)


def climb(posterior: Posterior, starts: Iterable[Tables], max_iterations: int, tol: float) -> Fit:
    """Iterate from several starts, go on from the best few, and return the best of those."""
    trials = [_iterate(posterior, start, TRIAL_ITERATIONS, tol) for start in starts]
    trials.sort(key=lambda fit: -fit.log_likelihood)
    ends = [fit if fit.converged else go_on(posterior, fit, max_iterations - TRIAL_ITERATIONS, tol) for fit in trials[:FINALISTS]]
    return max(ends, key=lambda fit: fit.log_likelihood)


def go_on(posterior: Posterior, fit: Fit, iterations: int, tol: float) -> Fit:
    """Iterate further from where a fit stopped."""
    return _iterate(posterior, fit.tables, iterations, tol) if iterations > 0 else fit


def _iterate(posterior: Posterior, tables: Tables, iterations: int, tol: float) -> Fit:
    last, i = -math.inf, 0
    for i in range(1, iterations + 1):
        q, rows = posterior(tables)
        likelihood = float(posterior.rows.weights @ rows)
        if likelihood - last < tol and i > 1:
            return Fit(dict(tables), likelihood, i, True)
        last, tables = likelihood, posterior.maximise(q)
    return Fit(dict(tables), float(posterior.rows.weights @ posterior(tables)[1]), i, False)


def random_tables(graph: nx.DiGraph, n_states: Mapping[str, int], rng: np.random.Generator) -> dict[str, Floats]:
    """Return tables in which each configuration of the parents has a favourite state."""
    shapes = {node: [n_states[name] for name in graph.predecessors(node)] for node in graph}
    return {node: random_table(shape, n_states[node], START_STRENGTH, rng) for node, shape in shapes.items()}
