"""Littman's soccer: two players on a grid of 4 rows and 5 columns, one ball.

==============  ====================================================================================================
state           cells of the two players, which differ, and who has the ball: 20 * 19 * 2 = 760, see :func:`decode`
actions         north, east, south, west, stay
moves           both players' moves are carried out one after the other, in an order drawn with equal chances. A move into
                the other's cell isn't made, and the ball goes to the one who stood still; a move off the grid isn't made
goals           the edges of the two middle rows: ``player_0`` scores to the right, ``player_1`` to the left, by moving off
                the grid there with the ball. The rest of the joint move is not carried out
rewards         1 to the scorer and -1 to the other
after a goal    ``"restart"``: back to the start, the ball to either with equal chances (Littman's rule, for a discount of .9
                or a horizon); ``"end"``: the episode ends
start           ``player_0`` in row 2, column 1, ``player_1`` in row 1, column 3 (from 0), which is the same seen from the other
                goal; the ball to either with equal chances
slip            each player's chosen move is replaced, independently and with this probability, by one drawn uniformly from all
                five: 0 is Littman's game, more is slippery ground
==============  ====================================================================================================

Source: Littman, "Markov games as a framework for multi-agent reinforcement learning", ICML 1994. The rules are his; the start's
cells, which he gives in a figure, and the slips are ours.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.envs.games.table_game import COLOURS, GameTable, Outcome, TableGame, aec_form, merged
from robust_rl.errors import InvalidArgumentError

ROWS, COLUMNS, GOAL_ROWS = 4, 5, (1, 2)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))
ACTIONS = ("north", "east", "south", "west", "stay")
Cell = tuple[int, int]
KICK_OFF: tuple[Cell, Cell] = ((2, 1), (1, 3))


class Position(NamedTuple):
    """Where the players are, as (row, column), and which of them has the ball."""

    players: tuple[Cell, Cell]
    owner: int


CELLS = list(product(range(ROWS), range(COLUMNS)))
POSITIONS = [Position((mine, yours), owner) for mine in CELLS for yours in CELLS if mine != yours for owner in (0, 1)]
INDEX = {position: index for index, position in enumerate(POSITIONS)}


class parallel_env(TableGame, RecordConstructorArgs):
    """The game in parallel form; the rules are in the module's table.

    Parameters
    ----------
    slip : float
        Probability that a player's move is replaced by one drawn uniformly from all five.
    after_goal : {"restart", "end"}
        What a goal does, besides its rewards.
    max_cycles : int or None
        Steps after which an episode is cut.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    """

    metadata = TableGame.metadata | {"name": "soccer_v0"}

    def __init__(
        self, slip: float = 0.0, after_goal: str = "restart", max_cycles: int | None = 100, render_mode: str | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, slip=slip, after_goal=after_goal, max_cycles=max_cycles, render_mode=render_mode)
        if after_goal not in ("restart", "end"):
            raise InvalidArgumentError(f"after_goal={after_goal!r}; expected 'restart' or 'end'")
        super().__init__(
            table(checks.probability("slip", slip), after_goal == "end"),
            np.array([position.players == KICK_OFF for position in POSITIONS]) / 2,
            (len(MOVES), len(MOVES)),
            max_cycles=max_cycles,
            render_mode=render_mode,
        )

    def text(self, state: int) -> str:
        """Return the field, players 0 and 1, the one with the ball in brackets."""
        (mine, yours), owner = decode(state)
        marks = {mine: "(0)" if owner == 0 else " 0 ", yours: "(1)" if owner == 1 else " 1 "}
        rows = []
        for row in range(ROWS):
            edge = " " if row in GOAL_ROWS else "|"
            rows.append(edge + "".join(marks.get((row, column), " . ") for column in range(COLUMNS)) + edge)
        return "\n".join(rows)

    def picture(self, state: int) -> NDArray[np.uint8]:
        """Return the field: player_0 blue, player_1 red, goals in the colour of whom they count for, the ball white."""
        size = 48
        canvas = Canvas(ROWS * size, (COLUMNS + 1) * size, "#7f8c8d")
        for row, column in CELLS:
            shade = "#8fc98f" if (row + column) % 2 else "#84bf84"
            canvas.rectangle((row * size, column * size + size / 2), size, size, shade)
        for row in GOAL_ROWS:
            canvas.rectangle((row * size, 0), size, size / 2, COLOURS[1])
            canvas.rectangle((row * size, COLUMNS * size + size / 2), size, size / 2, COLOURS[0])
        players, owner = decode(state)
        for player, (row, column) in enumerate(players):
            centre = (row * size + size / 2, column * size + size)
            canvas.disc(centre, size * 0.38, COLOURS[player])
            if player == owner:
                canvas.disc(centre, size * 0.16, "#ffffff")
        return canvas.pixels()


env, raw_env = aec_form(parallel_env)


def decode(state: int) -> Position:
    """Return what a state's index stands for."""
    return POSITIONS[state]


def encode(position: Position) -> int:
    """Return the index of a state."""
    return INDEX[position]


def table(slip: float, goals_end: bool) -> GameTable:
    """Return the table of the game with slippery ground."""
    sure = _without_slips(goals_end)
    if slip == 0:
        return {state: dict(by_action) for state, by_action in sure.items()}
    chance = (1 - slip) * np.eye(len(MOVES)) + slip / len(MOVES)  # (chosen, carried out)
    return {state: {joint: _slipped(by_action, joint, chance) for joint in by_action} for state, by_action in sure.items()}


def _slipped(by_action: dict[tuple[int, ...], list[Outcome]], chosen: tuple[int, ...], chance: NDArray[Any]) -> list[Outcome]:
    return merged(
        [
            (chance[chosen[0], done[0]] * chance[chosen[1], done[1]] * probability, *rest)  # type: ignore[misc]
            for done, outcomes in by_action.items()
            for probability, *rest in outcomes
        ]
    )


@cache
def _without_slips(goals_end: bool) -> GameTable:
    return {
        state: {
            joint: merged([o for order in ((0, 1), (1, 0)) for o in _play(position, joint, order, goals_end)])
            for joint in product(range(len(MOVES)), repeat=2)
        }
        for state, position in enumerate(POSITIONS)
    }


def _play(position: Position, joint: tuple[int, ...], order: tuple[int, ...], goals_end: bool) -> list[Outcome]:
    """Return the outcomes of a joint move whose parts are carried out in the given order, which has a chance of 1/2."""
    players, owner = list(position.players), position.owner
    for player in order:
        row, column = (here + by for here, by in zip(players[player], MOVES[joint[player]], strict=True))
        if owner == player and row in GOAL_ROWS and column == (COLUMNS, -1)[player]:
            rewards = (1.0, -1.0) if player == 0 else (-1.0, 1.0)
            return [(0.25, encode(Position(KICK_OFF, first)), rewards, goals_end) for first in (0, 1)]
        if (row, column) == players[1 - player]:
            owner = 1 - player  # the one who stands keeps or takes the ball
        elif (row, column) in CELLS:
            players[player] = (row, column)
    return [(0.5, encode(Position((players[0], players[1]), owner)), (0.0, 0.0), False)]
