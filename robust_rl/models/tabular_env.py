"""A tabular model played as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
        rows = model.csr()
        self._ptr, self._successors, self._rewards = rows.indptr, rows.indices, entry_rewards(model, rows)
        # one running sum over all rows; a draw within a row is then one binary search between two of its entries
        self._cumulative = np.append(0.0, np.cumsum(rows.data))
        self._masks = model.action_mask.astype(np.int8)
        self._start = np.append(0.0, np.cumsum(model.start))
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
        first, last = self._ptr[row], self._ptr[row + 1]
        entry = first + self._draw(self._cumulative[first : last + 1])
        self.state = int(self._successors[entry])
        return self.state, float(self._rewards[entry]), bool(model.terminal[self.state]), False, self._info()

    def render(self) -> str | None:  # type: ignore[override]
        """Return the state as text when ``render_mode="ansi"``."""
        return f"state {self.state}" if self.render_mode == "ansi" else None

    def _draw(self, cumulative: np.ndarray) -> int:
        """Draw an index in proportion to the differences of an increasing array; the ends need not be 0 and 1."""
        first, last = cumulative[0], cumulative[-1]
        index = cumulative[1:].searchsorted(first + self.np_random.random() * (last - first), side="right")
        return min(int(index), len(cumulative) - 2)  # rounding may carry the draw to the very end

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self._masks[self.state].copy()}


def entry_rewards(model: TabularMDP, rows: sparse.csr_array) -> NDArray[np.float64]:
    """Return the reward of every stored entry of ``model.csr()``, whatever the layout of the rewards."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    if not model.has_transition_rewards:
        return np.asarray(model.rewards.reshape(-1)[row])
    if model.is_sparse:
        return np.asarray(model.rewards[row, rows.indices]).ravel()
    return np.asarray(model.rewards.reshape(-1, model.num_states)[row, rows.indices])
