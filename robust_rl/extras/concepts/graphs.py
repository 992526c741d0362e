"""Seven hierarchies to try a search on, as mappings from a latent variable to its children.

=====  =====================  ==========================================================================
graph  latents and observed   structure
=====  =====================  ==========================================================================
G1     1, 4                   one parent
G2     4, 9                   a tree of two levels
G3     3, 7                   a chain of latents, each with leaves of its own
G4     3, 8                   L2 and L3 jointly cause X4 to X8; L1 causes both, and X1 to X3
G5     5, 10                  a tree with leaves at every depth from 1 to 3
G6     5, 12                  two pairs of latents under one root, each pair with six leaves in common
G7     5, 10                  four levels, L1 to L2 to L3 to {L4, L5}, with two leaves each
=====  =====================  ==========================================================================

The first five are those of the measurements that this package started from; the paper's own seven (arXiv:2406.00519) are drawn in
a figure that has no machine-readable form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest

Spec = Mapping[str, Sequence[str]]


def _leaves(first: int, last: int) -> list[str]:
    return [f"X{i}" for i in range(first, last + 1)]


GRAPHS: dict[str, Spec] = {
    "G1": {"L1": _leaves(1, 4)},
    "G2": {"L1": ["L2", "L3", "L4"], "L2": _leaves(1, 3), "L3": _leaves(4, 6), "L4": _leaves(7, 9)},
    "G3": {"L1": ["L2", *_leaves(1, 2)], "L2": ["L3", *_leaves(3, 4)], "L3": _leaves(5, 7)},
    "G4": {"L1": ["L2", "L3", *_leaves(1, 3)], "L2": _leaves(4, 8), "L3": _leaves(4, 8)},
    "G5": {
        "L1": ["L2", "L3", *_leaves(1, 2)],
        "L2": ["L4", *_leaves(3, 4)],
        "L3": ["L5", *_leaves(5, 6)],
        "L4": _leaves(7, 8),
        "L5": _leaves(9, 10),
    },
    "G6": {
        "L1": ["L2", "L3", "L4", "L5"],
        "L2": _leaves(1, 6),
        "L3": _leaves(1, 6),
        "L4": _leaves(7, 12),
        "L5": _leaves(7, 12),
    },
    "G7": {
        "L1": ["L2", *_leaves(1, 2)],
        "L2": ["L3", *_leaves(3, 4)],
        "L3": ["L4", "L5", *_leaves(5, 6)],
        "L4": _leaves(7, 8),
        "L5": _leaves(9, 10),
    },
}
"""Name -> latent -> its children."""


def graph_of(spec: str | Spec | nx.DiGraph) -> nx.DiGraph:
    """Return a hierarchy's graph, whose nodes have the attribute ``latent``.

    Parameters
    ----------
    spec
        One of ``G1`` to ``G7``; a mapping from each latent to its children; or a DiGraph, in which what has no children, or the
        attribute ``latent=False``, is observed.

    Raises
    ------
    UnknownNameError
        No graph has that name.
    InvalidArgumentError
        The edges make a cycle.

    Examples
    --------
    >>> sorted(graph_of("G4").successors("L1"))
    ['L2', 'L3', 'X1', 'X2', 'X3']
    """
    if isinstance(spec, str):
        if spec not in GRAPHS:
            raise UnknownNameError(f"no graph is called {spec!r}; there are {', '.join(GRAPHS)}{nearest(spec, list(GRAPHS))}")
        spec = GRAPHS[spec]
    graph = nx.DiGraph()
    if isinstance(spec, nx.DiGraph):
        graph.add_nodes_from(spec.nodes(data=True))
        graph.add_edges_from(spec.edges)
    else:
        graph.add_edges_from((parent, child) for parent, children in spec.items() for child in children)
    if not nx.is_directed_acyclic_graph(graph):
        raise InvalidArgumentError(f"the graph has a cycle: {nx.find_cycle(graph)}")
    for node, known in graph.nodes(data=True):
        known.setdefault("latent", graph.out_degree(node) > 0)
    return graph


def observed(graph: nx.DiGraph) -> list[str]:
    """Return the names of what is observed, in the graph's order."""
    return [node for node, known in graph.nodes(data=True) if not known["latent"]]


def latents(graph: nx.DiGraph) -> list[str]:
    """Return the names of what is not observed, in the graph's order."""
    return [node for node, known in graph.nodes(data=True) if known["latent"]]
