"""What the domains share: kernels from lists of outcomes, and rewards that belong to the state entered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from robust_rl.models import TabularMDP

DENSE_ENTRIES = 1_000_000  # up to here, 8 MB, a dense kernel keeps everything inspectable
Outcome = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""(states, actions, next states, probabilities), which broadcast against each other."""


def model(num_states: int, num_actions: int, outcomes: Iterable[Outcome], rewards: Any, **keywords: Any) -> TabularMDP:
    """Return the model whose kernel is the sum of the outcomes; dense if small, else CSR."""
    columns = [[part.ravel() for part in np.broadcast_arrays(*outcome)] for outcome in outcomes]
    state, action, successor, probability = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    shape = (num_states * num_actions, num_states)
    transitions: Any = sparse.csr_array((probability.astype(float), (state * num_actions + action, successor)), shape=shape)
    transitions.sum_duplicates()
    transitions.eliminate_zeros()
    if num_states * num_actions * num_states <= DENSE_ENTRIES:
        transitions = transitions.toarray().reshape(num_states, num_actions, num_states)
    return TabularMDP(transitions, rewards, **keywords)


def entering(num_states: int, num_actions: int, rewards: Mapping[int, float]) -> sparse.csr_array:
    """Return r(s,a,s') that depends on s' only, CSR of shape (S*A, S): an adversary who moves there pays it too."""
    rows = num_states * num_actions
    columns, values = np.array(list(rewards)), np.array(list(rewards.values()), dtype=float)
    return sparse.csr_array(
        (np.tile(values, rows), np.tile(columns, rows), np.arange(rows + 1) * len(columns)), shape=(rows, num_states)
    )
