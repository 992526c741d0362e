"""What a learner that only sees draws knows about supports and rewards.

A support is part of an uncertainty set, and it decides how low a worst case can be. Learned from draws it is

=============  ============================================================================================
support        states that the adversary may use at (s, a)
=============  ============================================================================================
"free"         every state of the simulator
boolean mask   those marked; a draw outside of it is an error
"nominal"      the next states drawn so far at (s, a)
"reachable"    the next states drawn so far at s under any action
=============  ============================================================================================

The last two grow to the true supports, because every successor is drawn sooner or later; a successor of small probability
that wasn't is one that the adversary doesn't know of, and values are then too high. KL, chi-square and CVaR need no such
knowledge: their worst case uses drawn states only.

Rewards r(s,a,s') follow the convention of :mod:`robust_rl.uncertainty.layout`: a state that (s, a) wasn't seen to reach pays the
lowest reward among the actions of s that were, and if there is none, the simulator's own entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.models.generative import GenerativeModel
from robust_rl.solvers.multilevel import EVERY_STATE, MASKED, ONLY_DRAWN, SEEN_FROM_ROW, SEEN_FROM_STATE
from robust_rl.uncertainty import RectangularSet, SupportedSet

NO_TABLE = np.zeros((0, 0))
NO_FLAGS = np.zeros((0, 0), dtype=bool)


class Knowledge:
    """Supports and rewards, as far as draws have shown them.

    ==========  ========================================================================================
    mode        which states the adversary may use, see :mod:`robust_rl.solvers.multilevel`
    seen        (S*A, S) whether a move was drawn; empty where nothing depends on it
    allowed     (S*A, S) the support, unless it is every state or those drawn just now
    own         (S*A, S) the simulator's r(s,a,s'); empty for r(s,a)
    pay         (S*A, S) r(s,a,s') by the convention, or r(s,a) as (S*A, 1)
    ==========  ========================================================================================
    """

    def __init__(self, simulator: GenerativeModel, uncertainty: RectangularSet) -> None:
        states, actions = simulator.num_states, simulator.num_actions
        self.actions = actions
        rewards = np.array(simulator.rewards, dtype=np.float64, order="C")
        by_move = rewards.ndim == 3
        self.own = rewards.reshape(-1, states) if by_move else NO_TABLE
        self.pay = self.own.copy() if by_move else rewards.reshape(-1, 1)
        self.mode, self.allowed = _support(uncertainty, states, actions)
        self.seen = NO_FLAGS
        if by_move or self.mode in (MASKED, SEEN_FROM_ROW, SEEN_FROM_STATE):
            self.seen = np.zeros((states * actions, states), dtype=bool)

    def restore(self, seen: NDArray[np.bool_]) -> None:
        """Take over what another learner has seen."""
        self.seen = seen
        by_state = seen.reshape(-1, self.actions, seen.shape[-1])
        if self.mode == SEEN_FROM_ROW:
            self.allowed = seen.copy()
        elif self.mode == SEEN_FROM_STATE:
            self.allowed = np.repeat(by_state.any(axis=1), self.actions, axis=0)
        if self.own.size:
            own = self.own.reshape(by_state.shape)
            lowest = np.where(by_state, own, np.inf).min(axis=1, keepdims=True)
            self.pay = np.where(by_state | np.isinf(lowest), own, lowest).reshape(self.own.shape)

    def check(self, uncertainty: RectangularSet) -> None:
        """Raise InvalidUncertaintyError if a draw has left the mask."""
        if self.mode != MASKED:
            return
        outside = np.argwhere(self.seen & ~self.allowed)
        if outside.size:
            (state, action), successor = divmod(int(outside[0, 0]), self.actions), int(outside[0, 1])
            raise InvalidUncertaintyError(
                f"{uncertainty!r}: the support mask excludes s'={successor}, which (s={state}, a={action}) was seen to reach; "
                "a support must include all successors"
            )


def _support(uncertainty: RectangularSet, states: int, actions: int) -> tuple[int, NDArray[np.bool_]]:
    support: Any = uncertainty.support
    shape = (states * actions, states)
    if not isinstance(uncertainty, SupportedSet):
        return ONLY_DRAWN, NO_FLAGS
    if isinstance(support, str):
        if support == "free":
            return EVERY_STATE, NO_FLAGS
        return (SEEN_FROM_ROW if support == "nominal" else SEEN_FROM_STATE), np.zeros(shape, dtype=bool)
    if support.shape == (states, states):
        support = np.repeat(support, actions, axis=0)
    if support.shape not in ((states, actions, states), shape):
        raise InvalidUncertaintyError(
            f"the support mask has shape {support.shape}; expected {(states, actions, states)} or {(states, states)}"
        )
    return MASKED, np.array(support, order="C").reshape(shape)
