"""The smallest graph with the same ranks: latents that leave no trace of their own are absorbed.

A latent separates variables, and ranks show it only if no smaller set does. One with two neighbouring covers of which one is as
small as itself can be replaced by that one: a latent with a single child, or one between a latent and a cover of two. So a truth
with such latents must be reduced before a result is compared with it, and the search, which draws some of the second kind
on its way, reduces what it found.

Source: the minimal-graph operator of Dong et al., arXiv:2312.11001, for latents that are a cover by themselves.
"""

from __future__ import annotations

import itertools

import networkx as nx


def minimal_graph(graph: nx.DiGraph) -> tuple[nx.DiGraph, list[str]]:
    """Return the graph without the latents that ranks can't show, and their names.

    Parameters
    ----------
    graph
        With the node attribute ``latent``.

    Examples
    --------
    >>> from robust_rl.extras.concepts.graphs import graph_of
    >>> truth = graph_of({"L1": ["X1", "X2", "X3", "L2"], "L2": ["X4"]})
    >>> reduced, absorbed = minimal_graph(truth)
    >>> sorted(reduced.edges), absorbed
    ([('L1', 'X1'), ('L1', 'X2'), ('L1', 'X3'), ('L1', 'X4')], ['L2'])
    """
    graph, absorbed = graph.copy(), []
    while (latent := next((node for node in graph if _is_redundant(graph, node)), None)) is not None:
        _bridge(graph, latent)
        absorbed.append(latent)
    return graph, absorbed


def cover_of(graph: nx.DiGraph, node: str) -> frozenset[str]:
    """Return the latents that have the same children as a latent; an observed variable is its own cover."""
    if not graph.nodes[node]["latent"]:
        return frozenset([node])
    children = set(graph.successors(node))
    return frozenset(n for n, known in graph.nodes(data=True) if known["latent"] and set(graph.successors(n)) == children)


def _neighbours(graph: nx.DiGraph, node: str) -> list[frozenset[str]]:
    """Return the covers next to a variable, those above first."""
    return list(dict.fromkeys(cover_of(graph, other) for other in (*graph.predecessors(node), *graph.successors(node))))


def _is_redundant(graph: nx.DiGraph, node: str) -> bool:
    if not graph.nodes[node]["latent"] or len(cover_of(graph, node)) > 1:
        return False
    sides = _neighbours(graph, node)
    if not any(graph.nodes[other]["latent"] for side in sides for other in side):
        return False  # nothing to be absorbed into
    return len(sides) < 2 or (len(sides) == 2 and min(map(len, sides)) == 1)


def _bridge(graph: nx.DiGraph, node: str) -> None:
    """Join the covers on both sides of a latent and take it out."""
    sides = sorted(_neighbours(graph, node), key=lambda cover: _is_below(graph, node, cover))
    if len(sides) == 2:
        graph.add_edges_from(itertools.product(*sides))
    graph.remove_node(node)


def _is_below(graph: nx.DiGraph, node: str, cover: frozenset[str]) -> tuple[bool, bool]:
    first = next(iter(cover))
    return graph.has_edge(node, first), not graph.nodes[first]["latent"]
