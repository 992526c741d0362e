"""A tabular model played as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.models.tabular import TabularMDP


class TabularEnv(gymnasium.Env[int, int]):
    """Samples transitions of a :class:`TabularMDP`.

    Observations are state indices, ``Discrete(S)``; actions ``Discrete(A)``. An episode ends (``terminated``) on entering a
    terminal state; there is no time limit, so wrap with :class:`gymnasium.wrappers.TimeLimit` where one is needed.
    ``info["action_mask"]`` holds the available actions as ``int8``, ready for ``action_space.sample(mask)``.

    Parameters
    ----------
    model : TabularMDP
        The model; kept as ``env.model``, from which the exact planners read it back.
    render_mode : {"ansi"}, optional
        ``render()`` then returns the state as text.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(self, model: TabularMDP, *, render_mode: str | None = None) -> None:
        self.model = model
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Discrete(model.num_states)
        self.action_space = gymnasium.spaces.Discrete(model.num_actions)
        self._rows = model.csr()
        self._start = np.cumsum(model.start)
        self.state = int(np.argmax(model.start))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Draw a first state; ``options={"state": s}`` sets it."""
        super().reset(seed=seed)
        chosen = (options or {}).get("state")
        if chosen is not None and not self.observation_space.contains(chosen):
            raise InvalidArgumentError(f"state {chosen} does not exist; states are 0..{self.model.num_states - 1}")
        self.state = self._draw(self._start) if chosen is None else int(chosen)
        return self.state, self._info()

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Sample the next state. Raises InvalidArgumentError for an unavailable action."""
        model, state = self.model, self.state
        if model.terminal[state]:
            return state, 0.0, True, False, self._info()
        if not self.action_space.contains(action) or not model.action_mask[state, action]:
            raise InvalidArgumentError(f"action {action} is not available in state {state}")
        row = state * model.num_actions + int(action)
        entries = slice(self._rows.indptr[row], self._rows.indptr[row + 1])
        self.state = int(self._rows.indices[entries][self._draw(np.cumsum(self._rows.data[entries]))])
        return self.state, self._reward(state, int(action), self.state), bool(model.terminal[self.state]), False, self._info()

    def render(self) -> str | None:  # type: ignore[override]
        """Return the state as text when ``render_mode="ansi"``."""
        return f"state {self.state}" if self.render_mode == "ansi" else None

    def _draw(self, cumulative: np.ndarray) -> int:
        # scaling by the last entry keeps the draw inside the support when rounding leaves the sum a hair below 1
        return int(np.searchsorted(cumulative, self.np_random.random() * cumulative[-1], side="right"))

    def _reward(self, state: int, action: int, next_state: int) -> float:
        model = self.model
        if not model.has_transition_rewards:
            return float(model.rewards[state, action])
        if model.is_sparse:
            return float(model.rewards[state * model.num_actions + action, next_state])
        return float(model.rewards[state, action, next_state])

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.model.action_mask[self.state].astype(np.int8)}
