"""Observations of finite spaces as rows of the identity, for learners that take vectors only."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from robust_rl.envs.spaces import state_count, state_index
from robust_rl.models import TabularMDP


def one_hot_space(space: spaces.Space[Any]) -> spaces.Box:
    """Return the space of one-hot vectors, (S,) float32, over the elements of a finite space.

    Raises
    ------
    InvalidArgumentError
        If the space isn't finite.
    """
    return spaces.Box(0.0, 1.0, (state_count(space),), np.float32)


def one_hot(space: spaces.Space[Any], observation: Any) -> NDArray[np.float32]:
    """Return the one-hot vector of an observation.

    Examples
    --------
    >>> one_hot(spaces.Discrete(3), 1)
    array([0., 1., 0.], dtype=float32)
    """
    vector = np.zeros(state_count(space), dtype=np.float32)
    vector[state_index(space, observation)] = 1.0
    return vector


class OneHotObservation(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Show a finite observation as the one-hot vector of its :func:`~robust_rl.envs.state_index`.

    Parameters
    ----------
    env : gymnasium.Env
        With a finite observation space.

    Raises
    ------
    InvalidArgumentError
        If the space isn't finite.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        self.observation_space = one_hot_space(env.observation_space)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        """Return the vector."""
        return one_hot(self.env.observation_space, observation)

    def shift_table(self, model: TabularMDP) -> TabularMDP:
        """Return the model as it is: observations look different, states are the same."""
        return model
