"""A hierarchy as a picture: leaves at the bottom, their causes above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx

from robust_rl.extras.concepts.discovery import Discovery
from robust_rl.extras.concepts.graphs import latents
from robust_rl.training.optional import require


def draw(graph: nx.DiGraph, axes: Any = None, frequencies: Mapping[Any, float] | None = None) -> Any:
    """Draw latents as circles and observed variables as boxes, in layers by their height above the leaves.

    Parameters
    ----------
    graph
        With the node attribute ``latent``.
    axes
        Of matplotlib; new ones if None.
    frequencies
        Edge (parent, child) -> how often it was found, in [0, 1]: drawn as the line's width and darkness.

    Returns
    -------
    matplotlib.axes.Axes
    """
    require("matplotlib", "robust-rl[report]")
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(figsize=(8, 4), layout="constrained").subplots()
    place = positions(graph)
    for parent, child in graph.edges:
        weight = 1.0 if frequencies is None else frequencies.get((parent, child), 0.0)
        (x0, y0), (x1, y1) = place[parent], place[child]
        axes.plot([x0, x1], [y0, y1], color=str(round(0.85 - 0.7 * weight, 2)), linewidth=0.5 + 1.5 * weight, zorder=1)
    hidden = set(latents(graph))
    for node, (x, y) in place.items():
        style = (
            {"boxstyle": "circle,pad=0.25", "fc": "#cfe3f5"} if node in hidden else {"boxstyle": "round,pad=0.2", "fc": "white"}
        )
        label = axes.text(x, y, node, ha="center", va="center", fontsize=8, bbox=style | {"ec": "0.2"}, zorder=2)
        label.set_in_layout(False)
    axes.margins(0.08)
    axes.set_axis_off()
    return axes


def positions(graph: nx.DiGraph) -> dict[str, tuple[float, float]]:
    """Return x and y of each variable: leaves in the order of a walk from the roots, the others in the middle above theirs."""
    levels, place = Discovery(graph, []).levels, {}
    walk = [node for root in graph if not graph.in_degree(root) for node in nx.dfs_preorder_nodes(graph, root)]
    leaves = [node for node in dict.fromkeys(walk) if levels[node] == 0]
    for i, node in enumerate(leaves):
        place[node] = (float(i), 0.0)
    for node in sorted((node for node in graph if levels[node]), key=lambda node: levels[node]):
        below = [place[child][0] for child in graph.successors(node)]
        place[node] = (sum(below) / len(below), float(levels[node]))
    return _apart(place)


def _apart(place: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Return positions with a gap of one between neighbours of a layer."""
    moved: dict[str, tuple[float, float]] = {}
    for height in {y for _, y in place.values()}:
        layer = sorted((node for node in place if place[node][1] == height), key=lambda node: place[node][0])
        last = float("-inf")
        for node in layer:
            last = max(place[node][0], last + 1)
            moved[node] = (last, height)
        shift = sum(place[node][0] - moved[node][0] for node in layer) / len(layer)
        moved |= {node: (moved[node][0] + shift, height) for node in layer}
    return moved
