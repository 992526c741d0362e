"""Reads the table that a PettingZoo parallel environment carries.

The table extends Gymnasium's to several agents: ``env.unwrapped.P[s][(a_1, .., a_n)]`` is a list of
``(probability, next state, rewards, terminated)``, rewards in the order of ``possible_agents``;
``env.unwrapped.initial_state_distrib``, (S,), is the first state's distribution. Rewards that depend on the next state are
reduced to their mean, r_i(s, a) = sum of probability times reward, so that an adversary moves values and not rewards. As in
Gymnasium's tables, termination belongs to a transition and not to a state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces
from scipy import sparse

from robust_rl.errors import InvalidModelError, NoTableError
from robust_rl.models.gymnasium_table import terminal_states
from robust_rl.models.markov_game import MarkovGame
from robust_rl.models.memory import require_memory

DENSE_ENTRIES = 1_000_000  # a dense kernel of at most 8 MB keeps everything inspectable


def read_game(env: Any, horizon: int | None = None) -> MarkovGame:
    """Return the game of a parallel environment, without regard to its wrappers.

    Parameters
    ----------
    env : pettingzoo.ParallelEnv
    horizon : int, optional
        Number of decisions. Default: the environment's ``max_cycles``; without one the game is a discounted one.

    Returns
    -------
    MarkovGame
        States keep their indices. A state that every transition from elsewhere enters by ending is terminal; transitions that end
        elsewhere lead to one extra terminal state, the last index. CSR if a dense kernel would have over a million entries.

    Raises
    ------
    NoTableError
        If the environment has no table.
    InvalidModelError
        If an agent's actions aren't ``Discrete``, an entry of the table is missing or malformed, or the memory isn't there to
        hold the game; the message says how much it needs.
    """
    inner = getattr(env, "unwrapped", env)
    table, agents = getattr(inner, "P", None), getattr(inner, "possible_agents", None)
    if not isinstance(table, Mapping) or not agents:
        raise NoTableError(
            f"{inner} has no transition table, needed for exact planning: give it one, "
            "P[s][(a_1, .., a_n)] = [(probability, next state, rewards, terminated), ...], or pass a MarkovGame"
        )
    actions = [_num_actions(inner, agent) for agent in agents]
    joint = math.prod(actions)
    require_memory(
        len(table) * joint * (8.0 * len(agents) + 20),  # rewards, and a successor of each row
        f"a game of {len(table)} states and {' x '.join(map(str, actions))} = {joint} joint actions",
        "merge states, actions or agents",
    )
    start = getattr(inner, "initial_state_distrib", None)
    return _game(table, tuple(agents), actions, start, _max_cycles(inner) if horizon is None else horizon)


def _game(table: Mapping[int, Any], agents: tuple[str, ...], actions: list[int], start: Any, horizon: int | None) -> MarkovGame:
    states, joint = len(table), math.prod(actions)
    row, probability, successor, ends, rewards = _columns(table, actions, len(agents))
    source = row // joint
    terminal = terminal_states(source, successor, ends, states)
    to_extra = ends & ~terminal[successor]
    if to_extra.any():
        successor, terminal = np.where(to_extra, states, successor), np.append(terminal, True)
    size = len(terminal)
    transitions = sparse.csr_array((probability, (row, successor)), shape=(size * joint, size))
    transitions.sum_duplicates()
    if size * joint * size <= DENSE_ENTRIES:
        transitions = transitions.toarray().reshape(size, *actions, size)
    mean = np.stack([np.bincount(row, probability * each, size * joint) for each in rewards.T])
    mean[:, np.repeat(terminal, joint)] = 0.0  # the episode is over there
    first = None if start is None else np.pad(np.asarray(start, dtype=float), (0, size - states))
    shape = (len(agents), size, *actions)
    return MarkovGame(transitions, mean.reshape(shape), agents=agents, horizon=horizon, start=first, terminal=terminal)


def _columns(table: Mapping[int, Any], actions: list[int], agents: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Flatten the table into row s*M + a, probability, next state, end, and rewards (.., n), without entries of probability 0."""
    joint_actions = list(product(*map(range, actions)))
    rows: list[int] = []
    outcomes: list[tuple[Any, ...]] = []
    for state in range(len(table)):
        for index, joint in enumerate(joint_actions):
            here = [outcome for outcome in _outcomes(table, state, joint, agents) if outcome[0] != 0]
            rows += [state * len(joint_actions) + index] * len(here)
            outcomes += here
    probability, successor, rewards, ends = zip(*outcomes, strict=True)
    return (
        np.array(rows), np.array(probability, dtype=float), np.array(successor, dtype=int),
        np.array(ends, dtype=bool), np.array(rewards, dtype=float),
    )  # fmt: skip


def _outcomes(table: Mapping[int, Any], state: int, joint: tuple[int, ...], agents: int) -> list[tuple[Any, ...]]:
    try:
        found = list(table[state][joint])
    except KeyError:
        raise InvalidModelError(f"the table has no entry P[{state}][{joint}]; every state needs every joint action") from None
    for _, successor, rewards, _ in found:
        if not 0 <= successor < len(table):
            raise InvalidModelError(f"P[{state}][{joint}] leads to state {successor}; states are 0..{len(table) - 1}")
        if len(rewards) != agents:
            raise InvalidModelError(f"P[{state}][{joint}] holds {len(rewards)} rewards; there are {agents} agents")
    return found


def _num_actions(env: Any, agent: str) -> int:
    space = env.action_space(agent)
    if not isinstance(space, spaces.Discrete) or space.start != 0:
        raise InvalidModelError(
            f"{agent} has the action space {space}; a game's actions must be Discrete and start at 0: discretise them"
        )
    return int(space.n)


def _max_cycles(env: Any) -> int | None:
    found = getattr(env, "max_cycles", None)
    return (getattr(env, "metadata", None) or {}).get("max_cycles") if found is None else int(found)
