"""Concepts from the labels of patches: what two patches have in common.

If patch p shows the concepts d_S and patch q shows d_T, then a label of p and one of q occur together exactly when they agree
on the concepts in both, given that all combinations of concepts occur. So in the bipartite graph of labels that occur together,
the connected components are the joint states of what S and T share: with K of them, one concept.

What only one patch shows is known up to a renaming within each state of the patch's other concept. The renaming that moves
cluster centres least is taken, and the concept is marked as not identified.

Source: the mixture oracle of Kivva et al. (2021), which stage (a) of Kong et al., arXiv:2406.00519 extends.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

Integers = NDArray[np.int64]
RARE = 0.01
"""Two labels that occur together in a smaller share of the rows of either do so by misclassification."""
SAME = 0.95
"""Two labellings that agree in more rows than this, up to names, are one concept."""


@dataclass
class Concept:
    """A concept by the patches that show it.

    Attributes
    ----------
    states
        Patch -> state of the concept for each label of the patch.
    identified
        Whether two patches agree on it, or one shows it alone.
    """

    states: dict[int, Integers]
    identified: bool = True
    votes: int = field(default=1)

    def codes(self, labels: Sequence[Integers], k: int) -> Integers:
        """Return its state in each row, by majority of its patches."""
        votes = sum(np.eye(k)[states[labels[patch]]] for patch, states in self.states.items())
        return np.asarray(np.asarray(votes).argmax(axis=1), np.int64)


def shared_states(one: Integers, other: Integers) -> tuple[int, Integers, Integers]:
    """Return the number of joint states of what two labellings share, and the state for each label of either."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)
    rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    together = (table > RARE * np.maximum(rows, 1)) & (table > RARE * np.maximum(columns, 1))
    size = sum(table.shape)
    adjacency = np.zeros((size, size), bool)
    adjacency[: len(table), len(table) :] = together
    count, states = connected_components(adjacency, directed=False)
    return int(count), states[: len(table)].astype(np.int64), states[len(table) :].astype(np.int64)


def aligned(states: Integers, guide: Integers, k: int) -> tuple[Integers, float]:
    """Return a renaming of a labelling (old state -> new) that agrees most with another, and the share of agreement."""
    table = np.zeros((k, k))
    np.add.at(table, (states, guide), 1)
    rows, columns = linear_sum_assignment(-table)
    return np.asarray(columns, np.int64), float(table[rows, columns].sum() / len(states))


def factor(labels: Sequence[Integers], centres: Sequence[NDArray[np.float64]], k: int) -> list[Concept]:
    """Return the concepts behind the labels of patches, the best supported first.

    Parameters
    ----------
    labels
        For each patch the label of each row; a patch with one label shows nothing.
    centres
        For each patch the centre of each label.
    k
        States of a concept.
    """
    concepts: list[Concept] = []
    for p, own in enumerate(labels):
        if own.max() + 1 == k:
            _add(concepts, {p: np.arange(k)}, labels, k)
    for p, q in itertools.combinations(range(len(labels)), 2):
        count, ours, theirs = shared_states(labels[p], labels[q])
        if count == k and labels[p].max() > 0 and labels[q].max() > 0:
            _add(concepts, {p: ours, q: theirs}, labels, k)
    concepts.sort(key=lambda concept: -concept.votes)
    return concepts + [rest for p in range(len(labels)) for rest in _leftover(p, concepts, centres[p], k)]


def _add(concepts: list[Concept], states: dict[int, Integers], labels: Sequence[Integers], k: int) -> None:
    """Add a concept, or what it says of further patches to one that is known."""
    new = Concept(states)
    codes = new.codes(labels, k)
    for known in concepts:
        names, agreement = aligned(codes, known.codes(labels, k), k)
        if agreement > SAME and not any(p in known.states and _differ(known.states[p], names[s]) for p, s in states.items()):
            known.states |= {patch: names[of_label] for patch, of_label in states.items()}
            known.votes += 1
            return
    concepts.append(new)


def _differ(one: Integers, other: Integers) -> bool:
    return bool(np.any(one != other))


def _leftover(patch: int, concepts: Sequence[Concept], centres: NDArray[np.float64], k: int) -> list[Concept]:
    """Return the concept that a patch of k^2 labels shows beside a single known one."""
    known = [concept for concept in concepts if patch in concept.states]
    if len(centres) != k * k or len(known) != 1:
        return []
    of_label = known[0].states[patch]
    groups = [np.flatnonzero(of_label == state) for state in range(k)]
    if any(len(group) != k for group in groups):
        return []
    states, offsets = np.zeros(k * k, np.int64), centres[groups[0]] - centres[groups[0]].mean(0)
    for group in groups:
        own = centres[group] - centres[group].mean(0)
        rows, columns = linear_sum_assignment(np.linalg.norm(own[:, None] - offsets[None], axis=-1))
        states[group[rows]] = columns
    return [Concept({patch: states}, identified=False)]
