"""A Markov game played from its table, as a PettingZoo parallel environment.

The table extends Gymnasium's ``P`` to several agents: ``P[s][(a_1, .., a_n)]`` is a list of
``(probability, next state, rewards, terminated)``, rewards in the order of ``possible_agents``, and ``initial_state_distrib``
holds the first state's distribution, (S,). Play draws from the same table that :func:`robust_rl.envs.tabular_game` reads, so
the two can't differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import ArrayLike, NDArray
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.errors import InvalidArgumentError

Outcome = tuple[float, int, tuple[float, ...], bool]
GameTable = dict[int, dict[tuple[int, ...], list[Outcome]]]
COLOURS = ("#2a6f97", "#d1495b", "#3a7d44", "#e09f3e", "#7b2d8b")  # of the players, in their order
IDLE = "#cfd8dc"


class TableGame(ParallelEnv):  # type: ignore[misc]  # pettingzoo is untyped
    """Plays a table. A game gives its table, and what a state looks like.

    Every agent observes the index of the state, ``Discrete(S)``, which ``state()`` returns too. An episode ends where the table
    says so (``terminated``), or after ``max_cycles`` steps (``truncated``).

    Parameters
    ----------
    table : dict
        ``P``, see the module.
    start : (S,) array_like
        Distribution of the first state.
    num_actions : sequence of int
        Number of actions of each agent.
    max_cycles : int or None
        After how many steps an episode is cut; None plays on until the table ends it.
    render_mode : {"ansi", "rgb_array"}, optional
        What ``render()`` returns: text, or a picture of shape (height, width, 3) and type uint8.

    Raises
    ------
    InvalidArgumentError
        If ``max_cycles`` or ``render_mode`` is out of range.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "is_parallelizable": True, "render_fps": 4}

    def __init__(
        self,
        table: GameTable,
        start: ArrayLike,
        num_actions: Sequence[int],
        *,
        max_cycles: int | None,
        render_mode: str | None,
    ) -> None:
        self.P = table
        self.initial_state_distrib = np.asarray(start, dtype=float)
        self.max_cycles = None if max_cycles is None else checks.count("max_cycles", max_cycles)
        self.render_mode = checked_render_mode(render_mode, self.metadata)
        self.possible_agents = [f"player_{i}" for i in range(len(num_actions))]
        self.agents: list[str] = []
        self.state_space: spaces.Discrete = spaces.Discrete(len(table))
        self._observation_spaces: dict[str, spaces.Discrete] = {
            agent: spaces.Discrete(len(table)) for agent in self.possible_agents
        }
        self._action_spaces: dict[str, spaces.Discrete] = {
            agent: spaces.Discrete(n) for agent, n in zip(self.possible_agents, num_actions, strict=True)
        }
        self.np_random, _ = seeding.np_random()
        self.position, self.cycles = int(np.argmax(self.initial_state_distrib)), 0

    def observation_space(self, agent: str) -> spaces.Discrete:
        """Return the space of state indices."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the agent's actions."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.int64], dict[str, dict[str, Any]]]:
        """Draw a first state; ``options={"state": s}`` sets it. A seed fixes all that follows."""
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        self.agents, self.cycles = self.possible_agents[:], 0
        self.position = first_state(self.initial_state_distrib, self.np_random, options)
        return self._to_all(np.int64(self.position)), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Play one action of each agent. Raises InvalidArgumentError naming an agent whose action is missing or unknown."""
        playing = self.agents
        joint = tuple(checked_action(actions, agent, self.action_space(agent)) for agent in playing)
        if not playing:
            return {}, {}, {}, {}, {}
        self.position, rewards, terminated = draw(self.P[self.position][joint], self.np_random)
        self.cycles += 1
        truncated = self.max_cycles is not None and self.cycles >= self.max_cycles
        observations, over = self._to_all(np.int64(self.position)), self._to_all(terminated)
        cut = self._to_all(truncated)
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in playing}
        if terminated or truncated:
            self.agents = []
        return observations, dict(zip(playing, rewards, strict=True)), over, cut, infos

    def state(self) -> NDArray[np.intp]:
        """Return the state's index."""
        return np.array(self.position)

    def render(self) -> str | NDArray[np.uint8] | None:
        """Return the state as ``render_mode`` says: text, a picture, or None without a mode."""
        if self.render_mode is None:
            return None
        return self.text(self.position) if self.render_mode == "ansi" else self.picture(self.position)

    def text(self, state: int) -> str:
        """Return a state as text."""
        return f"state {state} of {len(self.P)}"

    def picture(self, state: int) -> NDArray[np.uint8]:
        """Return a state as a picture: here a row of all states, the present one filled."""
        columns = min(len(self.P), 20)
        rows = -(-len(self.P) // columns)
        canvas = Canvas(48 * rows, 48 * columns)
        for index in range(len(self.P)):
            row, column = divmod(index, columns)
            canvas.disc((48 * row + 24, 48 * column + 24), 16, COLOURS[0] if index == state else IDLE)
        return canvas.pixels()

    def _to_all(self, value: Any) -> dict[str, Any]:
        return dict.fromkeys(self.agents, value)


def aec_form(parallel_env: Callable[..., TableGame]) -> tuple[Callable[..., AECEnv], Callable[..., AECEnv]]:
    """Return the functions ``env`` and ``raw_env`` of a PettingZoo module: the game in AEC form, with and without checks."""

    def raw_env(**arguments: Any) -> AECEnv:
        """Return the game in AEC form."""
        return parallel_to_aec(parallel_env(**arguments))

    def env(**arguments: Any) -> AECEnv:
        """Return the game in AEC form, refusing actions out of bounds."""
        return AssertOutOfBoundsWrapper(raw_env(**arguments))

    return env, raw_env


def draw(outcomes: Sequence[Outcome], rng: np.random.Generator) -> tuple[int, tuple[float, ...], bool]:
    """Return next state, rewards and end of one of a table's outcomes, drawn by their probabilities."""
    cumulative = np.cumsum([outcome[0] for outcome in outcomes])
    _, successor, rewards, ends = outcomes[int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))]
    return successor, rewards, ends


def first_state(start: NDArray[np.float64], rng: np.random.Generator, options: Mapping[str, Any] | None) -> int:
    """Return ``options["state"]``, or a state drawn from ``start``. Raises InvalidArgumentError if there is no such state."""
    chosen = (options or {}).get("state")
    if chosen is None:
        return int(rng.choice(len(start), p=start))
    if not spaces.Discrete(len(start)).contains(chosen):
        raise InvalidArgumentError(f"state {chosen} does not exist; states are 0..{len(start) - 1}")
    return int(chosen)


def checked_action(actions: Mapping[str, Any], agent: str, space: spaces.Discrete) -> int:
    """Return an agent's action, or raise InvalidArgumentError if it is missing or not in the space."""
    if agent not in actions:
        raise InvalidArgumentError(f"{agent} has no action; give one for every agent that plays")
    if not space.contains(actions[agent]):
        raise InvalidArgumentError(f"{agent} plays {actions[agent]!r}; its actions are 0..{int(space.n) - 1}")
    return int(actions[agent])


def checked_render_mode(mode: str | None, metadata: Mapping[str, Any]) -> str | None:
    """Return the mode, or raise InvalidArgumentError if the game has no such mode."""
    if mode is not None and mode not in metadata["render_modes"]:
        raise InvalidArgumentError(f"render_mode={mode!r}; expected one of {', '.join(metadata['render_modes'])}")
    return mode


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes with those that differ in nothing but probability added up; without those of probability 0."""
    total: dict[tuple[Any, ...], float] = {}
    for probability, *rest in outcomes:
        total[tuple(rest)] = total.get(tuple(rest), 0.0) + probability
    return [(probability, *rest) for rest, probability in total.items() if probability > 0]  # type: ignore[misc]
