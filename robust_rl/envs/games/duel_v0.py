"""Two responders answer the same question, and a judge says whose answer is better: a round of learning from preferences.

==========  ========================================================================================================
states      the contexts x, drawn anew each round
actions     the responses y
payoff      1 to the winner, 0 to the other; the judge lets player_0 win with probability sigmoid(r(x,y0) - r(x,y1))
==========  ========================================================================================================

So whoever plays as its opponent does, wins half of its duels; that holds for random play. :func:`text_env` is the same round for
language models: prompts are observed, responses are texts, and the judge is any function of both.

The game is our own; its judge is that of Bradley and Terry (1952).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs, seeding
from numpy.typing import ArrayLike, NDArray
from pettingzoo import ParallelEnv

from robust_rl.envs import checks
from robust_rl.envs.games.canvas import Canvas
from robust_rl.envs.games.table_game import COLOURS, IDLE, GameTable, TableGame, aec_form, checked_render_mode
from robust_rl.envs.preferences import PreferenceBandit, win_probability
from robust_rl.errors import InvalidArgumentError

PLAYERS = ("player_0", "player_1")
Judge = Callable[[str, str, str, np.random.Generator], bool]
"""(prompt, first response, second response, generator) -> whether the first is better."""


class parallel_env(TableGame, RecordConstructorArgs):
    """The duel of tables, in parallel form; the rules are in the module's table.

    Parameters
    ----------
    arms, contexts, seed, rewards, weights
        The bandit whose responses are compared, as for :class:`~robust_rl.envs.PreferenceBandit`.
    max_cycles : int or None
        Rounds after which an episode is cut.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.
    """

    metadata = TableGame.metadata | {"name": "duel_v0"}

    def __init__(
        self,
        arms: int = 4,
        contexts: int = 3,
        seed: int = 0,
        rewards: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        max_cycles: int | None = 1,
        render_mode: str | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, arms=arms, contexts=contexts, seed=seed, rewards=rewards, weights=weights,
            max_cycles=max_cycles, render_mode=render_mode,
        )  # fmt: skip
        self.bandit = PreferenceBandit(arms, contexts, seed, rewards=rewards, weights=weights)
        table = _table(self.bandit.rewards, self.bandit.weights)
        sizes = (self.bandit.rewards.shape[1],) * 2
        super().__init__(table, self.bandit.weights, sizes, max_cycles=max_cycles, render_mode=render_mode)

    def text(self, state: int) -> str:
        """Return the context."""
        return f"context {state} of {len(self.P)}"

    def picture(self, state: int) -> NDArray[np.uint8]:
        """Return both responders, and the contexts between them, the present one filled."""
        contexts = len(self.P)
        canvas = Canvas(96, 144 + 24 * contexts)
        for player, right in enumerate((36, 108 + 24 * contexts)):
            canvas.disc((48, right), 28, COLOURS[player])
        for context in range(contexts):
            canvas.disc((48, 84 + 24 * context), 9, "#e09f3e" if context == state else IDLE)
        return canvas.pixels()


env, raw_env = aec_form(parallel_env)


def _table(rewards: NDArray[np.float64], weights: NDArray[np.float64]) -> GameTable:
    contexts, arms = rewards.shape
    following = [(float(p), x) for x, p in enumerate(weights) if p > 0]
    chances = win_probability(rewards[:, :, None], rewards[:, None, :])

    def outcomes(x: int, joint: tuple[int, ...]) -> Any:
        wins = float(chances[x][joint])
        sides = (((1.0, 0.0), wins), ((0.0, 1.0), 1 - wins))
        return [(share * p, new, paid, False) for paid, share in sides if share > 0 for p, new in following]

    return {x: {joint: outcomes(x, joint) for joint in product(range(arms), repeat=2)} for x in range(contexts)}


class text_env(ParallelEnv, RecordConstructorArgs):  # type: ignore[misc]  # pettingzoo is untyped
    """The duel of language models: both observe a prompt and respond with a text, and a judge pays the better one 1.

    Parameters
    ----------
    prompts : sequence of str
        A round's prompt is drawn from them uniformly; ``reset(options={"prompt": text})`` sets it.
    judge : callable
        ``judge(prompt, first, second, rng) -> bool``: whether player_0's response is better. Draw from ``rng`` alone, so that
        a seed fixes the duel.
    max_cycles : int
        Rounds after which an episode is cut.
    max_length : int
        Longest response and prompt, in characters.
    render_mode : {"ansi"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or the judge's answer is no bool.

    Examples
    --------
    >>> duel = text_env(["Say hello."], judge=lambda prompt, first, second, rng: len(first) < len(second))
    >>> _ = duel.reset(seed=0)
    >>> duel.step({"player_0": "Hi", "player_1": "Good day to you"})[1]
    {'player_0': 1.0, 'player_1': 0.0}
    """

    metadata: dict[str, Any] = {"name": "text_duel_v0", "render_modes": ["ansi"], "is_parallelizable": True, "render_fps": 1}

    def __init__(
        self,
        prompts: Sequence[str],
        judge: Judge,
        max_cycles: int = 1,
        max_length: int = 100_000,
        render_mode: str | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, prompts=prompts, judge=judge, max_cycles=max_cycles, max_length=max_length, render_mode=render_mode
        )
        self.max_cycles, self.max_length = checks.count("max_cycles", max_cycles), checks.count("max_length", max_length)
        self.prompts, self.judge = tuple(prompts), judge
        if isinstance(prompts, str) or not self.prompts:
            raise InvalidArgumentError(f"prompts={prompts!r} is no list of texts; give at least one")
        for index, prompt in enumerate(self.prompts):
            self._check_text(f"prompts[{index}]", prompt)
        self.render_mode = checked_render_mode(render_mode, self.metadata)
        self.possible_agents = list(PLAYERS)
        self.agents: list[str] = []
        self._spaces = {agent: AnyText(self.max_length) for agent in (*PLAYERS, "prompt")}
        self.np_random, _ = seeding.np_random()
        self.prompt, self.cycles, self._shown = self.prompts[0], 0, ""

    def observation_space(self, agent: str) -> AnyText:
        """Return the space of prompts."""
        return self._spaces["prompt"]

    def action_space(self, agent: str) -> AnyText:
        """Return the space of responses."""
        return self._spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        """Draw a prompt, or take ``options["prompt"]``. A seed fixes all that follows."""
        if seed is not None:
            self.np_random, _ = seeding.np_random(seed)
        self.agents, self.cycles = self.possible_agents[:], 0
        self._next_prompt((options or {}).get("prompt"))
        return dict.fromkeys(self.agents, self.prompt), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
        """Judge one response of each player, and draw the next prompt."""
        playing = self.agents
        if not playing:
            return {}, {}, {}, {}, {}
        for agent in playing:
            if agent not in actions:
                raise InvalidArgumentError(f"{agent} has no response; give one for every agent that plays")
            self._check_text(f"response of {agent}", actions[agent])
        first, second = (actions[agent] for agent in PLAYERS)
        won = self.judge(self.prompt, first, second, self.np_random)
        if not isinstance(won, (bool, np.bool_)):
            raise InvalidArgumentError(f"the judge answered {won!r}; it must say True (the first is better) or False")
        self._shown = f"{self.prompt}\n[{'won' if won else 'lost'}] {first}\n[{'lost' if won else 'won'}] {second}"
        self.cycles += 1
        over = self.cycles >= self.max_cycles
        if not over:
            self._next_prompt(None)
        rewards = dict(zip(PLAYERS, (float(won), float(not won)), strict=True))
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in playing}
        self.agents = [] if over else playing
        return dict.fromkeys(playing, self.prompt), rewards, dict.fromkeys(playing, False), dict.fromkeys(playing, over), infos

    def render(self) -> str | None:
        """Return the last round as text."""
        return self._shown if self.render_mode == "ansi" else None

    def _next_prompt(self, given: str | None) -> None:
        if given is not None:
            self._check_text("the prompt", given)
        self.prompt = self.prompts[int(self.np_random.integers(len(self.prompts)))] if given is None else given
        self._shown = self.prompt

    def _check_text(self, what: str, text: Any) -> None:
        if not isinstance(text, str) or len(text) > self.max_length:
            found = type(text).__name__ if not isinstance(text, str) else f"a text of {len(text)} characters"
            raise InvalidArgumentError(f"{what} is {found}; it must be a text of at most {self.max_length} characters")


class AnyText(spaces.Text):
    """Gymnasium's Text, but of any characters: a list of them can't be complete for what people and models write."""

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a text that isn't too long; it may be empty."""
        return isinstance(x, str) and len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a random text of up to 40 letters and digits."""
        letters = self.character_list
        return "".join(self.np_random.choice(letters, size=int(self.np_random.integers(1, min(self.max_length, 40) + 1))))
