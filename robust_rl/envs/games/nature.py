"""The adversary as one more player of a game: ``nature``, who now and then picks what chance would have drawn.

With P(j | s, a) the probabilities of the outcomes j of a joint action, and radius rho, nature's action k makes

    Q(j | s, a, k) = (1 - rho) P(j | s, a) + rho 1{j = k}                                                    (1)

which lies in the ball of :class:`~robust_rl.Contamination` of that radius on nominal support, hence within total variation rho
of P, whatever nature plays and however it mixes. Nature moves together with the players, without knowledge of their actions; it
earns what they lose.

Source of the idea: Pinto et al., "Robust adversarial reinforcement learning", ICML 2017; the bound (1) is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from robust_rl.envs import checks
from robust_rl.envs.games.table_game import GameTable, Outcome, TableGame, merged
from robust_rl.errors import InvalidArgumentError, nearest

NATURE = "nature"


def with_nature(game: ParallelEnv, radius: float, *, against: str | Sequence[str]) -> AgainstNature:
    """Return a game with one more agent, ``"nature"``, within a ball around the game's own dynamics.

    Parameters
    ----------
    game : pettingzoo.ParallelEnv
        One of :mod:`robust_rl.envs.games` that has a table, without wrappers. It is not changed.
    radius : float
        rho of equation 1, in [0, 1].
    against : str or sequence of str
        The agents whose rewards nature's are the negative sum of; in a zero-sum game all of them would leave nothing to earn.

    Returns
    -------
    AgainstNature
        A parallel environment with a table, so that :func:`robust_rl.envs.tabular_game` and exact solvers take it too. Nature's
        action k picks outcome k of the joint action, counted round where there are fewer.

    Raises
    ------
    InvalidArgumentError
        If the game has no table or is wrapped, an agent is unknown, or the radius is out of range.

    Examples
    --------
    >>> from robust_rl.envs import games
    >>> game = with_nature(games.make("fishery", p=0.1), 0.2, against="player_0")
    >>> game.possible_agents
    ['player_0', 'player_1', 'nature']
    >>> [round(outcome[0], 3) for outcome in game.P[0][0, 1, 1]]  # player_1 fishes: 0.9 and 0.1, and nature wants the collapse
    [0.72, 0.28]
    """
    if not isinstance(game, TableGame):
        raise InvalidArgumentError(f"{game} is no bare game with a table; give one of robust_rl.envs.games without wrappers")
    players = game.possible_agents
    chosen = [against] if isinstance(against, str) else list(against)
    for agent in chosen:
        if agent not in players:
            raise InvalidArgumentError(f"against={agent!r}{nearest(agent, players)}; agents are {', '.join(players)}")
    return AgainstNature(game, checks.probability("radius", radius), [players.index(agent) for agent in chosen])


class AgainstNature(TableGame):
    """What :func:`with_nature` returns."""

    metadata = TableGame.metadata | {"name": "against_nature"}

    def __init__(self, game: TableGame, radius: float, losers: Sequence[int]) -> None:
        self.game, self.radius = game, radius
        self.outcomes = max(len(outcomes) for by_action in game.P.values() for outcomes in by_action.values())
        sizes = [int(game.action_space(agent).n) for agent in game.possible_agents]
        table: Any = NatureTable(game.P, radius, losers, self.outcomes)
        super().__init__(
            table, game.initial_state_distrib, [*sizes, self.outcomes], max_cycles=game.max_cycles, render_mode=game.render_mode
        )
        self._name_agents([*game.possible_agents, NATURE])

    def text(self, state: int) -> str:
        """Return a state as the game shows it."""
        return self.game.text(state)

    def picture(self, state: int) -> NDArray[Any]:
        """Return a state as the game shows it."""
        return self.game.picture(state)

    def _name_agents(self, names: list[str]) -> None:
        by_old = dict(zip(self.possible_agents, names, strict=True))
        self._observation_spaces = {by_old[agent]: space for agent, space in self._observation_spaces.items()}
        self._action_spaces: dict[str, spaces.Discrete] = {by_old[agent]: space for agent, space in self._action_spaces.items()}
        self.possible_agents = names


class NatureTable(Mapping[int, Any]):
    """The table of equation 1, computed where it is looked at: written out it would be K times as large, K outcomes a row."""

    def __init__(self, table: GameTable, radius: float, losers: Sequence[int], outcomes: int) -> None:
        self.table, self.radius, self.losers, self.outcomes = table, radius, losers, outcomes

    def __getitem__(self, state: int) -> Mapping[tuple[int, ...], list[Outcome]]:
        return _Row(self, self.table[state])

    def __iter__(self) -> Iterator[int]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


class _Row(Mapping[tuple[int, ...], list[Outcome]]):
    """The entries of one state."""

    def __init__(self, owner: NatureTable, by_action: Mapping[tuple[int, ...], list[Outcome]]) -> None:
        self.owner, self.by_action = owner, by_action

    def __getitem__(self, joint: tuple[int, ...]) -> list[Outcome]:
        *players, k = joint
        outcomes, rho = self.by_action[tuple(players)], self.owner.radius
        picked = k % len(outcomes)
        return merged(
            [
                ((1 - rho) * p + rho * (j == picked), successor, (*rewards, -sum(rewards[i] for i in self.owner.losers)), ends)
                for j, (p, successor, rewards, ends) in enumerate(outcomes)  # eq. 1
            ]
        )

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return ((*joint, k) for joint, k in product(self.by_action, range(self.owner.outcomes)))

    def __len__(self) -> int:
        return len(self.by_action) * self.owner.outcomes
