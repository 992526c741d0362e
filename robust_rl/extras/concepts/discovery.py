"""From answers about ranks to a graph with names, levels and covers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.graphs import latents
from robust_rl.extras.concepts.minimal import cover_of, minimal_graph
from robust_rl.extras.concepts.search import CoverSearch, Ranks
from robust_rl.extras.concepts.stages import Stages

Refiner = Callable[[nx.DiGraph, Sequence[str]], Stages[nx.DiGraph]]
"""Graph of a component and the names of its observed variables -> stages that end with a graph."""


@dataclass(frozen=True)
class Cover:
    """Latents that act together.

    Attributes
    ----------
    latents
        Their names.
    children
        The variables that all of them cause.
    rank
        Number of joint states: that of the tables which they separate.
    """

    latents: tuple[str, ...]
    children: tuple[str, ...]
    rank: int


@dataclass(frozen=True)
class Discovery:
    """What a search found.

    Attributes
    ----------
    graph
        Node attributes ``latent`` and ``n_states``; graph attributes ``roots``, and ``absorbed``: the number of latents that the
        search drew on its way and that no rank can show.
    unresolved
        Groups of three or more variables of one component for which no common parent was found: their edges are unknown.
    """

    graph: nx.DiGraph
    unresolved: list[list[str]]

    @property
    def covers(self) -> list[Cover]:
        """The latent covers, from the roots down."""
        groups = dict.fromkeys(tuple(sorted(cover_of(self.graph, name))) for name in latents(self.graph))
        sizes = self.graph.nodes(data="n_states")
        return [Cover(group, tuple(self.graph.successors(group[0])), max(1, sizes[group[0]]) ** len(group)) for group in groups]

    @property
    def levels(self) -> dict[str, int]:
        """Height of each variable above the leaves: 0 without children, else above its highest child by 1."""
        levels: dict[str, int] = {}
        for node in reversed(list(nx.topological_sort(self.graph))):
            levels[node] = max((levels[child] + 1 for child in self.graph.successors(node)), default=0)
        return levels


def discover(
    ranks: Ranks,
    n_states: Mapping[str, int],
    k: int,
    max_cover: int = 2,
    *,
    observed_parents: bool = False,
    refiner: Refiner | None = None,
) -> Stages[Discovery]:
    """Search each set of variables that depend on one another, and put the parts together; stages for :func:`drive`.

    Parameters
    ----------
    ranks
        Answers questions about ranks.
    n_states
        Of the observed variables, in the order of the search.
    k
        Number of states of the latents, K.
    max_cover
        Largest number of latents in a cover.
    observed_parents
        Whether observed variables may have children.
    refiner
        Turns what was found in a component into something better.
    """
    parts, unresolved = [], []
    for names in components(ranks, list(n_states)):
        search = CoverSearch(ranks, names, k, max_cover, observed_parents=observed_parents)
        yield search
        part, open_ends = drawn(search)
        hanging = [name for name in names if any(not part.nodes[above]["latent"] for above in part.predecessors(name))]
        rest = [name for name in names if name not in hanging]
        if refiner is not None and len(rest) > 3 and not _has_latent_below(part):
            refined = yield from refiner(part.subgraph(set(part) - set(hanging)).copy(), rest)
            refined.add_nodes_from(hanging, latent=False)
            refined.add_edges_from(edge for edge in part.edges if edge[1] in hanging)
            part, open_ends = refined, []
        parts.append(part)
        unresolved += open_ends
    graph = _union(parts)
    nx.set_node_attributes(graph, {name: n_states.get(name, k) for name in graph}, "n_states")
    return Discovery(named(graph, list(n_states)), unresolved)


def _has_latent_below(graph: nx.DiGraph) -> bool:
    """Return whether a latent is the child of an observed variable; the steps of a refinement know no such graphs."""
    return any(graph.nodes[child]["latent"] and not graph.nodes[parent]["latent"] for parent, child in graph.edges)


def drawn(search: CoverSearch) -> tuple[nx.DiGraph, list[list[str]]]:
    """Return the graph that a search of one component has found, and the variables that it leaves without a common parent."""
    graph, absorbed = minimal_graph(search.tree.graph)
    graph.graph["absorbed"] = len(absorbed)
    left = [name for cover in search.tree.active for name in search.tree.measured(cover)]
    return graph, [sorted(left)] if len(search.tree.active) > 1 else []


def components(ranks: Ranks, names: Sequence[str]) -> list[list[str]]:
    """Return the sets of variables that depend on one another, pair by pair."""
    dependence = nx.Graph()
    dependence.add_nodes_from(names)
    for one, other in itertools.combinations(names, 2):
        if not nx.has_path(dependence, one, other) and not ranks.at_most([Block((one,), 1)], [Block((other,), 1)], 1):
            dependence.add_edge(one, other)
    return [[name for name in names if name in part] for part in nx.connected_components(dependence)]


def _union(parts: Sequence[nx.DiGraph]) -> nx.DiGraph:
    """Return the graphs as one, with latents of the same name kept apart."""
    whole = nx.DiGraph()
    for i, part in enumerate(parts):
        absorbed = whole.graph.get("absorbed", 0) + part.graph.get("absorbed", 0)
        whole = nx.union(whole, nx.relabel_nodes(part, {name: f"{name}/{i}" for name in latents(part)}))
        whole.graph["absorbed"] = absorbed
    return whole


def named(graph: nx.DiGraph, names: Sequence[str]) -> nx.DiGraph:
    """Return the graph with its latents called L1 and so on, from the roots down and by the first observed variable below."""
    place = {name: i for i, name in enumerate(names)}
    depth = {node: i for i, layer in enumerate(nx.topological_generations(graph)) for node in layer}
    first = {node: min((place[d] for d in nx.descendants(graph, node) if d in place), default=0) for node in latents(graph)}
    order = sorted(first, key=lambda node: (depth[node], first[node], node))
    prefix = "L" if not any(name.startswith("L") for name in names) else "latent_"
    new = {node: f"{prefix}{i}" for i, node in enumerate(order, start=1)}
    renamed = nx.relabel_nodes(graph, new)
    result = nx.DiGraph()
    result.add_nodes_from((node, renamed.nodes[node]) for node in [*new.values(), *names])
    rank = {node: i for i, node in enumerate(result)}
    result.add_edges_from(sorted(renamed.edges, key=lambda edge: (rank[edge[0]], rank[edge[1]])))
    result.graph.update(graph.graph, roots=[node for node in result if not result.in_degree(node)])
    return result
