"""The robust backup of a Markov game: every agent has an adversary of its own, and joint actions are what a row belongs to.

    Q_{i,h}(s, a) = r_{i,h}(s, a) + gamma min_{q in U_i(s,a)} sum_s' q(s') V_i(s')                                        (1)

This is the library's backup of a single agent whose actions are the joint actions. Rewards are added outside of it, so that a
kernel is laid out once for each different set: agents with equal sets share the layout, and so do stages with one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError, nearest
from robust_rl.models import MarkovGame, TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.uncertainty import Nominal, RectangularSet

Array = NDArray[np.float64]
GameUncertainty: TypeAlias = RectangularSet | Mapping[str, RectangularSet | None] | None


class GameBackup:
    """Eq. (1) for one game and its agents' sets.

    Parameters
    ----------
    game : MarkovGame
    uncertainty : mapping from agent to set, or one set for all
        ``None`` in place of a set is a nominal agent. Radii that differ by row have shape (S, M), joint actions in C order.
    discount : float
        gamma in [0, 1]; 1 over a finite horizon.

    Raises
    ------
    InvalidArgumentError
        If it isn't a game, or the mapping names an unknown agent or leaves one out.
    InvalidUncertaintyError
        If a set doesn't fit the game, or isn't rectangular in the joint action.
    """

    def __init__(self, game: MarkovGame, uncertainty: GameUncertainty, *, discount: float = 1.0) -> None:
        self.game, self.sets, self.discount = check_game(game), agent_sets(game, uncertainty), discount
        self._none_paid = np.zeros((game.num_states, game.num_joint_actions))
        self._stage = -1
        self._lay_out(0)

    def q_values(self, h: int, values: Array) -> Array:
        """Return Q of all agents at stage h, (n, S, A1..An), from their values of the next, (n, S); 0 in terminal states."""
        return np.stack([self.agent_q_values(h, i, value) for i, value in enumerate(values)])

    def agent_q_values(self, h: int, i: int, value: Array) -> Array:
        """Return Q of agent number i, (S, A1..An)."""
        game, operator = self.game, self.operator(h, i)
        operator.rows.memory[:] = 0.0  # root finders start from nothing: a run that is resumed has the same bits
        future = operator.q_values(value).reshape(game.num_states, *game.num_actions)
        rewards = game.stage_rewards(h)[i]
        if game.terminal.any():
            rewards = np.where(game.terminal.reshape(-1, *[1] * game.num_agents), 0.0, rewards)
        return np.asarray(rewards + future)  # eq. 1

    def operator(self, h: int, i: int) -> BellmanOperator:
        """Return the backup of agent number i without its rewards."""
        self._lay_out(h if self.game.has_stage_kernels else 0)
        return self._operators[i]

    def _lay_out(self, stage: int) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        game = self.game
        model = TabularMDP(game.kernel(stage), self._none_paid, start=game.start, terminal=game.terminal)
        different: list[BellmanOperator] = []
        self._operators: list[BellmanOperator] = []
        for chosen in self.sets:
            own = next((operator for operator in different if operator.uncertainty == chosen), None)
            if own is None:
                own = BellmanOperator(model, chosen, self.discount)
                different.append(own)
            self._operators.append(own)


def agent_sets(game: MarkovGame, uncertainty: Any) -> tuple[RectangularSet, ...]:
    """Return one set an agent, in their order; errors as of :class:`GameBackup`."""
    chosen = dict(uncertainty) if isinstance(uncertainty, Mapping) else dict.fromkeys(game.agents, uncertainty)
    known = f"agents are {', '.join(game.agents)}"
    for agent in chosen:
        if agent not in game.agents:
            raise InvalidArgumentError(f"an uncertainty set is given for {agent!r}; {known}{nearest(str(agent), game.agents)}")
    missing = [agent for agent in game.agents if agent not in chosen]
    if missing:
        raise InvalidArgumentError(
            f"no uncertainty set is given for {', '.join(missing)}; give None for a nominal agent; {known}"
        )
    for agent, one in chosen.items():
        if one is not None and not isinstance(one, RectangularSet):
            raise InvalidUncertaintyError(
                f'{one!r} of {agent} is no uncertainty set; give one such as TotalVariation(0.1, support="free")'
            )
        if one is not None and one.randomises:
            raise InvalidUncertaintyError(
                f"{one!r} of {agent} shares a budget among a state's actions; a game's sets must be rectangular in the joint "
                "action, such as TotalVariation"
            )
    return tuple(chosen[agent] or Nominal() for agent in game.agents)


def check_game(game: object) -> MarkovGame:
    """Return the game, or raise InvalidArgumentError saying how to get one."""
    if not isinstance(game, MarkovGame):
        raise InvalidArgumentError(
            f"game is {game!r}, not a MarkovGame; robust_rl.envs.tabular_game(...) makes one of an environment"
        )
    return game


def check_horizon(game: MarkovGame) -> int:
    """Return the horizon, or raise InvalidArgumentError if the game has none."""
    if game.horizon is None:
        raise InvalidArgumentError(f"{game!r} has no horizon; give one: game.replace(horizon=10)")
    return game.horizon
