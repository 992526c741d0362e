"""Rock, paper, scissors with consequences: who wins the duel is likely to play the next one from an advantage.

==========  ========================================================================================================
states      0 duel; 1, 2 the advantage is player_0's, player_1's (W_0, W_1)
actions     0 rock, 1 paper, 2 scissors
payoff u    1 for a win, 1/2 for a draw, 0 for a loss
duel        each is paid u; next is the winner's W_i with probability ``lead`` (0.9) and else the loser's, after a draw
            either with equal chances
W_i         player i is paid (1 + u)/2, the other u/2; next is a duel
==========  ========================================================================================================

Over two steps, the default, both players' uniform play is an equilibrium: by symmetry it is worth 1/2 a step to each, 3/4 and
1/4 in W_i. The same holds against adversaries of equal radius, each of whom takes from its player what it can: robust values
fall, and stay equal. The game is our own.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.envs.games.table_game import COLOURS, IDLE, GameTable, Outcome, TableGame, aec_form, merged

DUEL = 0
ACTIONS = ("rock", "paper", "scissors")


class parallel_env(TableGame, RecordConstructorArgs):
    """The game in parallel form; the rules are in the module's table.

    Parameters
    ----------
    lead : float
        Probability that the winner of a duel has the advantage next.
    max_cycles : int or None
        Steps after which an episode is cut.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    """

    metadata = TableGame.metadata | {"name": "rock_paper_scissors_v0"}

    def __init__(self, lead: float = 0.9, max_cycles: int | None = 2, render_mode: str | None = None) -> None:
        RecordConstructorArgs.__init__(self, lead=lead, max_cycles=max_cycles, render_mode=render_mode)
        super().__init__(
            table(checks.probability("lead", lead)), np.eye(3)[DUEL], (3, 3), max_cycles=max_cycles, render_mode=render_mode
        )

    def text(self, state: int) -> str:
        """Return the state's name."""
        return "duel" if state == DUEL else f"advantage of player_{state - 1}"

    def picture(self, state: int) -> NDArray[np.uint8]:
        """Return the players, player_0 blue and player_1 red, the one with the advantage on a pedestal."""
        canvas = Canvas(144, 240)
        canvas.rectangle((120, 0), 24, 240, IDLE)
        for player, right in enumerate((72, 168)):
            lifted = 40 if state == 1 + player else 0
            canvas.rectangle((120 - lifted, right - 36), lifted, 72, "#e09f3e")
            canvas.disc((92 - lifted, right), 28, COLOURS[player])
        return canvas.pixels()


env, raw_env = aec_form(parallel_env)


def table(lead: float) -> GameTable:
    """Return the table of the game."""
    joint_actions = list(product(range(3), repeat=2))
    return {
        DUEL: {joint: _duel(joint, lead) for joint in joint_actions},
        1: {(a, b): [(1.0, DUEL, ((1 + payoff(a, b)) / 2, payoff(b, a) / 2), False)] for a, b in joint_actions},
        2: {(a, b): [(1.0, DUEL, (payoff(a, b) / 2, (1 + payoff(b, a)) / 2), False)] for a, b in joint_actions},
    }


def payoff(mine: int, yours: int) -> float:
    """Return u: 1 if ``mine`` beats ``yours``, 1/2 if they are the same, 0 if it loses."""
    return (0.5, 1.0, 0.0)[(mine - yours) % 3]


def _duel(joint: tuple[int, ...], lead: float) -> list[Outcome]:
    paid = (payoff(*joint), payoff(*joint[::-1]))
    ahead = {1.0: lead, 0.5: 0.5, 0.0: 1 - lead}[paid[0]]
    return merged([(ahead, 1, paid, False), (1 - ahead, 2, paid, False)])
