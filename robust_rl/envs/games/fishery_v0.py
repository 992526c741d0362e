"""A fishery with a threshold: at a collapse probability of catch/bounty, 0.05, the equilibrium turns into its opposite.

Two fleets share a fish stock. In the season each may protect the spawning ground or fish it, which pays at once; every fleet that
fishes it raises the probability that the stock collapses before the bounty, when a stock that stands feeds both.

==========  ========================================================================================================
states      0 season, 1 bounty, 2 collapse; a season comes first and follows after either
actions     0 protect, 1 fish; without effect outside the season
rewards     ``catch`` (0.05) for fishing in the season; ``bounty`` (1) to each in state 1; nothing in state 2
season      collapse with probability k p if k fleets fish, else bounty                                          (1)
==========  ========================================================================================================

With what the seasons to come are worth the same either way, fishing gains catch and loses p * bounty, whatever the other does:

    p < catch/bounty: (fish, fish) in every season        p > catch/bounty: (protect, protect) in every season         (2)

each in strictly dominant actions, so that it is the only Nash, correlated and coarse correlated equilibrium of any even horizon
(in a horizon's last season without a bounty to come, fishing is free). Two estimates of p as close as 0.049 and 0.051 thus give
opposite plans. An adversary who may only move mass where fish are at risk (``support="nominal"``) makes (protect, protect)
an equilibrium on both sides, and one who moves more where more is at risk (:class:`~robust_rl.ChiSquare`) makes it dominant.

The observation that kernels so close can have opposite equilibria is illustrated in arXiv:2404.18909 by a game of fishing
protection. Its payoffs are not known to us: this game is our own, and its numbers are not that paper's.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.envs.games.table_game import GameTable, TableGame, aec_form, merged
from robust_rl.errors import InvalidArgumentError

STATES = ("season", "bounty", "collapse")
SEASON, BOUNTY, COLLAPSE = range(3)
ACTIONS = ("protect", "fish")
PROTECT, FISH = range(2)


class parallel_env(TableGame, RecordConstructorArgs):
    """The game in parallel form; the rules are in the module's table.

    Parameters
    ----------
    p : float
        Probability, in [0, 0.5], by which each fleet that fishes raises that of a collapse.
    catch, bounty : float
        What fishing pays at once, and what a stock that stands pays each fleet.
    max_cycles : int or None
        Steps after which an episode is cut; two make a season and what follows.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    """

    metadata = TableGame.metadata | {"name": "fishery_v0"}

    def __init__(
        self,
        p: float = 0.049,
        catch: float = 0.05,
        bounty: float = 1.0,
        max_cycles: int | None = 10,
        render_mode: str | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(self, p=p, catch=catch, bounty=bounty, max_cycles=max_cycles, render_mode=render_mode)
        if checks.probability("p", p) > 0.5:
            raise InvalidArgumentError(f"p={p} is above 0.5; with both fleets fishing the stock collapses with probability 2 p")
        super().__init__(
            table(p, checks.number("catch", catch), checks.number("bounty", bounty)), np.eye(3)[SEASON], (2, 2),
            max_cycles=max_cycles, render_mode=render_mode,
        )  # fmt: skip

    def text(self, state: int) -> str:
        """Return the state's name."""
        return STATES[state]

    def picture(self, state: int) -> NDArray[np.uint8]:
        """Return the sea with its stock: a shoal in the season, a larger one at the bounty, bones of it after a collapse."""
        sea, fish, shoal = (("#9ad1e3", "#e09f3e", 6), ("#6fb9d6", "#e09f3e", 15), ("#b8b8a8", "#8d8d7d", 2))[state]
        canvas = Canvas(160, 288, sea)
        canvas.rectangle((0, 0), 28, 288, "#eef6fa")
        for boat, colour in ((60, "#2a6f97"), (190, "#d1495b")):
            canvas.rectangle((18, boat), 14, 48, colour)
            canvas.rectangle((4, boat + 20), 14, 10, colour)
        for index in range(shoal):
            row, column = divmod(index, 5)
            down, right = 58 + 34 * row, 40 + 52 * column + 12 * (row % 2)
            canvas.disc((down, right), 14, fish, squash=0.5)
            canvas.disc((down, right - 15), 6, fish)
        return canvas.pixels()


env, raw_env = aec_form(parallel_env)


def table(p: float, catch: float, bounty: float) -> GameTable:
    """Return the table of the game."""
    fed, hungry = (bounty, bounty), (0.0, 0.0)
    joint_actions = list(product((PROTECT, FISH), repeat=2))
    return {
        SEASON: {joint: _season(joint, p, catch) for joint in joint_actions},
        BOUNTY: {joint: [(1.0, SEASON, fed, False)] for joint in joint_actions},
        COLLAPSE: {joint: [(1.0, SEASON, hungry, False)] for joint in joint_actions},
    }


def _season(joint: tuple[int, ...], p: float, catch: float) -> list[Any]:
    risk, rewards = p * sum(joint), tuple(catch * action for action in joint)  # eq. 1
    return merged([(1 - risk, BOUNTY, rewards, False), (risk, COLLAPSE, rewards, False)])
