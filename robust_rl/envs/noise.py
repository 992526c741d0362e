"""Noise between agent and environment, as wrappers and, for action noise, as an exact change of the table.

With probability q the action that is executed isn't the agent's but one drawn uniformly from those available:

    P_q(s'|s,a) = (1 - q) P(s'|s,a) + q/|A(s)| sum_{a' in A(s)} P(s'|s,a')                                (1)

Both wrappers draw from the environment's own ``np_random``, so ``reset(seed=...)`` fixes the noise too; noise of size 0 draws
nothing and leaves every trajectory as it was.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from scipy import sparse

from robust_rl.envs import checks
from robust_rl.envs.mixing import combine
from robust_rl.envs.spaces import state_count, state_observation
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularEnv, TabularMDP


def with_action_noise(model: TabularMDP, probability: float) -> TabularMDP:
    """Return the model in which each action is replaced, with a probability, by a uniformly drawn available one (equation 1).

    Rewards r(s,a) become their mixture's mean; rewards r(s,a,s') the conditional mean given s'. Terminal states and actions that
    aren't available keep their rows. The layout, dense or sparse, stays; probability 0 returns ``model`` itself.

    Raises
    ------
    InvalidArgumentError
        If the probability isn't in [0, 1].
    """
    q = checks.probability("action_noise", probability)
    if q == 0:
        return model
    states, actions = model.num_states, model.num_actions
    active = model.active_rows.reshape(states, actions)
    share = active / np.maximum(active.sum(axis=1, keepdims=True), 1)  # 1/|A(s)|, and 0 where no noise can strike
    keep = sparse.diags_array(np.where(active, 1 - q, 1.0).ravel())
    rows, columns = np.arange(states * actions) // actions, np.arange(states * actions)
    mean = sparse.csr_array((share.ravel(), (rows, columns)), shape=(states, states * actions))
    mean.eliminate_zeros()  # entries of 0 would spread NaN from rows that mean nothing
    spread = sparse.csr_array((q * active.ravel(), (columns, rows)), shape=(states * actions, states))
    return combine([(lambda values: keep @ values + spread @ (mean @ values), model)])


class ActionNoise(gymnasium.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """With a probability, replace the action by one drawn uniformly from the action space.

    Over a :class:`~robust_rl.models.TabularEnv` it's drawn from the actions that the model allows in the present state. An
    ``info["action_mask"]`` alone (Taxi's, say) is advice and not obeyed, so that the wrapper and :meth:`shift_table` agree.

    Parameters
    ----------
    env : gymnasium.Env
        With a finite or a bounded Box action space.
    probability : float
        In [0, 1].

    Raises
    ------
    InvalidArgumentError
        If the probability is out of range, or no action can be drawn uniformly.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], probability: float) -> None:
        RecordConstructorArgs.__init__(self, probability=probability)
        gymnasium.ActionWrapper.__init__(self, env)
        self.probability = checks.probability("action_noise", probability)
        _check_uniform(env.action_space, "action_noise")

    def action(self, action: Any) -> Any:
        """Return the action that is executed."""
        if self.probability == 0 or self.np_random.random() >= self.probability:
            return action
        inner = self.unwrapped
        if isinstance(inner, TabularEnv):
            allowed = np.flatnonzero(inner.model.action_mask[inner.state])
            return int(self.np_random.choice(allowed)) if allowed.size else action
        return _draw(self.action_space, self.np_random)

    def shift_table(self, model: TabularMDP) -> TabularMDP:
        """Return the model of the wrapped environment, given the model inside."""
        return with_action_noise(model, self.probability)


class ObservationNoise(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Add noise to what the agent sees; the state itself is untouched.

    An environment seen so is partially observed and has no table.

    Parameters
    ----------
    env : gymnasium.Env
        With a floating-point Box or a finite observation space.
    size : float
        For a Box: standard deviation of Gaussian noise on each coordinate, in the observation's own units; the sum is clipped to
        the space. For a finite space: probability that the observation is replaced by one drawn uniformly from the space.

    Raises
    ------
    InvalidArgumentError
        If the size is out of range or the space is of another kind.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], size: float) -> None:
        RecordConstructorArgs.__init__(self, size=size)
        gymnasium.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if isinstance(space, spaces.Box):
            if not np.issubdtype(space.dtype, np.floating):
                raise InvalidArgumentError(f"observation_noise needs observations of floating point; {space} has {space.dtype}")
            if checks.number("observation_noise", size) < 0:
                raise InvalidArgumentError(f"observation_noise={size!r} is a standard deviation and can't be negative")
        else:
            checks.probability("observation_noise", size)
            _check_uniform(space, "observation_noise")
        self.size = float(size)

    def observation(self, observation: Any) -> Any:
        """Return the observation that the agent sees."""
        space, rng = self.observation_space, self.np_random
        if self.size == 0:
            return observation
        if isinstance(space, spaces.Box):
            return np.clip(observation + rng.normal(0, self.size, space.shape), space.low, space.high).astype(space.dtype)
        return _draw(space, rng) if rng.random() < self.size else observation


def _check_uniform(space: spaces.Space[Any], shift: str) -> None:
    """Raise unless elements of the space can be drawn uniformly."""
    if isinstance(space, spaces.Box):
        if not space.is_bounded():
            raise InvalidArgumentError(f"{shift} draws uniformly, which the unbounded {space} doesn't allow")
        return
    try:
        state_count(space)
    except InvalidArgumentError:
        raise InvalidArgumentError(f"{shift} can't draw from {space}; it needs a finite space or a bounded Box") from None


def _draw(space: spaces.Space[Any], rng: np.random.Generator) -> Any:
    if isinstance(space, spaces.Box):
        return rng.uniform(space.low, space.high).astype(space.dtype)
    return state_observation(space, int(rng.integers(state_count(space))))
