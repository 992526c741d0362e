"""PettingZoo's parallel environments under RLlib.

RLlib 2.60 has a wrapper of its own. Its agents come out of a set, in an order that differs between processes; it gives no spaces
by agent, resets in its constructor, writes into the dictionaries of the environment, and leaves open what ends an episode whose
agents end differently. This one fixes the order and the spaces, and says what ends an episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from robust_rl.envs.one_hot import one_hot, one_hot_space
from robust_rl.errors import InvalidArgumentError
from robust_rl.rllib._compat import MultiAgentEnv

ByAgent = dict[str, Any]


class MarkovGameEnv(MultiAgentEnv):
    """A simultaneous game for RLlib.

    An episode ends when no agent is left: ``__all__`` is then ``terminated`` if every agent ended by terminating, else
    ``truncated``.

    Parameters
    ----------
    game : pettingzoo.ParallelEnv
        Kept as ``env.game``.
    one_hot : bool
        Whether finite observations become one-hot vectors, which RLlib's networks need.

    Raises
    ------
    InvalidArgumentError
        If the game isn't in parallel form.
    """

    def __init__(self, game: ParallelEnv, *, one_hot: bool = True) -> None:
        if not isinstance(game, ParallelEnv):
            raise InvalidArgumentError(f"{game!r} is no PettingZoo environment in parallel form")
        self.game = game
        self.possible_agents: list[str] = sorted(game.possible_agents)
        self.agents: list[str] = self.possible_agents[:]
        super().__init__()
        self._shown_as = {agent: _observer(game.observation_space(agent), one_hot) for agent in self.possible_agents}
        self.observation_spaces = {agent: space for agent, (space, _) in self._shown_as.items()}
        self.action_spaces = {agent: game.action_space(agent) for agent in self.possible_agents}
        self._terminated: set[str] = set()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[ByAgent, ByAgent]:
        """Begin an episode."""
        observations, infos = self.game.reset(seed=seed, options=options)
        self.agents, self._terminated = sorted(self.game.agents), set()
        return self._shown(observations), _small(infos)

    def step(self, action_dict: Mapping[str, Any]) -> tuple[ByAgent, ByAgent, ByAgent, ByAgent, ByAgent]:
        """Play one action of each live agent."""
        observations, rewards, terminated, truncated, infos = self.game.step(dict(action_dict))
        terminated = {agent: bool(ends) for agent, ends in terminated.items()}
        truncated = {agent: bool(ends) for agent, ends in truncated.items()}
        self._terminated |= {agent for agent, ends in terminated.items() if ends}
        self.agents = sorted(self.game.agents)
        over, by_rule = not self.agents, self._terminated >= set(self.possible_agents)
        terminated["__all__"], truncated["__all__"] = over and by_rule, over and not by_rule
        return self._shown(observations), {a: float(r) for a, r in rewards.items()}, terminated, truncated, _small(infos)

    def render(self) -> Any:
        """Return what the game renders."""
        return self.game.render()

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    def _shown(self, observations: Mapping[str, Any]) -> ByAgent:
        return {agent: self._shown_as[agent][1](seen) for agent, seen in observations.items()}


def _observer(space: Any, vectors: bool) -> tuple[Any, Any]:
    """Return the space in which an agent's observations are shown, and the function that puts them there."""
    try:
        shown = one_hot_space(space) if vectors else None
    except InvalidArgumentError:  # not finite
        shown = None
    if shown is None:
        return space, lambda observation: observation
    return shown, lambda observation: one_hot(space, observation)


def _small(infos: Mapping[str, Any]) -> ByAgent:
    """Return the scalars among the infos; RLlib keeps every info of an episode, and sends it to the learner."""
    return {agent: {key: value for key, value in info.items() if np.isscalar(value)} for agent, info in infos.items()}
