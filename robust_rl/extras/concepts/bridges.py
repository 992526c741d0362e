"""To and from the graphs and networks of pgmpy and causal-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from robust_rl.extras.concepts.graphs import latents
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy
from robust_rl.training.optional import require

Floats = NDArray[np.float64]


def joint_table(distribution: Any) -> tuple[Floats, list[str]]:
    """Return the joint table of what is observed, and its names, if it has any.

    Parameters
    ----------
    distribution
        A table, a :class:`DiscreteHierarchy`, or a pgmpy network, whose latents are summed out.
    """
    if hasattr(distribution, "get_cpds"):
        distribution = from_pgmpy(distribution)
    if isinstance(distribution, DiscreteHierarchy):
        return distribution.joint(), distribution.observed
    return np.asarray(distribution, float), []


def from_pgmpy(model: Any) -> DiscreteHierarchy:
    """Return a pgmpy network as a hierarchy; its latents are those that it declares."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from((str(node), {"latent": node in model.latents}) for node in model.nodes)
    graph.add_edges_from((str(parent), str(child)) for parent, child in model.edges)
    tables = {}
    for node in model.nodes:
        table = model.get_cpds(node)
        axes = [str(name) for name in table.variables]  # the variable itself comes first
        order = [axes.index(name) for name in (*graph.predecessors(str(node)), str(node))]
        tables[str(node)] = np.asarray(table.values, float).transpose(order)
    return DiscreteHierarchy(graph, tables)


def to_pgmpy(graph: nx.DiGraph, tables: Mapping[str, Floats] | None = None) -> Any:
    """Return a DiscreteBayesianNetwork, with tables if they are given."""
    require("pgmpy", "pgmpy")
    from pgmpy.factors.discrete import TabularCPD
    from pgmpy.models import DiscreteBayesianNetwork

    model = DiscreteBayesianNetwork(list(graph.edges), latents=set(latents(graph)))
    model.add_nodes_from(node for node in graph if node not in model)
    for node, table in (tables or {}).items():
        parents = list(graph.predecessors(node))
        shape = {"evidence": parents, "evidence_card": table.shape[:-1]} if parents else {}
        model.add_cpds(TabularCPD(node, table.shape[-1], table.reshape(-1, table.shape[-1]).T, **shape))
    return model


def to_causallearn(graph: nx.DiGraph) -> Any:
    """Return a GeneralGraph: ``graph[j, i] = 1`` and ``graph[i, j] = -1`` stand for i -> j."""
    require("causallearn", "causal-learn")
    from causallearn.graph.Edge import Edge
    from causallearn.graph.Endpoint import Endpoint
    from causallearn.graph.GeneralGraph import GeneralGraph
    from causallearn.graph.GraphNode import GraphNode
    from causallearn.graph.NodeType import NodeType

    nodes = {name: GraphNode(name) for name in graph}
    for name in latents(graph):
        nodes[name].set_node_type(NodeType.LATENT)
    result = GeneralGraph(list(nodes.values()))
    for parent, child in graph.edges:
        result.add_edge(Edge(nodes[parent], nodes[child], Endpoint.TAIL, Endpoint.ARROW))
    return result
