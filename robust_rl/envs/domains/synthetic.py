"""Random models."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.envs import checks
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP


def garnet(
    num_states: int = 100,
    num_actions: int = 5,
    branching: int = 5,
    *,
    seed: int = 0,
    rewards: Literal["uniform", "normal"] = "uniform",
) -> TabularMDP:
    """Return a Garnet: random successors with random probabilities.

    Each (s, a) has ``branching`` successors drawn without replacement; their probabilities are the gaps between ``branching - 1``
    sorted uniform numbers. All is drawn from ``numpy.random.default_rng(seed)``, in this order: successors (Floyd's algorithm,
    one vector of S*A draws for each successor), cuts of shape (S*A, branching - 1), rewards of shape (S, A).

    Parameters
    ----------
    num_states, num_actions, branching : int
        S, A and b, with b <= S.
    seed : int
        Same seed, same model.
    rewards : {"uniform", "normal"}
        r(s,a) ~ U[0, 1] or N(0, 1).

    Returns
    -------
    TabularMDP
        CSR, built without a dense array: time O(S A b^2), memory O(S A b). Starts in state 0, never ends.

    Raises
    ------
    InvalidArgumentError
        If b exceeds S, or a number is below 1.

    Notes
    -----
    Archibald, McKinnon and Thomas, "On the generation of Markov decision processes" (1995).
    """
    states, actions = checks.count("num_states", num_states), checks.count("num_actions", num_actions)
    branching, seed = checks.count("branching", branching), checks.count("seed", seed, 0)
    if branching > states:
        raise InvalidArgumentError(f"branching={branching} exceeds num_states={states}; successors are drawn without replacement")
    if rewards not in ("uniform", "normal"):
        raise InvalidArgumentError(f"rewards={rewards!r}; expected 'uniform' or 'normal'")
    rng = np.random.default_rng(seed)
    rows = states * actions
    successors = _distinct(rng, rows, states, branching)
    cuts = np.sort(rng.random((rows, branching - 1)), axis=1)
    probabilities = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    small = rows * branching <= np.iinfo(np.int32).max  # 32-bit pointers let the indices stay at 32 bits too
    pointers = np.arange(rows + 1, dtype=np.int32 if small else np.int64) * branching
    transitions = sparse.csr_array((probabilities.ravel(), successors.ravel(), pointers), shape=(rows, states))
    drawn = rng.random((states, actions)) if rewards == "uniform" else rng.standard_normal((states, actions))
    return TabularMDP(transitions, drawn)


def _distinct(rng: np.random.Generator, rows: int, states: int, size: int) -> NDArray[np.int32]:
    """Return for each row a uniformly drawn subset of 0..states-1, sorted: Floyd's algorithm on all rows at once.

    Step j draws t from 0..j and takes it, or j itself if t was taken before.
    """
    taken = np.empty((rows, size), dtype=np.int32)
    for column, last in enumerate(range(states - size, states)):
        draw = rng.integers(last + 1, size=rows, dtype=np.int32)
        repeated = (taken[:, :column] == draw[:, None]).any(axis=1)
        taken[:, column] = np.where(repeated, last, draw)
    taken.sort(axis=1)
    return taken
