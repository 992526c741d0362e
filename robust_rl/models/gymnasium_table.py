"""Reads the transition tables that Gymnasium's toy-text environments carry.

Such a table maps ``P[s][a]`` to a list of ``(probability, next state, reward, terminated)``. Three of its habits matter here:
it may hold entries of probability zero, which are not successors; it may list a successor several times with different
rewards, of which ``r(s,a,s')`` is the conditional mean; and termination belongs to a transition, not to a state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import NoTableError
from robust_rl.models.tabular import TabularMDP


def read_table(env: Any) -> TabularMDP:
    """Return the model of an unwrapped environment: its ``model`` attribute, or its table ``P``.

    A state into which every transition from elsewhere ends the episode becomes terminal. Where some do and some don't, the
    ones that do lead to one extra absorbing state, the last index, so that the model stays exact; observations keep their
    indices.

    Raises
    ------
    NoTableError
        If the environment has neither.
    """
    model = getattr(env, "model", None)
    if isinstance(model, TabularMDP):
        return model
    table = getattr(env, "P", None)
    if not isinstance(table, dict) or not hasattr(env.action_space, "n"):
        raise NoTableError(
            f"{_name(env)} has no transition table, needed for exact planning: pass a TabularMDP, or one of `robust-rl envs`"
        )
    return _model(table, int(env.action_space.n), getattr(env, "initial_state_distrib", None))


def _model(table: dict[int, Any], actions: int, start: Any) -> TabularMDP:
    states = len(table)
    source, action, probability, successor, reward, ends = _columns(table)
    terminal = terminal_states(source, successor, ends, states)
    to_extra = ends & ~terminal[successor]
    if to_extra.any():
        successor = np.where(to_extra, states, successor)
        terminal = np.append(terminal, True)
    size = len(terminal)
    row = source * actions + action
    alive = ~terminal[source]
    shape = (size * actions, size)
    # COO sums duplicates, which turns (p, p r) into (P, P r) per (s, a, s')
    transitions = sparse.csr_array((probability[alive], (row[alive], successor[alive])), shape=shape)
    weighted = sparse.csr_array((probability[alive] * reward[alive], (row[alive], successor[alive])), shape=shape)
    transitions.sum_duplicates()
    weighted.sum_duplicates()
    rewards = transitions.copy()
    rewards.data = weighted.data / transitions.data
    first = None if start is None else np.pad(np.asarray(start, dtype=float), (0, size - states))
    if size * actions * size <= 1_000_000:  # a dense copy of at most 8 MB keeps everything inspectable
        dense = (size, actions, size)
        return TabularMDP(transitions.toarray().reshape(dense), rewards.toarray().reshape(dense), start=first, terminal=terminal)
    return TabularMDP(transitions, rewards, start=first, terminal=terminal)


def _columns(table: dict[int, Any]) -> tuple[NDArray[Any], ...]:
    """Flatten the nested table into columns, without entries of probability zero."""
    rows = [
        (state, action, float(p), int(successor), float(reward), bool(ends))
        for state, by_action in table.items()
        for action, outcomes in by_action.items()
        for p, successor, reward, ends in outcomes
        if p != 0
    ]
    source, action, probability, successor, reward, ends = map(np.array, zip(*rows, strict=True))
    return source, action, probability, successor, reward, ends


def terminal_states(source: NDArray[Any], successor: NDArray[Any], ends: NDArray[Any], states: int) -> NDArray[np.bool_]:
    """Largest set of states that are entered by an ending transition, and from outside the set by no other kind."""
    terminal = np.zeros(states, dtype=bool)
    terminal[successor[ends]] = True
    while True:
        contradicted = terminal[successor] & ~ends & ~terminal[source]
        if not contradicted.any():
            return terminal
        terminal[successor[contradicted]] = False


def _name(env: Any) -> str:
    spec = getattr(env, "spec", None)
    return spec.id if spec is not None else type(env).__name__
