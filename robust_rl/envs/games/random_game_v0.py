"""A random general-sum game: kernels from a Dirichlet distribution, rewards uniform in [0, 1].

For every state s and joint action a, drawn from one generator in this order: P(.|s,a) ~ Dirichlet(1, .., 1) over all states, or
over ``successors`` of them drawn without replacement; then r_i(s,a) ~ U[0, 1] for each agent. The first state is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from gymnasium.utils import RecordConstructorArgs

from robust_rl.envs import checks
from robust_rl.envs.games.table_game import GameTable, TableGame, aec_form
from robust_rl.errors import InvalidArgumentError

MOST_ENTRIES = 5_000_000  # a table of dictionaries of this size takes about a gigabyte


class parallel_env(TableGame, RecordConstructorArgs):
    """The game in parallel form, drawn as the module says.

    Parameters
    ----------
    num_agents, num_states : int
    num_actions : int or sequence of int
        Of every agent, or of each.
    successors : int, optional
        How many states each joint action can lead to; all of them by default.
    seed : int
        Of the draw of the game; ``reset(seed=...)`` is that of its play.
    max_cycles : int or None
        Steps after which an episode is cut.
    render_mode : {"ansi", "rgb_array"}, optional

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or the table would be too large to draw (the message says how large).
    """

    metadata = TableGame.metadata | {"name": "random_game_v0"}

    def __init__(
        self,
        num_agents: int = 2,
        num_states: int = 5,
        num_actions: int | Sequence[int] = 3,
        successors: int | None = None,
        seed: int = 0,
        max_cycles: int | None = 4,
        render_mode: str | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, num_agents=num_agents, num_states=num_states, num_actions=num_actions, successors=successors, seed=seed,
            max_cycles=max_cycles, render_mode=render_mode,
        )  # fmt: skip
        states = checks.count("num_states", num_states)
        actions = _sizes(checks.count("num_agents", num_agents, 2), num_actions)
        branches = states if successors is None else checks.count("successors", successors)
        if branches > states:
            raise InvalidArgumentError(f"successors={branches}, but there are {states} states")
        entries = states * int(np.prod(actions, dtype=object)) * (branches + len(actions))
        if entries > MOST_ENTRIES:
            raise InvalidArgumentError(
                f"{states} states and {' x '.join(map(str, actions))} joint actions make a table of {entries:,} numbers, some "
                f"{entries * 200 / 1e9:.1f} GB; the most is {MOST_ENTRIES:,}. Take fewer agents, actions, states or successors"
            )
        first = np.eye(1, states).ravel()
        super().__init__(table(states, actions, branches, seed), first, actions, max_cycles=max_cycles, render_mode=render_mode)


env, raw_env = aec_form(parallel_env)


def table(states: int, actions: Sequence[int], successors: int, seed: int) -> GameTable:
    """Return the table of a game drawn from a seed."""
    rng = np.random.default_rng(seed)
    drawn: GameTable = {}
    for state in range(states):
        drawn[state] = {}
        for joint in product(*map(range, actions)):
            chosen = np.sort(rng.choice(states, successors, replace=False))
            p = rng.dirichlet(np.ones(successors)).tolist()
            rewards = tuple(rng.random(len(actions)).tolist())
            drawn[state][joint] = [(q, int(s), rewards, False) for q, s in zip(p, chosen, strict=True)]
    return drawn


def _sizes(agents: int, num_actions: int | Sequence[int]) -> tuple[int, ...]:
    sizes = [num_actions] * agents if isinstance(num_actions, int) else list(num_actions)
    if len(sizes) != agents:
        raise InvalidArgumentError(f"num_actions={num_actions!r} gives {len(sizes)} numbers; there are {agents} agents")
    return tuple(checks.count("num_actions", size) for size in sizes)
