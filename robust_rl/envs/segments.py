"""Preferences between two stretches of play, in place of an environment's rewards.

Two segments of up to L steps are compared by their returns, the sums of their rewards:

    P(first beats second) = sigmoid( (R_1 - R_2) / temperature )                                          (1)

which is the Bradley-Terry model of preferences between clips of trajectories (Christiano et al. 2017, arXiv:1706.03741). The
agent sees who won, and no reward.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.preferences import bradley_terry
from robust_rl.envs.spaces import state_count, state_index
from robust_rl.errors import InvalidArgumentError


class Segment(NamedTuple):
    """A stretch of play: ``states`` and ``actions``, (L,) each, indices from 0."""

    states: NDArray[np.intp]
    actions: NDArray[np.intp]


class Preference(NamedTuple):
    """Two segments of which the first was preferred."""

    winner: Segment
    loser: Segment


class SegmentPreferences(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Hide the rewards of a discrete environment; say instead which of two segments was preferred.

    A segment ends after ``segment_length`` steps or with its episode. Each time a second one is complete, ``info["preference"]``
    is a :class:`Preference` and the next pair begins; ``reset`` drops a segment that isn't complete. Rewards are 0 throughout.
    Labels are drawn from the environment's own ``np_random``, so ``reset(seed=...)`` fixes them.

    Parameters
    ----------
    env : gymnasium.Env
        With Discrete actions and a finite observation space.
    segment_length : int
        L.
    temperature : float
        Of equation 1, in units of return; the smaller, the surer the judge.

    Raises
    ------
    InvalidArgumentError
        If a space isn't finite or an argument out of range.

    Examples
    --------
    >>> env = SegmentPreferences(gymnasium.make("FrozenLake-v1"), segment_length=2)
    >>> env.reset(seed=0) and [sorted(env.step(0)[4].keys() - {"prob"}) for _ in range(4)]
    [[], [], [], ['preference']]
    """

    _return: float
    _state: int

    def __init__(self, env: gymnasium.Env[Any, Any], segment_length: int, temperature: float = 1.0) -> None:
        RecordConstructorArgs.__init__(self, segment_length=segment_length, temperature=temperature)
        gymnasium.Wrapper.__init__(self, env)
        if not isinstance(env.action_space, spaces.Discrete):
            raise InvalidArgumentError(f"{env} has the action space {env.action_space}; segments need Discrete actions")
        state_count(env.observation_space)  # refuses an infinite one
        self.segment_length = checks.count("segment_length", segment_length)
        self.temperature = checks.positive("temperature", temperature)
        self._first_action = int(env.action_space.start)
        self._forget()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and a new segment; a complete first segment stays unless a seed is given."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._forget()
        self._open(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play on; the reward goes to the judge and not to the agent."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._states.append(self._state)
        self._actions.append(int(action) - self._first_action)
        self._return += float(reward)
        self._state = state_index(self.env.observation_space, observation)
        if len(self._states) == self.segment_length or terminated or truncated:
            self._close()
            if len(self._complete) == 2:
                info = {**info, "preference": self._judged()}
        return observation, 0.0, terminated, truncated, info

    def _forget(self) -> None:
        self._complete: list[tuple[Segment, float]] = []
        self._states: list[int] = []
        self._actions: list[int] = []
        self._return, self._state = 0.0, 0

    def _open(self, observation: Any) -> None:
        self._states, self._actions, self._return = [], [], 0.0
        self._state = state_index(self.env.observation_space, observation)

    def _close(self) -> None:
        segment = Segment(np.array(self._states, dtype=np.intp), np.array(self._actions, dtype=np.intp))
        self._complete.append((segment, self._return))
        self._states, self._actions, self._return = [], [], 0.0

    def _judged(self) -> Preference:
        (first, its_return), (second, other_return) = self._complete
        self._complete = []
        wins = bradley_terry(its_return / self.temperature, other_return / self.temperature, self.env.unwrapped.np_random)
        return Preference(first, second) if wins else Preference(second, first)
