"""Next states drawn from every state and action, block by block, as counts.

The states are cut into blocks of a fixed size, each with a seed spawned from one:

    counts_b ~ N draws from each (s, a) of block b, with child b of SeedSequence(seed)                                       (1)

so that blocks may be drawn anywhere and in any order: the counts are the same for any number of workers. What comes back is
counts, (next state, how often), whose size the successors bound, and never the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from robust_rl.errors import InvalidArgumentError
from robust_rl.models.empirical_game import draw_counts
from robust_rl.models.generative import GenerativeModel, as_simulator, available_actions, terminal_states
from robust_rl.models.row_block import RowSource
from robust_rl.models.tabular import TabularMDP

BLOCK = 4096  # states; another number gives other draws
Map = Callable[..., Iterable[Any]]


def sampled_counts(
    world: TabularMDP | RowSource | GenerativeModel, samples: int, *, seed: int = 0, block: int = BLOCK, map: Map = map
) -> sparse.csr_array:
    """Draw N next states from every available state and action.

    Parameters
    ----------
    world
        A model or a source of rows, from which each row is one multinomial draw; or a simulator, which is asked.
    samples : int
        N >= 1.
    seed : int
    block : int
        States a block. Part of what the result depends on, so leave it alone to compare results.
    map : callable
        What calls a function on every block, in order: the built-in ``map``, that of a process pool, or
        :func:`robust_rl.rllib.ray_map`.

    Returns
    -------
    CSR of int64, (S*A, S)
        Rows of terminal states and unavailable actions are empty.

    Raises
    ------
    InvalidArgumentError
        If N isn't a positive integer, or the world is none.

    Examples
    --------
    >>> from robust_rl.models import HashedGarnet
    >>> counts = sampled_counts(HashedGarnet(1000, 2, 3), 50)
    >>> counts.shape, int(counts.sum())
    ((2000, 1000), 100000)
    """
    if not isinstance(samples, int | np.integer) or isinstance(samples, bool) or samples < 1:
        raise InvalidArgumentError(f"samples is {samples!r}; it must be a positive integer, the draws from each (s, a)")
    source: Any = world if isinstance(world, TabularMDP | RowSource) else as_simulator(world)
    cuts = [*range(0, source.num_states, block), source.num_states]
    seeds = np.random.SeedSequence(seed).spawn(len(cuts) - 1)
    return sparse.csr_array(
        sparse.vstack(list(map(partial(_draw_block, source, int(samples)), cuts[:-1], cuts[1:], seeds)), "csr")
    )


def _draw_block(source: Any, samples: int, first: int, last: int, seed: np.random.SeedSequence) -> sparse.csr_array:
    """Return eq. (1) of states ``first`` to ``last - 1``, ((last - first) A, S)."""
    rng = np.random.default_rng(seed)
    if isinstance(source, TabularMDP):
        rows = slice(first * source.num_actions, last * source.num_actions)
        return draw_counts(_active(source.csr()[rows], source.active_rows[rows]), samples, rng)
    if isinstance(source, RowSource):
        part = source.rows(first, last)
        return draw_counts(_active(part.csr(), part.active_rows), samples, rng)
    return _ask(source, samples, first, last, rng)


def _active(kernel: sparse.csr_array, active: Any) -> sparse.csr_array:
    """Return the kernel in double precision without zeros and without rows that mean nothing."""
    matrix = sparse.csr_array(sparse.diags_array(active.astype(float)) @ kernel)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _ask(simulator: GenerativeModel, samples: int, first: int, last: int, rng: np.random.Generator) -> sparse.csr_array:
    available = available_actions(simulator)[first:last] & ~terminal_states(simulator)[first:last, None]
    columns, counts, lengths = [], [], np.zeros(available.size, dtype=np.int64)
    for row in np.flatnonzero(available):
        state, action = divmod(int(row), simulator.num_actions)
        to, often = np.unique(simulator.sample(first + state, action, samples, rng), return_counts=True)
        columns.append(to)
        counts.append(often)
        lengths[row] = len(to)
    empty = [np.zeros(0, dtype=np.int64)]
    ptr = np.append(0, np.cumsum(lengths))
    return sparse.csr_array(
        (np.concatenate(counts or empty), np.concatenate(columns or empty), ptr), shape=(available.size, simulator.num_states)
    )
