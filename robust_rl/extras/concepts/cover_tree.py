"""What a search has found so far: covers, which covers each of them causes, and the covers nothing is known above.

A cover is a set of variables that act together: one observed variable, or the latents that separate their children from all else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx

Cover = tuple[str, ...]
"""Names of its variables, sorted."""


@dataclass(frozen=True)
class Block:
    """A cover as a rank test sees it.

    Attributes
    ----------
    measured
        The observed variables below it, or itself.
    size
        Its number of variables.
    """

    measured: tuple[str, ...]
    size: int


class CoverTree:
    """A forest of covers that grows from its leaves.

    Parameters
    ----------
    observed
        Names of the leaves.

    Attributes
    ----------
    active
        The covers that have no parent yet: S of the paper.
    children
        Latent cover -> the covers below it.
    graph
        The edges between single variables.
    """

    def __init__(self, observed: Sequence[str]) -> None:
        self.active: list[Cover] = [(name,) for name in observed]
        self.children: dict[Cover, list[Cover]] = {}
        self.graph: nx.DiGraph = nx.DiGraph()
        self.graph.add_nodes_from(observed, latent=False)

    def is_latent(self, cover: Cover) -> bool:
        """Return whether a cover has children."""
        return cover in self.children

    def parent(self, cover: Cover) -> Cover | None:
        """Return the cover above, if there is one."""
        return next((above for above, below in self.children.items() if cover in below), None)

    def measured(self, cover: Cover) -> tuple[str, ...]:
        """Return the observed variables below a cover."""
        if not self.is_latent(cover):
            return cover
        return tuple(itertools.chain.from_iterable(self.measured(child) for child in self.children[cover]))

    def block(self, cover: Cover) -> Block:
        """Return a cover as a rank test sees it."""
        return Block(self.measured(cover), len(cover))

    def unfoldings(self) -> Iterator[list[Cover]]:
        """Yield S with some of its latent covers replaced by their children, as many as possible first.

        With the fewest first, a new parent is drawn where a known one would do: on a chain of latents, a spurious root.
        """
        latent = [cover for cover in self.active if self.is_latent(cover)]
        for count in range(len(latent), -1, -1):
            for unfolded in itertools.combinations(latent, count):
                kept = [cover for cover in self.active if cover not in unfolded]
                yield kept + [child for cover in unfolded for child in self.children[cover]]

    def adopt(self, members: Iterable[Cover], k: int) -> bool:
        """Give members a common parent of k latents: known parents of theirs, filled up with new ones; return whether it changed.

        Members whose parents are known keep them; the others become children of the whole cover.
        """
        members = list(members)
        known = sorted({above for cover in members if (above := self.parent(cover)) is not None})
        orphans = [cover for cover in members if self.parent(cover) is None]
        names = sorted({name for cover in known for name in cover})
        if len(names) > k or not orphans or any(cover not in self.active for cover in (*known, *orphans)):
            return False
        fresh = [self._new_latent() for _ in range(k - len(names))]
        whole = tuple(sorted([*names, *fresh]))
        below = [child for cover in known for child in self.children.pop(cover)]
        self.children[whole] = below + orphans
        self.graph.add_edges_from((name, child) for name in whole for cover in orphans for child in cover)
        self.active = [cover for cover in self.active if cover not in known and cover not in orphans] + [whole]
        return True

    def hang(self, below: Cover, name: str) -> None:
        """Make an observed variable the parent of an active cover, which takes no further part: the variable separates it."""
        self.graph.add_edges_from((name, child) for child in below)
        self.active.remove(below)

    def join(self, above: Cover, below: Cover) -> None:
        """Make every variable of one active cover a cause of every variable of another."""
        self.graph.add_edges_from((name, child) for name in above for child in below)
        self.children.setdefault(above, []).append(below)
        self.active.remove(below)

    def _new_latent(self) -> str:
        name = f"\0{sum(known['latent'] for _, known in self.graph.nodes(data=True)) + 1}"
        self.graph.add_node(name, latent=True)
        return name
