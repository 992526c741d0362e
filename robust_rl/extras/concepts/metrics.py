"""How near a found graph is to the true one: over all ways to name its latents, the best.

Ranks leave the direction of some edges and the names of latents open, so skeletons are compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import networkx as nx
import numpy as np
from scipy.optimize import linear_sum_assignment

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.graphs import Spec, graph_of, latents, observed
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy

EXHAUSTIVE = 8
"""More latents than this are matched by their leaves and neighbours instead of in every way."""

Edges = set[frozenset[str]]


def skeleton_f1(found: Any, true: str | Spec | nx.DiGraph) -> float:
    """Return the F1 score of the found edges without their directions, latents matched so that it is highest.

    Parameters
    ----------
    found
        A graph, or an estimator with ``graph_``.
    true
        A graph as :func:`~robust_rl.extras.concepts.graph_of` takes it, or a :class:`DiscreteHierarchy`.

    Raises
    ------
    InvalidArgumentError
        The two have other observed variables.

    Examples
    --------
    >>> skeleton_f1({"A": ["X1", "X2", "X3"], "B": ["X4", "A"]}, "G1")
    0.6666666666666666
    """
    hits, wrong, missed = _compare(found, true)
    return 2 * hits / max(2 * hits + wrong + missed, 1)


def shd(found: Any, true: str | Spec | nx.DiGraph) -> int:
    """Return the number of edges to add to or take from the found skeleton, latents matched so that it is lowest."""
    _, wrong, missed = _compare(found, true)
    return wrong + missed


def latent_count_error(found: Any, true: str | Spec | nx.DiGraph) -> int:
    """Return the number of latents found, less the true one."""
    return len(latents(_graph(found))) - len(latents(_graph(true)))


def match_latents(found: Any, true: str | Spec | nx.DiGraph) -> dict[str, str]:
    """Return true latent -> found latent, such that as many edges agree as can be."""
    ours, theirs = _graph(found), _graph(true)
    if set(observed(ours)) != set(observed(theirs)):
        other = sorted(set(observed(ours)) ^ set(observed(theirs)))
        raise InvalidArgumentError(f"the graphs have other observed variables: {', '.join(map(str, other))} are in one of them")
    edges = _edges(ours)
    return max(_matchings(ours, theirs), key=lambda names: len(_renamed(_edges(theirs), names) & edges))


def _compare(found: Any, true: Any) -> tuple[int, int, int]:
    ours, theirs = _edges(_graph(found)), _renamed(_edges(_graph(true)), match_latents(found, true))
    return len(ours & theirs), len(ours - theirs), len(theirs - ours)


def _graph(graph: Any) -> nx.DiGraph:
    return graph_of(graph.graph if isinstance(graph, DiscreteHierarchy) else getattr(graph, "graph_", graph))


def _edges(graph: nx.DiGraph) -> Edges:
    return {frozenset(edge) for edge in graph.edges}


def _renamed(edges: Edges, names: Mapping[str, str]) -> Edges:
    """Return edges under other names; a latent without a partner gets one that no graph has."""
    return {frozenset(names.get(node, node) for node in edge) for edge in edges}


def _matchings(ours: nx.DiGraph, theirs: nx.DiGraph) -> Iterator[dict[str, str]]:
    true = latents(theirs)
    found: list[Any] = [*latents(ours)]
    found += [("unmatched", i) for i in range(len(true) - len(found))]
    if max(len(true), len(found)) <= EXHAUSTIVE and math.perm(len(found), len(true)) <= 50_000:
        yield from (dict(zip(true, order, strict=True)) for order in itertools.permutations(found, len(true)))
    else:
        yield _by_leaves(ours, theirs, true, found)


def _by_leaves(ours: nx.DiGraph, theirs: nx.DiGraph, true: list[str], found: list[Any]) -> dict[str, str]:
    """Match latents by their neighbours and descendants among the observed variables (Hungarian method)."""
    gain = np.zeros((len(true), len(found)))
    for i, j in itertools.product(range(len(true)), range(len(found))):
        if found[j] in ours:
            near = set(nx.all_neighbors(theirs, true[i])) & set(nx.all_neighbors(ours, found[j]))
            below = set(nx.descendants(theirs, true[i])) & set(nx.descendants(ours, found[j]))
            gain[i, j] = len(near) + 0.01 * len(below)
    rows, columns = linear_sum_assignment(-gain)
    return {true[i]: found[j] for i, j in zip(rows, columns, strict=True)}
