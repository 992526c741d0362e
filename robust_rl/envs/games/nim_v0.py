"""Nim with an unsteady hand: two players take turns at one heap, and whoever takes the last stone wins.

==========  ========================================================================================================
state       the stones left, and whose turn it is: ``2 * stones + mover``; states 0 and 1, without stones, end the game
actions     take 1, 2 or 3 stones (action 0, 1, 2), or all that are left if they are fewer
slip        with this probability the hand takes a uniformly drawn number of 1 to 3 instead
rewards     1 to the player who takes the last stone, -1 to the other
start       ``stones`` (10) in the heap; either begins, with equal chances
==========  ========================================================================================================

Without slips the mover wins unless the stones are a multiple of 4 (Bouton 1901).

The game is turn-based, an AEC environment. ``parallel_env`` is its parallel form by PettingZoo's ``turn_based_aec_to_parallel``:
all agents hand in an action and the mover's alone counts. The table is that of the parallel game.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs, seeding
from numpy.typing import NDArray
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import turn_based_aec_to_parallel
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.envs.games.table_game import (
    COLOURS,
    GameTable,
    Outcome,
    checked_action,
    checked_render_mode,
    draw,
    first_state,
    merged,
)

MOST = 3


class raw_env(AECEnv, RecordConstructorArgs):  # type: ignore[misc]  # pettingzoo is untyped
    """The game in AEC form; the rules are in the module's table.

    Parameters
    ----------
    stones : int
        In the heap at the start.
    slip : float
        Probability that the hand takes another number of stones than meant.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    """

    metadata: dict[str, Any] = {"name": "nim_v0", "render_modes": ["ansi", "rgb_array"], "render_fps": 1}

    def __init__(self, stones: int = 10, slip: float = 0.0, render_mode: str | None = None) -> None:
        RecordConstructorArgs.__init__(self, stones=stones, slip=slip, render_mode=render_mode)
        self.P = table(checks.count("stones", stones), checks.probability("slip", slip))
        self.initial_state_distrib = np.repeat(np.eye(stones + 1)[stones] / 2, 2)
        self.render_mode = checked_render_mode(render_mode, self.metadata)
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []
        self.state_space: spaces.Discrete = spaces.Discrete(len(self.P))
        self._observation_spaces: dict[str, spaces.Discrete] = {
            agent: spaces.Discrete(len(self.P)) for agent in self.possible_agents
        }
        self._action_spaces: dict[str, spaces.Discrete] = {agent: spaces.Discrete(MOST) for agent in self.possible_agents}
        self.np_random, _ = seeding.np_random()
        self.position = 2 * stones

    def observation_space(self, agent: str) -> spaces.Discrete:
        """Return the space of state indices."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the agent's actions: one stone fewer than it means to take."""
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Set up the heap; ``options={"state": s}`` sets the state. A seed fixes all that follows."""
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        self.agents = self.possible_agents[:]
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0.0), dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self.position = first_state(self.initial_state_distrib, self.np_random, options)
        self.agent_selection = self.possible_agents[self.position % 2]

    def step(self, action: int | None) -> None:
        """Let the player whose turn it is take stones. Raises InvalidArgumentError for an unknown action."""
        mover = self.agent_selection
        if self.terminations[mover]:
            self._was_dead_step(action)
            return
        taken = checked_action({mover: action}, mover, self.action_space(mover))
        self.position, rewards, ends = draw(self.P[self.position][taken, taken], self.np_random)  # the other's doesn't count
        self._cumulative_rewards[mover] = 0.0
        self.rewards = dict(zip(self.agents, rewards, strict=True))
        self.terminations = dict.fromkeys(self.agents, ends)
        self.agent_selection = self.possible_agents[self.position % 2]
        self._accumulate_rewards()

    def observe(self, agent: str) -> np.int64:
        """Return the state's index."""
        return np.int64(self.position)

    def state(self) -> NDArray[np.intp]:
        """Return the state's index."""
        return np.array(self.position)

    def render(self) -> str | NDArray[np.uint8] | None:
        """Return the heap as ``render_mode`` says: text, or a picture of stones in the colour of the player whose turn it is."""
        stones, mover = divmod(self.position, 2)
        if self.render_mode == "ansi":
            return f"{'o' * stones}  ({stones} left, player_{mover} takes)" if stones else "no stones left"
        return _picture(stones, mover, len(self.P) // 2 - 1) if self.render_mode else None


def env(**arguments: Any) -> AECEnv:
    """Return the game in AEC form, refusing actions out of bounds or out of order."""
    return OrderEnforcingWrapper(AssertOutOfBoundsWrapper(raw_env(**arguments)))


def parallel_env(**arguments: Any) -> ParallelEnv:
    """Return the game in parallel form: all hand in an action, and that of the player whose turn it is counts."""
    return turn_based_aec_to_parallel(raw_env(**arguments))


def table(stones: int, slip: float) -> GameTable:
    """Return the table of the parallel game; states without stones end it and lead nowhere else."""
    joint_actions = list(product(range(MOST), repeat=2))
    drawn: GameTable = {over: {joint: [(1.0, over, (0.0, 0.0), True)] for joint in joint_actions} for over in (0, 1)}
    for left, mover in product(range(1, stones + 1), (0, 1)):
        drawn[2 * left + mover] = {joint: _turn(left, mover, joint[mover] + 1, slip) for joint in joint_actions}
    return drawn


def _turn(left: int, mover: int, meant: int, slip: float) -> list[Outcome]:
    won, nothing = ((1.0, -1.0), (-1.0, 1.0))[mover], (0.0, 0.0)
    outcomes: list[Outcome] = []
    for taken in range(1, MOST + 1):
        rest = max(left - taken, 0)
        chance = (1 - slip) * (taken == meant) + slip / MOST
        outcomes.append((chance, 2 * rest + 1 - mover, nothing if rest else won, rest == 0))
    return merged(outcomes)


def _picture(stones: int, mover: int, most: int) -> NDArray[np.uint8]:
    rows = -(-most // 10)
    canvas = Canvas(36 * rows, 36 * min(most, 10), "#f4f1ea")
    for index in range(stones):
        row, column = divmod(index, 10)
        canvas.disc((36 * row + 18, 36 * column + 18), 13, COLOURS[mover])
    return canvas.pixels()
