"""Linear MDPs with factors: r_h = <phi, theta_h> and P_h(.|s, a) = sum_i phi_i(s, a) mu_{h,i}, exact and over a finite horizon.

======  =======  =======================================
symbol  here     meaning, shape
======  =======  =======================================
phi     phi      features on the simplex, (S, A, d)
mu      factors  distributions of the next state, (H, d, S)
theta   theta    reward of each feature, (H, d)
======  =======  =======================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.errors import InvalidModelError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearMDP:
    """A linear MDP; see the table at the top of this module. ``start`` (S,) is the first state's distribution, default state 0.

    Raises
    ------
    InvalidModelError
        If shapes disagree, or phi, a factor or the start isn't a probability vector within 1e-8; the message names it.

    Examples
    --------
    >>> LinearMDP(np.eye(2)[:, None], [[[0.5, 0.5], [0.0, 1.0]]], [[1.0, 0.0]])
    LinearMDP(states=2, actions=1, features=2, horizon=1)
    """

    phi: Array
    factors: Array
    theta: Array
    start: Array | None = None

    def __post_init__(self) -> None:
        for name in ("phi", "factors", "theta"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.phi.ndim != 3 or self.factors.shape != (len(self.theta), self.phi.shape[2], self.phi.shape[0]):
            raise InvalidModelError(
                f"phi has shape {self.phi.shape} and factors {self.factors.shape}; expected (S, A, d) and (H, d, S)"
            )
        if self.theta.shape != self.factors.shape[:2] or not np.isfinite(self.theta).all():
            raise InvalidModelError(
                f"theta has shape {self.theta.shape}; expected {self.factors.shape[:2]} finite numbers (H, d)"
            )
        start = np.eye(self.num_states)[0] if self.start is None else np.asarray(self.start, dtype=np.float64)
        object.__setattr__(self, "start", start)
        if start.shape != (self.num_states,):
            raise InvalidModelError(f"start has shape {start.shape}; expected ({self.num_states},)")
        for name in ("phi", "factors", "start"):
            _check_rows(name, getattr(self, name))

    @property
    def num_states(self) -> int:
        """S."""
        return len(self.phi)

    @property
    def num_actions(self) -> int:
        """A."""
        return int(self.phi.shape[1])

    @property
    def horizon(self) -> int:
        """H."""
        return len(self.factors)

    @property
    def transitions(self) -> Array:
        """Kernels P of every stage, (H, S, A, S)."""
        return np.asarray(np.einsum("sad,hdt->hsat", self.phi, self.factors))

    @property
    def rewards(self) -> Array:
        """Rewards r of every stage, (H, S, A)."""
        return np.asarray(np.einsum("sad,hd->hsa", self.phi, self.theta))

    def sample(
        self, episodes: int, rng: np.random.Generator, policy: ArrayLike | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, NDArray[np.intp]]:
        """Play episodes of H stages, all at once.

        Parameters
        ----------
        episodes : int
        rng : numpy.random.Generator
        policy : (H, S) actions or (H, S, A) probabilities, optional
            Default: uniformly random.

        Returns
        -------
        states, actions, rewards, next_states : (episodes, H) arrays
            What :func:`robust_rl.datasets.from_arrays` takes.
        """
        shape = (episodes, self.horizon)
        states, actions = np.zeros((episodes, self.horizon + 1), dtype=np.intp), np.zeros(shape, dtype=np.intp)
        chances, transitions = self._chances(policy), self.transitions
        states[:, 0] = _draw(np.broadcast_to(self.start, (episodes, self.num_states)), rng)  # type: ignore[arg-type]
        for h in range(self.horizon):
            actions[:, h] = _draw(chances[h, states[:, h]], rng)
            states[:, h + 1] = _draw(transitions[h, states[:, h], actions[:, h]], rng)
        rewards = self.rewards[np.arange(self.horizon), states[:, :-1], actions]
        return states[:, :-1], actions, rewards, states[:, 1:]

    def _chances(self, policy: ArrayLike | None) -> Array:
        if policy is None:
            return np.full((self.horizon, self.num_states, self.num_actions), 1 / self.num_actions)
        given = np.asarray(policy)
        return np.eye(self.num_actions)[given] if given.ndim == 2 else np.asarray(given, dtype=np.float64)

    def __repr__(self) -> str:
        states, actions, features = self.phi.shape
        return f"LinearMDP(states={states}, actions={actions}, features={features}, horizon={self.horizon})"


def _draw(probabilities: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw one index from each row."""
    drawn = rng.random((len(probabilities), 1)) * probabilities.sum(axis=1, keepdims=True)
    return np.asarray((probabilities.cumsum(axis=1) > drawn).argmax(axis=1))


def _check_rows(name: str, rows: Array) -> None:
    wrong = np.argwhere(~((rows >= 0).all(axis=-1) & (abs(rows.sum(axis=-1) - 1) <= 1e-8)))
    if len(wrong):
        where = f"{name}{[int(i) for i in wrong[0]]}" if wrong.shape[1] else name
        raise InvalidModelError(f"{where} is not a probability vector: non-negative, sum 1 within 1e-8")
