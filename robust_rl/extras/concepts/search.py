"""The search for a hierarchy from ranks of tables, from the leaves up.

    S = the observed variables; k = 1
    while two covers or more have no parent and k <= k_max:
        for S' = S with some latent covers replaced by their children, most first:                 # unfolding
            hits = covers C within S', |C| = k+1, with N the rest of S', |N| >= k+1, such that
                   rank(C, N) = K^k                                                                # k latents separate them
                   and every part C' of C has full rank K^|C'| against N                           # no collider
            if there are hits: merge those that agree; give each cluster a parent of k latents, known ones first; k = 1; go on
        if there are none: k = k + 1
    join what is left

Before each turn, if observed variables may have children (our counterpart of the set X in the linear search's tests):

    if a cover C and an observed variable X of S have rank(C, N | X = x) = 1 for each state x: C is a child of X and leaves S

C is a set of covers of whose variables there are k+1, or one cover with more than k variables (two latents with one common
parent). Variables of one known cluster V take part in C with at most |V| of theirs, for they share its parents already.

=======  ================  ==========================================================
symbol   here              meaning
=======  ================  ==========================================================
S        tree.active       covers without a parent
K        n_states          number of states of every latent variable
k        k                 latents of the cover that is looked for
C, N     c, n              the two sides of a rank question
=======  ================  ==========================================================

Source: Kong et al., arXiv:2406.00519, after the search of Dong et al., arXiv:2312.11001 (phase 2), with ranks of discrete tables
in place of covariances. The order of unfolding, the single cover and the absorption in minimal.py are ours: without them graphs
G3 and G6 are not found. Their refinement (phase 3) is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from robust_rl.extras.concepts.cover_tree import Block, Cover, CoverTree
from robust_rl.training import check_same_problem, read_json, write_json

FILE = "covers.json"


class Ranks(Protocol):
    """What answers questions about ranks: an exact table or a sample."""

    records: list[dict[str, Any]]
    """The questions that were asked."""

    def at_most(self, a: Sequence[Block], b: Sequence[Block], r: int) -> bool:
        """Return whether the rank of P(A,B) is at most r."""
        ...

    def given(self, name: str) -> Sequence[Ranks]:
        """Return what answers for each state of an observed variable."""
        ...

    def problem(self) -> dict[str, Any]:
        """Return what others would answer by, for checkpoints."""
        ...

    def restore(self, records: list[dict[str, Any]]) -> None:
        """Take up the questions that an earlier search asked."""
        ...


class CoverSearch:
    """The search as a :class:`~robust_rl.training.Trainable`: a step looks for clusters of one k and adopts them.

    Parameters
    ----------
    ranks
        Answers the questions.
    names
        The observed variables: one component, in which everything depends on everything.
    n_states
        K.
    max_cover
        Largest number of latents in a cover.
    observed_parents
        Whether observed variables may have children.

    Attributes
    ----------
    tree
        What has been found.
    """

    def __init__(
        self, ranks: Ranks, names: Sequence[str], n_states: int, max_cover: int = 2, *, observed_parents: bool = False
    ) -> None:
        self.ranks, self.n_states, self.max_cover, self.observed_parents = ranks, n_states, max_cover, observed_parents
        self.tree, self.k, self.joined = CoverTree(names), 1, False

    @property
    def done(self) -> bool:
        """Whether nothing more can be found."""
        return self.joined

    def step(self) -> Mapping[str, float]:
        """Adopt the clusters of the present k, or turn to the next k; at the end, join what is left."""
        if self.observed_parents and self._hang():
            self.k = 1
        elif len(self.tree.active) <= 2 or self.k > self.max_cover:
            self._join_rest()
            self.joined = True
        else:
            self.k = 1 if self._find_clusters() else self.k + 1
        latent = sum(known["latent"] for _, known in self.tree.graph.nodes(data=True))
        return {"search/latents": float(latent), "search/active": float(len(self.tree.active)), "search/k": float(self.k)}

    def save_checkpoint(self, directory: Path) -> None:
        """Write the tree as JSON."""
        tree = self.tree
        write_json(
            directory / FILE,
            self._problem()
            | {
                "records": self.ranks.records,
                "active": [list(cover) for cover in tree.active],
                "children": [[list(cover), [list(child) for child in below]] for cover, below in tree.children.items()],
                "nodes": [[node, known["latent"]] for node, known in tree.graph.nodes(data=True)],
                "edges": [list(edge) for edge in tree.graph.edges],
                "k": self.k,
                "joined": self.joined,
            },
        )

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        state = read_json(directory / FILE)
        check_same_problem(state, self._problem())
        self.ranks.restore(state["records"])
        tree = CoverTree(state["variables"])
        tree.graph.add_nodes_from((node, {"latent": latent}) for node, latent in state["nodes"])
        tree.graph.add_edges_from(state["edges"])
        tree.active = [tuple(cover) for cover in state["active"]]
        tree.children = {tuple(cover): [tuple(child) for child in below] for cover, below in state["children"]}
        self.tree, self.k, self.joined = tree, state["k"], state["joined"]

    def _problem(self) -> dict[str, Any]:
        names = [node for node, known in self.tree.graph.nodes(data=True) if not known["latent"]]
        own = {"variables": names, "states of the latents": self.n_states, "max_cover": self.max_cover}
        return own | {"observed_parents": self.observed_parents} | self.ranks.problem()

    def _hang(self) -> bool:
        """Hang one cover on an observed variable that separates it from all others; return whether there was one."""
        tree = self.tree
        for x, c in itertools.permutations(tree.active, 2):
            n = [tree.block(cover) for cover in tree.active if cover not in (x, c)]
            if n and not tree.is_latent(x) and all(ranks.at_most([tree.block(c)], n, 1) for ranks in self.ranks.given(x[0])):
                tree.hang(c, x[0])
                return True
        return False

    def _find_clusters(self) -> bool:
        for covers in self.tree.unfoldings():
            hits = [c for c in self._candidates(covers) if self._is_hit(c, covers)]
            adopted = [self.tree.adopt(cluster, self.k) for cluster in self._clusters(hits)]
            if any(adopted):
                return True
        return False

    def _candidates(self, covers: Sequence[Cover]) -> Iterator[tuple[Cover, ...]]:
        """Yield sets of covers with k+1 variables, and single covers with more than k."""
        for count in range(1, self.k + 2):
            for c in itertools.combinations(covers, count):
                size = sum(map(len, c))
                if (size == self.k + 1 or (count == 1 and size > self.k)) and not self._over_drawn(c):
                    yield c

    def _over_drawn(self, c: Sequence[Cover]) -> bool:
        """Return whether C takes more from a known cluster than the cluster has parents, or all from one."""
        above = [self.tree.parent(cover) for cover in c]
        if len(set(above)) == 1 and above[0] is not None:
            return True
        return any(
            known is not None and sum(len(cover) for cover, parent in zip(c, above, strict=True) if parent == known) > len(known)
            for known in set(above)
        )

    def _is_hit(self, c: Sequence[Cover], covers: Sequence[Cover]) -> bool:
        n = [self.tree.block(cover) for cover in covers if cover not in c]
        if sum(block.size for block in n) <= self.k:
            return False
        blocks = [self.tree.block(cover) for cover in c]
        if not self.ranks.at_most(blocks, n, self.n_states**self.k):
            return False
        parts = [part for count in range(1, len(blocks)) for part in itertools.combinations(blocks, count)]
        full = [(part, self.n_states ** sum(block.size for block in part)) for part in parts] or [
            (tuple(blocks), self.n_states**self.k)  # a single cover: exactly k separate it
        ]
        return not any(self.ranks.at_most(part, n, rank - 1) for part, rank in full)

    def _clusters(self, hits: Sequence[tuple[Cover, ...]]) -> Iterator[list[Cover]]:
        """Yield disjoint clusters in which every set of k+1 variables is a hit, or shares a known parent."""
        agreed, left = {frozenset(c) for c in hits}, list(hits)
        while left:
            cluster = list(left[0])
            for cover in dict.fromkeys(cover for c in left for cover in c):
                if cover not in cluster and self._agrees(cover, cluster, agreed):
                    cluster.append(cover)
            yield cluster
            left = [c for c in left if not set(c) & set(cluster)]

    def _agrees(self, cover: Cover, cluster: Sequence[Cover], agreed: set[frozenset[Cover]]) -> bool:
        sets = [
            (*c, cover)
            for count in range(1, self.k + 1)
            for c in itertools.combinations(cluster, count)
            if sum(map(len, c)) + len(cover) == self.k + 1
        ]
        return bool(sets) and all(frozenset(c) in agreed or self._over_drawn(c) for c in sets)

    def _join_rest(self) -> None:
        """Join the last two covers, with a common cause where fewer latents than they have separate them."""
        tree = self.tree
        if len(tree.active) != 2:
            return
        above, below = sorted(
            tree.active, key=lambda cover: (not tree.is_latent(cover), not tree.graph.out_degree(cover[0]), len(cover))
        )
        if not tree.graph.out_degree(above[0]):
            return
        for k in range(1, min(len(above), len(below))):
            if self.ranks.at_most([tree.block(above)], [tree.block(below)], self.n_states**k):
                tree.adopt([above, below], k)
                return
        tree.join(above, below)
