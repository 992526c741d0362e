"""Preferences instead of rewards: the Bradley-Terry model, and a contextual bandit whose rewards only pairs reveal.

    P(y1 beats y2 | x) = sigmoid( r(x, y1) - r(x, y2) )                                                   (1)

==========  ==================  ==========================================================
symbol      here                meaning, shape
==========  ==================  ==========================================================
x           context             what is asked, in 0..X-1
y           response, arm       what is answered, in 0..K-1
r           ``rewards``         (X, K), which a learner doesn't see
rho         ``weights``         distribution of contexts, (X,)
pi_ref      ``reference``       logits of the policy to start from, (X, K)
==========  ==================  ==========================================================

Source of the instance law, rewards U(0, 1) and reference logits N(0, 1): the bandit experiments around VPO
(arXiv:2405.19320); the numbers are to be read as this library's.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from robust_rl.envs import checks
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP


def win_probability(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return the probability that responses of some rewards beat others (equation 1), by broadcasting.

    Examples
    --------
    >>> win_probability([1.0, 0.0], 0.0).round(3).tolist()
    [0.731, 0.5]
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, np.subtract(second, first))))


def bradley_terry(first: ArrayLike, second: ArrayLike, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw whether the first of two responses wins, given their rewards; arrays of rewards give an array of labels."""
    chances = win_probability(first, second)
    return np.asarray(rng.random(chances.shape) < chances)


class PreferenceBandit(gymnasium.Env[np.int64, np.int64]):
    """A contextual bandit: observe a context, give a response, get its reward; or compare two responses.

    An episode is one response. Learning from preferences uses :meth:`compare` alone; the reward that ``step`` pays is for
    evaluation. :attr:`model` is its table, which ``envs.tabular`` and the planners read.

    Parameters
    ----------
    arms, contexts : int
        K and X.
    seed : int
        Of the instance: rewards are U(0, 1), reference logits N(0, 1).
    rewards : (X, K) array_like, optional
        The rewards instead of drawn ones; ``arms`` and ``contexts`` then come from their shape.
    reference : (X, K) array_like, optional
        The reference policy's logits instead of drawn ones.
    weights : (X,) array_like, optional
        Distribution of contexts. Default: uniform.
    render_mode : {"ansi"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or shapes differ.

    Examples
    --------
    >>> env = PreferenceBandit(rewards=[[0.0, 5.0]])
    >>> env.compare(0, [1, 0], [0, 1], np.random.default_rng(0)).tolist()
    [True, False]
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(
        self,
        arms: int = 10,
        contexts: int = 1,
        seed: int = 0,
        rewards: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        render_mode: str | None = None,
    ) -> None:
        rng = np.random.default_rng(checks.count("seed", seed, 0))
        shape = (checks.count("contexts", contexts), checks.count("arms", arms, 2))
        if rewards is not None:
            shape = np.shape(rewards)  # type: ignore[assignment]
            if len(shape) != 2 or shape[1] < 2:
                raise InvalidArgumentError(f"rewards have the shape {shape}; they must be (contexts, arms), with 2 arms or more")
        drawn_rewards, drawn_reference = rng.random(shape), rng.standard_normal(shape)
        self.rewards = _finite("rewards", drawn_rewards if rewards is None else rewards, shape)
        self.reference = _finite("reference", drawn_reference if reference is None else reference, shape)
        self.weights = _distribution(np.full(shape[0], 1 / shape[0]) if weights is None else weights, shape[0])
        if render_mode not in (None, "ansi"):
            raise InvalidArgumentError(f"render_mode={render_mode!r}; expected ansi")
        self.render_mode = render_mode
        self.observation_space: spaces.Discrete = spaces.Discrete(shape[0])
        self.action_space: spaces.Discrete = spaces.Discrete(shape[1])
        self._context, self._last = 0, ""

    @property
    def model(self) -> TabularMDP:
        """The bandit as a model: states are the contexts, and one more for the end, which every response leads to."""
        contexts, arms = self.rewards.shape
        transitions = np.zeros((contexts + 1, arms, contexts + 1))
        transitions[:, :, contexts] = 1
        rewards, start = np.vstack([self.rewards, np.zeros(arms)]), np.append(self.weights, 0.0)
        return TabularMDP(transitions, rewards, start=start, terminal=[contexts])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict[str, Any]]:
        """Draw a context."""
        super().reset(seed=seed)
        self._context = int(self.np_random.choice(len(self.weights), p=self.weights))
        self._last = f"context {self._context}"
        return np.int64(self._context), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Pay the response's reward and end the episode.

        Raises
        ------
        InvalidArgumentError
            If there is no such response.
        """
        reward = float(self._reward(self._context, action))
        self._last = f"context {self._context}, response {action}: reward {reward:.3f}"
        return np.int64(self._context), reward, True, False, {}

    def compare(
        self, context: ArrayLike, first: ArrayLike, second: ArrayLike, rng: np.random.Generator | None = None
    ) -> NDArray[np.bool_]:
        """Draw, by Bradley and Terry, whether the first response to a context beats the second.

        Parameters
        ----------
        context, first, second : array_like of int
            Broadcast against each other.
        rng : numpy.random.Generator, optional
            What to draw with. Default: the environment's own, which ``reset(seed=...)`` sets.

        Returns
        -------
        array of bool

        Raises
        ------
        InvalidArgumentError
            If there is no such context or response.
        """
        return bradley_terry(self._reward(context, first), self._reward(context, second), rng or self.np_random)

    def render(self) -> str | None:  # type: ignore[override]
        """Return the last context, response and reward as text."""
        return self._last if self.render_mode == "ansi" else None

    def _reward(self, context: ArrayLike, response: ArrayLike) -> NDArray[np.float64]:
        for name, value, size in zip(("context", "response"), (context, response), self.rewards.shape, strict=True):
            given = np.asarray(value)
            if not np.issubdtype(given.dtype, np.integer) or (given < 0).any() or (given >= size).any():
                raise InvalidArgumentError(f"{name} {value!r} does not exist; they are 0..{size - 1}")
        return np.asarray(self.rewards[context, response])  # type: ignore[index]


def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.array(values, dtype=float)
    if array.shape != shape:
        raise InvalidArgumentError(f"{name} has the shape {array.shape}; it must be (contexts, arms) = {shape}")
    if not np.isfinite(array).all():
        x, y = np.argwhere(~np.isfinite(array))[0]
        raise InvalidArgumentError(f"{name}[{x}, {y}] is {array[x, y]}; it must be finite")
    return array


def _distribution(weights: ArrayLike, contexts: int) -> NDArray[np.float64]:
    array = np.array(weights, dtype=float)
    if array.shape != (contexts,) or not (array >= 0).all() or abs(array.sum() - 1) > 1e-8:
        raise InvalidArgumentError(f"weights={weights!r} is no distribution over {contexts} contexts")
    return np.asarray(array / array.sum())
