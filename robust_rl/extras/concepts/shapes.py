"""Trees of covers as plain values, and the steps from one to its neighbours.

A cover is ``(k, children)``: its number of latents and a frozenset of what all of them cause, names of observed variables or
further covers. G4 is ``(1, {X1, X2, X3, (2, {X4, ..., X8})})``. Equal graphs are equal values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import networkx as nx

from robust_rl.extras.concepts.minimal import cover_of

Shape = tuple[int, frozenset[Any]]


def shape_of(graph: nx.DiGraph, root: str) -> Shape | None:
    """Return the tree of covers below a latent, or None if the covers make no tree."""
    cover = cover_of(graph, root)
    below, parents = list(graph.successors(root)), {name: set(graph.predecessors(name)) for name in graph}
    if any(parents[child] != cover for child in below):
        return None
    children: set[Any] = {child for child in below if not graph.nodes[child]["latent"]}
    for child in below:
        if graph.nodes[child]["latent"]:
            if not cover_of(graph, child) <= set(below):
                return None
            children.add(shape_of(graph, child))
    return None if None in children else (len(cover), frozenset(children))


def graph_of_shape(shape: Shape, prefix: str = "_") -> nx.DiGraph:
    """Return the graph of a tree of covers, its observed variables first and sorted."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(sorted(leaves(shape)), latent=False)
    count = itertools.count(1)

    def add(part: Any) -> list[str]:
        if isinstance(part, str):
            return [part]
        names = [f"{prefix}{next(count)}" for _ in range(part[0])]
        graph.add_nodes_from(names, latent=True)
        for child in sorted(part[1], key=repr_of):
            graph.add_edges_from(itertools.product(names, add(child)))
        return names

    add(shape)
    return graph


def leaves(part: Any) -> frozenset[str]:
    """Return the observed variables of a part."""
    return frozenset([part]) if isinstance(part, str) else frozenset().union(*(leaves(child) for child in part[1]))


def repr_of(part: Any) -> tuple[int, str]:
    """Return a key that sorts parts the same way in every process."""
    return (0, part) if isinstance(part, str) else (1, repr((part[0], sorted(leaves(part)), sorted(map(repr_of, part[1])))))


def plain(part: Any) -> Any:
    """Return a part as lists, for JSON: ``[k, [children]]``."""
    return part if isinstance(part, str) else [part[0], [plain(child) for child in sorted(part[1], key=repr_of)]]


def shape_from(part: Any) -> Any:
    """Return a part from what :func:`plain` made of it."""
    return part if isinstance(part, str) else (part[0], frozenset(map(shape_from, part[1])))


def covers(shape: Shape) -> Iterator[Shape]:
    """Yield every cover of a tree, the root first."""
    yield shape
    for child in sorted(shape[1], key=repr_of):
        if not isinstance(child, str):
            yield from covers(child)


def replaced(part: Any, old: Any, new: list[Any]) -> Any:
    """Return a part with one of its parts replaced by others."""
    if isinstance(part, str):
        return part
    children = [child for child in part[1] if child != old]
    below = [replaced(child, old, new) for child in children]
    return part[0], frozenset([*below, *(new if old in part[1] else [])])


def neighbours(shape: Shape, max_cover: int) -> Iterator[Shape]:
    """Yield the trees that one step leads to, those that change most first.

    A cover takes one latent more or less; two covers become one that has the latents of both; a cover gives its children to its
    parent; a cover below the root becomes the root; a part moves to another cover; two neighbours of a cover get a node of their
    own between them and it.
    """
    seen = {shape}
    for found in itertools.chain(
        _resized(shape, max_cover), _fused(shape, max_cover), _turned(shape), _moved(shape), _split(shape), _lifted(shape)
    ):
        if found not in seen and _is_sound(found):
            seen.add(found)
            yield found


def _substituted(shape: Shape, old: Shape, new: list[Any]) -> Shape:
    found: Shape = new[0] if shape == old else replaced(shape, old, new)
    return found


def _resized(shape: Shape, max_cover: int) -> Iterator[Shape]:
    for cover in covers(shape):
        for k in (cover[0] + 1, cover[0] - 1):
            if 1 <= k <= max_cover:
                yield _substituted(shape, cover, [(k, cover[1])])


def _fused(shape: Shape, max_cover: int) -> Iterator[Shape]:
    for cover in covers(shape):
        below = sorted((child for child in cover[1] if not isinstance(child, str)), key=repr_of)
        for one, other in itertools.combinations(below, 2):
            for k in {one[0], other[0], min(one[0] + other[0], max_cover)}:
                yield _substituted(shape, cover, [(cover[0], cover[1] - {one, other} | {(k, one[1] | other[1])})])
        for child in below:
            for k in {cover[0], child[0], min(cover[0] + child[0], max_cover)}:
                yield _substituted(shape, cover, [(k, cover[1] - {child} | child[1])])


def _turned(shape: Shape) -> Iterator[Shape]:
    for child in sorted(shape[1], key=repr_of):
        if not isinstance(child, str):
            yield child[0], child[1] | {(shape[0], shape[1] - {child})}


def _moved(shape: Shape) -> Iterator[Shape]:
    parts = [child for cover in covers(shape) for child in sorted(cover[1], key=repr_of)]
    for part in parts:
        rest = replaced(shape, part, [])
        for cover in covers(rest):
            yield _substituted(rest, cover, [(cover[0], cover[1] | {part})])


def _split(shape: Shape) -> Iterator[Shape]:
    for cover in covers(shape):
        for pair in itertools.combinations(sorted(cover[1], key=repr_of), 2):
            yield _substituted(shape, cover, [(cover[0], cover[1] - set(pair) | {(1, frozenset(pair))})])


def _lifted(shape: Shape) -> Iterator[Shape]:
    """Yield trees with a new cover between a cover and its parent, which takes a child along: a split of child and parent."""
    for cover in covers(shape):
        for child in sorted(cover[1], key=repr_of):
            if cover != shape:
                yield replaced(shape, cover, [(1, frozenset([child, (cover[0], cover[1] - {child})]))])


def _is_sound(shape: Shape) -> bool:
    """Return whether each cover has children enough to be seen: k+1 variables below, and one more neighbour."""
    return all(
        sum(1 if isinstance(child, str) else child[0] for child in cover[1]) >= cover[0] + 1 + (cover == shape)
        for cover in covers(shape)
    )
