"""Problems on a square grid. State ``row * side + column``; actions 0 left, 1 down, 2 right, 3 up; a step off the grid stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.domains import build
from robust_rl.models import TabularMDP

MOVES = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])


def gridworld(side: int = 5, *, step_reward: float = -0.01, goal_reward: float = 1.0, trap_reward: float = -1.0) -> TabularMDP:
    """Walk from the top left to the goal at the bottom right, past the trap at the bottom left. Every move is certain.

    Parameters
    ----------
    side : int
        At least 2.
    step_reward, goal_reward, trap_reward : float
        For entering (or staying in) a plain cell, the goal and the trap. Goal and trap pay in place of the step and end the
        episode, which the source leaves open.

    Returns
    -------
    TabularMDP
        Dense, rewards r(s,a,s') that depend on the cell s' alone, for every s'. The usual discount is 0.99.
    """
    side = checks.count("side", side, 2)
    n = side * side
    trap, goal = side * (side - 1), n - 1
    cells = np.full(n, float(step_reward))
    cells[goal], cells[trap] = goal_reward, trap_reward
    state, action = np.ogrid[:n, :4]
    transitions = np.zeros((n, 4, n))
    transitions[state, action, _targets(side)] = 1.0
    return TabularMDP(transitions, np.broadcast_to(cells, (n, 4, n)), terminal=[trap, goal])


def random_grid(side: int = 10, *, seed: int = 0) -> TabularMDP:
    """Look for one goal cell on a grid whose floor is slippery by a random amount.

    Drawn from ``numpy.random.default_rng(seed)`` in this order: the probability p ~ U(0, 1) that a move succeeds, otherwise it
    stays; and the goal, uniformly. Entering the goal pays 1 and ends the episode. That a failed move stays, and that the goal
    ends the episode, are our readings of the source.

    Parameters
    ----------
    side : int
        At least 2.
    seed : int
        Same seed, same grid.

    Returns
    -------
    TabularMDP
        Dense if small, else CSR; starts uniformly outside the goal. Rewards r(s,a,s') are 1 where s' is the goal.
    """
    side, seed = checks.count("side", side, 2), checks.count("seed", seed, 0)
    n = side * side
    rng = np.random.default_rng(seed)
    success, goal = rng.random(), int(rng.integers(n))
    state, action = np.ogrid[:n, :4]
    outcomes: list[build.Outcome] = [(state, action, _targets(side), success), (state, action, state, 1 - success)]
    start = np.where(np.arange(n) == goal, 0.0, 1 / (n - 1))
    return build.model(n, 4, outcomes, build.entering(n, 4, {goal: 1.0}), start=start, terminal=[goal])


def _targets(side: int) -> NDArray[Any]:
    """Return the cell that each action leads to, (S, 4)."""
    cells = np.stack(np.divmod(np.arange(side * side), side), axis=1)
    row, column = np.moveaxis(np.clip(cells[:, None] + MOVES, 0, side - 1), -1, 0)
    targets: NDArray[Any] = row * side + column
    return targets
