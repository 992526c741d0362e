"""Continuous control made finite, so that it can be solved: a grid over the state, and a table from the environment's own step.

The environment serves as its generative model: its state is set to points of every cell, each action is tried, and

    P(c' | c, a) = mean over points x of cell c of the share of step(x, a) in cell c'                                         (1)
    r(c, a)      = mean over points x of cell c of the reward of step(x, a)                                                   (2)

Shares are those of :mod:`robust_rl.envs.box_grid`, or all of it to the cell that is entered. No dynamics are written down here: a
shifted environment has a shifted table, and wrappers inside the grid are sampled along with the rest.

The table is an approximation, so its values, certificates included, are those of the table. What a policy is worth is found by
playing: :func:`robust_rl.evaluate` plays a discretised world although there is a table of it. CartPole, which moves little in a
step, needs that most: its returns depend on the points that were drawn.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import ArrayLike, NDArray

from robust_rl.envs import checks
from robust_rl.envs.box_grid import BoxGrid
from robust_rl.envs.registration import make
from robust_rl.envs.tabular import HARMLESS
from robust_rl.errors import InvalidArgumentError, NoTableError
from robust_rl.models import TabularMDP
from robust_rl.models.memory import require_memory

Array = NDArray[np.float64]
STARTS = 1000  # resets from which the distribution of the first state is estimated
ANGLES = {"PendulumEnv": 1, "AcrobotEnv": 2}  # so many angles are observed as pairs (cos, sin), ahead of the rest
SPEEDS = {"CartPoleEnv": {1: 3.0, 3: 3.5}, "AcrobotEnv": {2: 6.0, 3: 9.0}}  # beyond which good and bad policies hardly ever move


def discretize(env: gymnasium.Env[Any, Any] | str, bins: int | Sequence[int], **options: Any) -> Discretize:
    """Return the environment seen through a grid: finite observations, finite actions, and a table.

    Parameters
    ----------
    env : gymnasium.Env or str
        With ``env.unwrapped.state`` that may be set, and whose observation is that state: CartPole, MountainCar, Acrobot,
        Pendulum (of which the latter two show the cosine and sine of an angle instead), and others like them; or an id.
    bins : int or sequence of int
        Cells along each axis of the state.
    **options
        Of :class:`Discretize`: ``low``, ``high``, ``actions``, ``samples``, ``interpolate``, ``seed``.

    Returns
    -------
    Discretize
        Taken by :func:`robust_rl.envs.tabular`, :class:`robust_rl.RobustVI`, :func:`robust_rl.evaluate` and
        :func:`robust_rl.envs.shift`; the grid stays as it is in a shifted copy, so that policies carry over.

    Raises
    ------
    NoTableError
        If the environment's state can't be set; the message names the remedy.
    InvalidArgumentError, UnknownNameError
        If an option doesn't fit the environment, or there is no such id.

    Examples
    --------
    >>> from robust_rl import RobustVI, TotalVariation
    >>> env = discretize("MountainCar-v0", bins=(20, 20))
    >>> env
    <Discretize<TimeLimit<OrderEnforcing<PassiveEnvChecker<MountainCarEnv<MountainCar-v0>>>>>>
    >>> agent = RobustVI(env, TotalVariation(0.1, support="nominal"), discount=0.99).learn()
    >>> agent.predict(env.observation([-0.5, 0.03]))  # moving right: push on
    (2, None)
    """
    return Discretize(make(env) if isinstance(env, str) else env, bins, **options)


class Discretize(gymnasium.Wrapper[int, int, Any, Any], RecordConstructorArgs):
    """A continuous environment whose observations are cells of a grid over its state.

    Parameters
    ----------
    env : gymnasium.Env
        As for :func:`discretize`.
    bins : int or (m,) ints
        Cells along each axis of the state.
    low, high : (m,) arrays, optional
        The box of the grid; states beyond it count as on its border. Default: the range of the observation, -pi to pi for angles
        (which then are periodic); for CartPole the thresholds at which an episode ends and speeds up to 3 and 3.5, for Acrobot
        speeds up to 6 and 9.
    actions : int or (k, ...) array
        For Box actions: so many evenly spaced values along each axis, both ends included, or the actions themselves. The finite
        actions of an environment stay as they are.
    samples : int
        Points of each cell: 1 takes its centre, more are drawn uniformly.
    interpolate : bool
        Share a next state out among the centres around it, which for smooth dynamics does better with one point a cell than to
        count the cell it falls into does with ten.
    seed : int
        Of the points, and of the environment while it is sampled. The same points serve every world, so that worlds are compared
        like with like.

    Attributes
    ----------
    grid : BoxGrid
    controls : (A, ...) array or None
        The action of each index, where actions are continuous.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        bins: int | Sequence[int],
        *,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        actions: int | ArrayLike = 5,
        samples: int = 1,
        interpolate: bool = True,
        seed: int = 0,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, bins=bins, low=low, high=high, actions=actions, samples=samples, interpolate=interpolate, seed=seed
        )
        gymnasium.Wrapper.__init__(self, env)
        self.angles = ANGLES.get(type(env.unwrapped).__name__, 0)
        _check_state(env, self.angles)
        self.grid = _grid(env, bins, low, high, self.angles)
        self.samples, self.interpolate = checks.count("samples", samples), bool(interpolate)
        self.seed = checks.count("seed", seed, 0)
        self.controls = _controls(env.action_space, actions)
        self.observation_space = spaces.Discrete(self.grid.size)
        inner: Any = env.action_space
        self.num_actions, self.first_action = (
            (int(inner.n), int(inner.start)) if self.controls is None else (len(self.controls), 0)
        )
        self.action_space = spaces.Discrete(self.num_actions)

    def observation(self, observation: ArrayLike) -> int:
        """Return the cell that a continuous observation is in: what ``predict`` of an agent takes."""
        return int(self.grid.cells(_coordinates(np.asarray(observation, dtype=np.float64)[None], self.angles))[0])

    def action(self, action: int) -> Any:
        """Return the environment's action for an index.

        Raises
        ------
        InvalidArgumentError
            If there is no such action.
        """
        if not self.action_space.contains(action):
            raise InvalidArgumentError(f"there is no action {action!r}; actions are 0..{self.num_actions - 1}")
        return action + self.first_action if self.controls is None else self.controls[action]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Reset the environment, and return the cell it starts in."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self.observation(observation), info

    def step(self, action: int) -> tuple[int, Any, bool, bool, dict[str, Any]]:
        """Take the action of that index, and return the cell it leads to."""
        observation, reward, terminated, truncated, info = self.env.step(self.action(action))
        return self.observation(observation), reward, terminated, truncated, info

    def table(self) -> TabularMDP:
        """Return the model of eq. (1) and (2), sampled anew from the environment as it now is.

        Returns
        -------
        TabularMDP
            CSR, rewards r(s,a), one state a cell. A last, terminal one stands for episodes that ended; it is there only if any
            did, since an adversary on free support would go to an end that doesn't exist. The start is estimated from 1000
            resets.

        Raises
        ------
        InvalidModelError
            If the table wouldn't fit.
        """
        size, actions, corners = self.grid.size, self.num_actions, 2 ** len(self.grid.bins)
        entries = size * actions * self.samples * (corners if self.interpolate else 1)
        require_memory(40.0 * entries, f"a table of {size} cells and {actions} actions", "use fewer bins or samples")
        simulator = _simulator(self.env)
        simulator.reset(seed=self.seed)
        rewards, ended, chunks = np.zeros((size + 1, actions)), False, []
        for points in self._points():
            for a in range(actions):
                observations, paid, ends = _tried(simulator, points, self.action(a))
                cells, shares = self._shares(observations)
                cells[ends] = size
                rewards[:size, a] += paid / self.samples
                ended = ended or bool(ends.any())
                chunks.append((np.arange(size)[:, None], a, cells, shares / self.samples))
        states = size + ended
        start = self._start(simulator, states)
        terminal = [size] if ended else []
        return TabularMDP.from_chunks(chunks, states, actions, rewards=rewards[:states], start=start, terminal=terminal)

    def _points(self) -> Iterator[Array]:
        """Yield one point of every cell, (cells, m), at a time."""
        corners, rng = self.grid.corners(), np.random.default_rng(self.seed)
        for _ in range(self.samples):
            yield corners + self.grid.width * (0.5 if self.samples == 1 else rng.random(corners.shape))

    def _shares(self, observations: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the cells that observations belong to, and in which shares, (n, k) each."""
        points = _coordinates(observations, self.angles)
        return self.grid.shares(points) if self.interpolate else (self.grid.cells(points)[:, None], np.ones((len(points), 1)))

    def _start(self, simulator: gymnasium.Env[Any, Any], states: int) -> Array:
        simulator.reset(seed=self.seed)
        cells, shares = self._shares(np.array([simulator.reset()[0] for _ in range(STARTS)], dtype=np.float64))
        return np.asarray(np.bincount(cells.ravel(), weights=shares.ravel() / STARTS, minlength=states), dtype=np.float64)


def is_discretized(env: Any) -> bool:
    """Whether there is a :class:`Discretize` among the wrappers of an environment, so that its table is an approximation."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, Discretize):
            return True
        env = env.env
    return False


def _coordinates(observations: Array, angles: int) -> Array:
    """Return the state behind each observation, (n, m): the pairs (cos, sin) in front become angles."""
    pairs = observations[:, : 2 * angles].reshape(len(observations), angles, 2)
    return np.concatenate([np.arctan2(pairs[..., 1], pairs[..., 0]), observations[:, 2 * angles :]], axis=1)


def _simulator(env: gymnasium.Env[Any, Any]) -> Any:
    """Return a copy whose state may be set while the environment itself goes on, without the wrappers that only watch."""
    if type(env) in HARMLESS:
        return _simulator(env.env)  # type: ignore[attr-defined]
    twin: Any = copy.copy(env)
    if isinstance(env, gymnasium.Wrapper):
        twin.env = _simulator(env.env)
    else:
        twin.render_mode = None
        if hasattr(env, "state"):
            twin.state = copy.deepcopy(env.state)
    return twin


def _tried(simulator: Any, points: Array, action: Any) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Set the state to each point and act; return observations, rewards, and where the episode ended."""
    inner, outcomes = simulator.unwrapped, []
    for point in points:
        inner.state = point
        inner.steps_beyond_terminated = None  # CartPole's memory of having ended
        outcomes.append(simulator.step(action)[:3])
    observations, rewards, ends = zip(*outcomes, strict=True)
    return np.array(observations, dtype=np.float64), np.array(rewards, dtype=np.float64), np.array(ends, dtype=bool)


def _check_state(env: gymnasium.Env[Any, Any], angles: int) -> None:
    """Raise NoTableError unless what is observed is ``env.unwrapped.state``, and may be set."""
    name, space = type(env.unwrapped).__name__, env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise NoTableError(
            f"{name} observes {space}, which has no axes to divide; discretize takes flat Box observations, "
            "and an environment that is finite already goes to envs.tabular"
        )
    simulator = _simulator(env)
    observed = _coordinates(np.asarray(simulator.reset(seed=0)[0], dtype=np.float64)[None], angles)[0]
    state = getattr(simulator.unwrapped, "state", None)
    if state is None or np.shape(state) != observed.shape or not np.allclose(np.asarray(state, float), observed, atol=1e-5):
        raise NoTableError(
            f"{name} doesn't observe a state that can be set: discretize sets env.unwrapped.state, which must be what is "
            "observed; give the environment such an attribute, or log transitions and use TabularMDP.from_counts"
        )


def _grid(env: gymnasium.Env[Any, Any], bins: Any, low: Any, high: Any, angles: int) -> BoxGrid:
    least, greatest = _range(env, angles)
    axes = len(least)
    counts = [bins] * axes if np.ndim(bins) == 0 else list(bins)
    if len(counts) != axes:
        raise InvalidArgumentError(f"bins={bins!r} has {len(counts)} entries; the state has {axes} axes")
    cells = np.array([checks.count("bins", int(n) if isinstance(n, np.integer) else n) for n in counts])
    bounds = [least if low is None else low, greatest if high is None else high]
    for name, bound in zip(("low", "high"), bounds):
        if np.shape(bound) != (axes,):
            raise InvalidArgumentError(f"{name}={bound!r} has shape {np.shape(bound)}; the state has {axes} axes")
    lows, highs = (np.array(bound, dtype=np.float64) for bound in bounds)
    wrong = np.flatnonzero(~(np.isfinite(lows) & np.isfinite(highs) & (lows < highs)))
    if wrong.size:
        j = wrong[0]
        raise InvalidArgumentError(
            f"axis {j} of the state runs from {lows[j]:g} to {highs[j]:g}; give finite low and high, low < high"
        )
    periodic = (np.arange(axes) < angles) & np.isclose(highs - lows, 2 * np.pi)
    return BoxGrid(lows, highs, cells, periodic)


def _range(env: gymnasium.Env[Any, Any], angles: int) -> tuple[Array, Array]:
    """Return the default box: what can be observed, less where it is infinite or never visited."""
    inner: Any = env.unwrapped
    space: Any = env.observation_space
    low, high = (
        np.concatenate([np.full(angles, end), bound[2 * angles :]]) for end, bound in ((-np.pi, space.low), (np.pi, space.high))
    )
    for axis, speed in SPEEDS.get(type(inner).__name__, {}).items():
        low[axis], high[axis] = -speed, speed
    if type(inner).__name__ == "CartPoleEnv":  # what it can observe reaches twice as far as an episode does
        high[[0, 2]] = inner.x_threshold, inner.theta_threshold_radians
        low[[0, 2]] = -high[[0, 2]]
    return low.astype(np.float64), high.astype(np.float64)


def _controls(space: Any, actions: Any) -> NDArray[Any] | None:
    """Return the continuous actions to choose from, (A, ...), or None where actions are finite."""
    if isinstance(space, spaces.Discrete):
        return None
    if not isinstance(space, spaces.Box):
        raise InvalidArgumentError(f"actions are {space}; discretize takes Discrete and Box actions")
    if np.ndim(actions) == 0:
        count = checks.count("actions", actions, 2)
        if not space.is_bounded():
            raise InvalidArgumentError(f"{space} is unbounded, so it can't be divided evenly; give the actions themselves")
        axes = [np.linspace(low, high, count) for low, high in zip(space.low.ravel(), space.high.ravel())]
        actions = np.array(list(itertools.product(*axes))).reshape(-1, *space.shape)
    controls = np.asarray(actions, dtype=space.dtype)
    fits = controls.shape[1:] == space.shape and len(controls)
    outside = [action.tolist() for action in controls if not (fits and space.contains(action))]
    if outside or not fits:
        raise InvalidArgumentError(
            f"actions {outside[:1] or controls.tolist()} are not in {space}; give an array (k, ...) of its elements"
        )
    return controls
