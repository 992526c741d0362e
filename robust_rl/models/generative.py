"""Simulators that can be asked about any state and action, as often as one likes: what generative-model algorithms learn from.

A learner draws next states from a simulator and never sees a probability. Any object with the attributes and the method of
:class:`GenerativeModel` is one; :class:`TabularSimulator` makes one of a model.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl._numba import njit
from robust_rl.errors import InvalidArgumentError
from robust_rl.models.tabular import TabularMDP

DENSE_REWARDS = 100_000_000  # entries of r(s,a,s') held as an array, 800 MB


@runtime_checkable
class GenerativeModel(Protocol):
    """What a simulator must offer.

    ============  ===================================================================================================
    num_states    S; states are 0..S-1
    num_actions   A; actions are 0..A-1
    rewards       r(s, a) of shape (S, A), or r(s, a, s') of shape (S, A, S); 0 where a move has none
    terminal      optional, (S,) boolean: states that end an episode; worth 0 and never sampled
    action_mask   optional, (S, A) boolean: actions that are available
    start         optional, (S,): distribution of the first state, used only to report a value
    ============  ===================================================================================================
    """

    num_states: int
    num_actions: int
    rewards: NDArray[np.float64]

    def sample(self, state: int, action: int, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Return n independent next states, (n,) integers, drawn with ``rng`` and nothing else."""
        ...


class TabularSimulator:
    """A :class:`~robust_rl.TabularMDP` that only answers draws.

    Parameters
    ----------
    model : TabularMDP

    Raises
    ------
    InvalidArgumentError
        If rewards r(s,a,s') are too many for one dense array.

    Examples
    --------
    >>> simulator = TabularSimulator(TabularMDP([[[0.25, 0.75]], [[0.0, 1.0]]], [[0.0], [1.0]]))
    >>> simulator.sample(0, 0, 100_000, np.random.default_rng(0)).mean().round(2)
    np.float64(0.75)
    """

    def __init__(self, model: TabularMDP) -> None:
        self.model, self.num_states, self.num_actions = model, model.num_states, model.num_actions
        self.terminal, self.action_mask, self.start = model.terminal, model.action_mask, model.start
        shape = (self.num_states, self.num_actions, self.num_states)
        if model.has_transition_rewards and np.prod(shape) > DENSE_REWARDS:
            raise InvalidArgumentError(
                f"r(s,a,s') of shape {shape} is too large to be held densely; use model.with_expected_rewards()"
            )
        self.rewards = model.rewards.toarray().reshape(shape) if sparse.issparse(model.rewards) else model.rewards
        matrix = model.csr()
        self._ptr, self._successors = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        self._cumulative = np.cumsum(matrix.data)

    def sample(self, state: int, action: int, n: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Return n next states, (n,)."""
        row = state * self.num_actions + action
        first, last = int(self._ptr[row]), int(self._ptr[row + 1])
        below = self._cumulative[first - 1] if first else 0.0
        return _invert(self._cumulative[first:last], below, self._successors[first:last], rng.random(n))  # type: ignore[no-any-return]


def as_simulator(model: object) -> GenerativeModel:
    """Return a simulator: of a model, or the object itself once it is found to be one.

    Raises
    ------
    InvalidArgumentError
        If the object lacks a part of :class:`GenerativeModel`, or an array has the wrong shape; the message names it.
    """
    if isinstance(model, TabularMDP):
        return TabularSimulator(model)
    if not isinstance(model, GenerativeModel):
        missing = [name for name in ("num_states", "num_actions", "rewards", "sample") if not hasattr(model, name)]
        raise InvalidArgumentError(
            f"{model!r} is no simulator: it has no {', '.join(missing)}; see robust_rl.models.GenerativeModel, "
            "or give a TabularMDP"
        )
    states, actions = model.num_states, model.num_actions
    rewards = np.asarray(model.rewards)
    if rewards.shape not in ((states, actions), (states, actions, states)):
        raise InvalidArgumentError(
            f"the simulator's rewards have shape {rewards.shape}; expected {(states, actions)} or {(states, actions, states)}"
        )
    if not np.isfinite(rewards).all():
        raise InvalidArgumentError("the simulator's rewards have an entry that is NaN or infinite")
    terminal_states(model)
    available_actions(model)
    return model


def terminal_states(simulator: GenerativeModel) -> NDArray[np.bool_]:
    """Return the (S,) mask of states that end an episode; none if the simulator names none."""
    return _flags(simulator, "terminal", (simulator.num_states,), default=False)


def available_actions(simulator: GenerativeModel) -> NDArray[np.bool_]:
    """Return the (S, A) mask of available actions; all if the simulator names none."""
    return _flags(simulator, "action_mask", (simulator.num_states, simulator.num_actions), default=True)


def _flags(simulator: GenerativeModel, name: str, shape: tuple[int, ...], *, default: bool) -> NDArray[np.bool_]:
    given = getattr(simulator, name, None)
    if given is None:
        return np.full(shape, default)
    flags = np.asarray(given)
    if flags.shape != shape or flags.dtype != bool:
        raise InvalidArgumentError(f"the simulator's {name} is {flags.dtype} of shape {flags.shape}; expected booleans {shape}")
    return flags


@njit
def _invert(cumulative, below, successors, uniform):  # type: ignore[no-untyped-def]
    """Next states by inversion. Short rows, the common case, by a linear search that the processor can predict."""
    chosen = np.empty(len(uniform), np.int32)
    last = len(cumulative) - 1
    width = cumulative[last] - below
    for k in range(len(uniform)):
        target = below + uniform[k] * width
        j = 0
        if last < 16:
            while j < last and cumulative[j] <= target:
                j += 1
        else:
            j = min(np.searchsorted(cumulative, target, side="right"), last)
        chosen[k] = successors[j]
    return chosen
