"""What the domains share: kernels from lists of outcomes, and rewards that belong to the state entered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from robust_rl.models import TabularMDP

DENSE_ENTRIES = 1_000_000  # up to here, 8 MB, a dense kernel keeps everything inspectable
Outcome = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
"""(states, actions, next states, probabilities), which broadcast against each other."""


def is_sparse(num_states: int, num_actions: int, sparse: bool | None) -> bool:
    """Return what the caller chose, or whether a dense kernel would have over a million entries, S*A*S."""
    return num_states * num_actions * num_states > DENSE_ENTRIES if sparse is None else sparse


def model(
    num_states: int, num_actions: int, outcomes: Iterable[Outcome], rewards: Any, *, sparse: bool | None = None, **keywords: Any
) -> TabularMDP:
    """Return the model whose kernel is the sum of the outcomes; dense if small, else CSR, which never was dense."""
    columns = [[part.ravel() for part in np.broadcast_arrays(*outcome)] for outcome in outcomes]
    state, action, successor, probability = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    shape = (num_states * num_actions, num_states)
    transitions: Any = csr_array((probability.astype(float), (state * num_actions + action, successor)), shape=shape)
    transitions.sum_duplicates()
    transitions.eliminate_zeros()
    if not is_sparse(num_states, num_actions, sparse):
        transitions = transitions.toarray().reshape(num_states, num_actions, num_states)
    return TabularMDP(transitions, rewards, **keywords)


def entering(num_states: int, num_actions: int, rewards: Mapping[int, float]) -> csr_array:
    """Return r(s,a,s') that depends on s' only, CSR of shape (S*A, S): an adversary who moves there pays it too."""
    rows = num_states * num_actions
    columns, values = np.array(list(rewards)), np.array(list(rewards.values()), dtype=float)
    return csr_array(
        (np.tile(values, rows), np.tile(columns, rows), np.arange(rows + 1) * len(columns)), shape=(rows, num_states)
    )


def state_blocks(num_states: int, size: int = 65_536) -> Iterator[slice]:
    """Yield ranges of states, so that what leads from them is written out a part at a time."""
    return (slice(begin, min(begin + size, num_states)) for begin in range(0, num_states, size))
