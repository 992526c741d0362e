"""Many copies of a tabular model, stepped together by numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.one_hot import one_hot_space
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.models.tabular_env import entry_rewards


class TabularVectorEnv(VectorEnv[NDArray[Any], NDArray[np.intp], NDArray[Any]]):
    """Samples transitions of n copies of a model at once, as :class:`~robust_rl.models.TabularEnv` does those of one.

    An episode ends (``terminated``) on entering a terminal state, or is cut (``truncated``) after ``max_episode_steps``; the step
    after that ignores the copy's action and returns its next first state, with reward 0 (Gymnasium's ``NEXT_STEP``).

    Parameters
    ----------
    model : TabularMDP
    num_envs : int
        n.
    max_episode_steps : int, optional
        Default: no limit.
    one_hot : bool
        Whether observations are rows of the identity, (n, S) float32, instead of state indices, (n,).
    observed_states : int, optional
        S as observations count it. Default: all of the model's. Fewer where extra states for ends of episodes come last, as
        :func:`robust_rl.envs.tabular` adds them: those look like the last state observed, and nobody acts on them.

    Raises
    ------
    InvalidArgumentError
        If a number is out of range.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}

    def __init__(
        self,
        model: TabularMDP,
        num_envs: int,
        *,
        max_episode_steps: int | None = None,
        one_hot: bool = False,
        observed_states: int | None = None,
    ) -> None:
        self.model, self.num_envs = model, checks.count("num_envs", num_envs)
        self.max_episode_steps = None if max_episode_steps is None else checks.count("max_episode_steps", max_episode_steps)
        self._last = (model.num_states if observed_states is None else checks.count("observed_states", observed_states)) - 1
        state_space: spaces.Discrete = spaces.Discrete(self._last + 1)
        self._one_hot = np.eye(self._last + 1, dtype=np.float32) if one_hot else None
        self.single_observation_space: Any = one_hot_space(state_space) if one_hot else state_space
        self.single_action_space: Any = spaces.Discrete(model.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        rows = model.csr()
        self._ptr, self._successors, self._rewards = rows.indptr, rows.indices, entry_rewards(model, rows)
        # one running sum over all rows: a draw within a row is a binary search between two of its entries
        self._cumulative = np.append(0.0, np.cumsum(rows.data))
        self._start = np.cumsum(model.start)
        self.states = np.zeros(num_envs, dtype=np.intp)
        self._over = np.zeros(num_envs, dtype=bool)
        self._steps = np.zeros(num_envs, dtype=np.intp)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Draw first states; one seed fixes all copies."""
        super().reset(seed=seed)
        self._restart(np.ones(self.num_envs, dtype=bool))
        return self._observations(), {}

    def step(
        self, actions: NDArray[np.intp]
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Sample the next states. Raises InvalidArgumentError naming a copy whose action isn't available."""
        actions, acting = np.asarray(actions, dtype=np.intp), ~self._over
        self._check(actions, acting)
        entries = self._draw(self.states * self.model.num_actions + actions)
        rewards = np.where(acting, self._rewards[entries], 0.0)
        self.states = np.where(acting, self._successors[entries], self.states)
        self._steps += 1
        terminated = acting & self.model.terminal[self.states]
        limit = self.max_episode_steps
        truncated = acting & (self._steps >= limit) if limit is not None else np.zeros(self.num_envs, dtype=bool)
        if self._over.any():
            self._restart(self._over)
        self._over = terminated | truncated
        return self._observations(), rewards, terminated, truncated, {}

    def _restart(self, which: NDArray[np.bool_]) -> None:
        drawn = np.searchsorted(self._start, self.np_random.random(int(which.sum())) * self._start[-1], side="right")
        self.states[which] = np.minimum(drawn, self.model.num_states - 1)  # rounding may carry a draw to the very end
        self._steps[which] = 0

    def _draw(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Draw one stored entry of each row in proportion to its probability; a terminal state's rows may be empty."""
        first, last = self._ptr[rows], self._ptr[rows + 1]
        low, high = self._cumulative[first], self._cumulative[last]
        drawn = np.searchsorted(self._cumulative[1:], low + self.np_random.random(len(rows)) * (high - low), side="right")
        inside = np.clip(drawn, first, np.maximum(last - 1, first))
        return np.asarray(np.minimum(inside, len(self._successors) - 1))

    def _check(self, actions: NDArray[np.intp], acting: NDArray[np.bool_]) -> None:
        mask = self.model.action_mask
        bad = (actions < 0) | (actions >= self.model.num_actions)
        bad = acting & (bad | ~mask[self.states, np.where(bad, 0, actions)])
        if bad.any():
            copy = int(bad.argmax())
            raise InvalidArgumentError(f"copy {copy}: action {actions[copy]} is not available in state {self.states[copy]}")

    def _observations(self) -> NDArray[Any]:
        seen = np.minimum(self.states, self._last)
        return seen if self._one_hot is None else self._one_hot[seen]
