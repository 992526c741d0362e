"""Empirical Markov games: N next states drawn from every (h, s, a), the same number everywhere and before anything is learned.

    Phat_h(s'|s,a) = n_h(s, a, s') / N,     n_h(s, a, .) ~ Multinomial(N, P_h(.|s,a)),     independent over h, s and a      (1)

Counts of a known game are drawn in one vectorised multinomial for all rows of equally many successors; a simulator is asked for
its own. Stages are sampled apart even where one kernel serves them all: DR-NVI's analysis needs draws that are independent of
the later stages' values. Rewards are known.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidArgumentError
from robust_rl.models.markov_game import MarkovGame
from robust_rl.models.memory import require_memory


@runtime_checkable
class GameSimulator(Protocol):
    """What a simulator of a game must offer; its draws are its own, so whoever makes it gives it a seed.

    ============  =====================================================================================
    rewards       (n, S, A1..An) or (n, H, S, A1..An): what says how many agents, states and actions there are
    horizon       number of decisions H
    agents        optional, names
    start         optional, (S,) distribution of the first state
    terminal      optional, (S,) boolean: states that end an episode; never sampled
    ============  =====================================================================================
    """

    rewards: NDArray[np.float64]
    horizon: int

    def sample(self, h: int, s: int, a: tuple[int, ...], n: int) -> ArrayLike:
        """Return how often each state came next in n independent draws, (S,) integers that sum to n."""
        ...


def empirical_game(source: MarkovGame | GameSimulator, samples: int, rng: np.random.Generator) -> MarkovGame:
    """Return the game of eq. (1), in the layout of its source; of a simulator CSR.

    Parameters
    ----------
    source : MarkovGame with a horizon, or GameSimulator
    samples : int
        N >= 1; H S A1 .. An times as many are drawn in total.
    rng : numpy.random.Generator
        Draws from a game; dense and sparse forms of one game get the same draws. Simulators have their own.

    Raises
    ------
    InvalidArgumentError
        If N isn't a positive integer, the game has no horizon, the source is neither, or a simulator's counts aren't counts.
    InvalidModelError
        If the memory isn't there to hold the kernels of all stages.
    """
    if not isinstance(samples, (int, np.integer)) or isinstance(samples, bool) or samples < 1:
        raise InvalidArgumentError(f"samples is {samples!r}; it must be a positive integer, the draws from each (h, s, a)")
    if not isinstance(source, MarkovGame):
        return _from_simulator(source, int(samples))
    if source.horizon is None:
        raise InvalidArgumentError(f"{source!r} has no horizon; give one: game.replace(horizon=10)")
    rows, states = source.num_states * source.num_joint_actions, source.num_states
    if not source.is_sparse:
        require_memory(8.0 * source.horizon * rows * states, f"dense kernels of {source.horizon} stages", "give CSR transitions")
    drawn = [draw_counts(_active(source, h), int(samples), rng) for h in range(source.horizon)]
    if source.is_sparse:
        return source.replace(transitions=[sparse.csr_array(counts / float(samples)) for counts in drawn])
    dense = np.empty((source.horizon, states, *source.num_actions, states))
    for h, counts in enumerate(drawn):
        dense[h] = (counts / float(samples)).toarray().reshape(dense.shape[1:])
    return source.replace(transitions=dense)


def _active(game: MarkovGame, h: int) -> sparse.csr_array:
    """Return the kernel of a stage as CSR, without zeros and without the rows of terminal states."""
    kernel = game.kernel(h)
    matrix = sparse.csr_array(kernel if sparse.issparse(kernel) else kernel.reshape(-1, game.num_states), dtype=np.float64)
    active = np.repeat(~game.terminal, game.num_joint_actions)
    if not active.all() or not matrix.data.all():
        matrix = sparse.csr_array(sparse.diags_array(active.astype(float)) @ matrix)
        matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def draw_counts(kernel: sparse.csr_array, samples: int, rng: np.random.Generator) -> sparse.csr_array:
    """Return counts, CSR without zeros: one multinomial for all rows of one length."""
    lengths = np.diff(kernel.indptr)
    counts = np.zeros(kernel.nnz, dtype=np.int64)
    for length in np.unique(lengths[lengths > 0]):
        entries = kernel.indptr[:-1][lengths == length, None] + np.arange(length)
        p = kernel.data[entries]
        counts[entries] = rng.multinomial(samples, p / p.sum(axis=1, keepdims=True))
    drawn = sparse.csr_array((counts, kernel.indices, kernel.indptr), shape=kernel.shape).copy()
    drawn.eliminate_zeros()
    return drawn


def _from_simulator(source: Any, samples: int) -> MarkovGame:
    missing = [name for name in ("rewards", "horizon", "sample") if not hasattr(source, name)]
    if missing:
        raise InvalidArgumentError(
            f"{source!r} is neither a MarkovGame nor a simulator of one: it has no {', '.join(missing)}; see "
            "robust_rl.models.GameSimulator"
        )
    given = {name: getattr(source, name, None) for name in ("agents", "start", "terminal")}
    rewards = np.asarray(source.rewards, dtype=np.float64)
    shape = rewards.shape[-len(rewards) - 1 :]
    states, joint = shape[0], int(np.prod(shape[1:]))
    # validates all that isn't drawn, before anything is
    still = sparse.csr_array((np.ones(states * joint), (np.arange(states * joint), np.arange(states * joint) // joint)))
    plain = MarkovGame(still, rewards, horizon=source.horizon, **given)
    kernels = [_sampled_kernel(source, plain, h, samples) for h in range(source.horizon)]
    return plain.replace(transitions=kernels)


def _sampled_kernel(source: Any, game: MarkovGame, h: int, samples: int) -> sparse.csr_array:
    states, joint = game.num_states, game.num_joint_actions
    rows: list[NDArray[np.float64]] = []
    for row in range(states * joint):
        state, action = row // joint, tuple(map(int, np.unravel_index(row % joint, game.num_actions)))
        if game.terminal[state]:
            rows.append(np.zeros(states))
            continue
        counts = np.asarray(source.sample(h, state, action, samples))
        if counts.shape != (states,) or counts.sum() != samples or (counts < 0).any():
            raise InvalidArgumentError(
                f"the simulator's sample({game.row_name(row, h)}, n={samples}) is of shape {counts.shape} and sums to "
                f"{counts.sum()}; expected counts of the {states} states that sum to {samples}"
            )
        rows.append(counts / samples)
    return sparse.vstack([sparse.csr_array(part[None]) for part in rows], format="csr")
