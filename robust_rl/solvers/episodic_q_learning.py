"""Robust Q-learning along episodes, for contamination sets: all it needs is ``reset`` and ``step``.

    Q(s, a)  <-  Q(s, a) + alpha_k ( r + gamma [ (1 - R) V(s') + R min_u V(u) ] - Q(s, a) )                            (1)

after every move (s, a, r, s'), with V = max_a Q (Wang and Zou, 2021). One move is one draw of the nominal row, which is enough
for a set that is linear in it and for no other. Step sizes and averages are those of :mod:`robust_rl.solvers.q_learning`,
counted per pair (s, a). Actions are epsilon-greedy, ties broken at random.

The adversary moves the next state; the reward of a move that nobody has made is unknown, so the reward paid counts as that of
(s, a): learned are the values of ``envs.tabular(env, rewards="expected")``. The minimum runs over the support as far as it was
seen: all states entered so far for "free", the successors seen for "nominal" and "reachable". The end of an episode is a state
of value 0.

Every step begins with a new episode from a seed of the learner's own, so that a resumed run has the bits of an uninterrupted
one, provided that ``reset(seed=...)`` determines all that the environment does next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robust_rl._numba import njit
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.solvers.criterion import digest
from robust_rl.solvers.learned import LearnedValues
from robust_rl.solvers.multilevel import update
from robust_rl.solvers.q_learning import check_discount, check_finite, check_positive
from robust_rl.training import check_same_problem, generator_state, load_arrays, restore_generator, save_arrays
from robust_rl.uncertainty import Contamination, Nominal, RectangularSet

FILE = "episodic_q_learning.safetensors"
SUPPORTS = {"free": 0, "nominal": 1, "reachable": 2}


class EpisodicQLearning:
    """Eq. (1) as a Trainable: one step is ``moves_per_step`` moves in the environment.

    Parameters
    ----------
    env : gymnasium.Env
        With discrete actions. If its ``info`` has an "action_mask", only available actions are taken.
    uncertainty : Contamination or None
        ``None`` is plain Q-learning.
    num_states : int
    state_of : callable
        Index, 0 to ``num_states - 1``, of an observation.
    discount : float
        gamma in [0, 1).
    epsilon : float in (0, 1]
        Share of moves that try a random action.
    seed : int
    initial_value : float
        What every state is worth before anything is learned.
    moves_per_step : int
    max_moves : int, optional
        Done after so many, rounded up to whole steps; without it, never.

    Raises
    ------
    InvalidUncertaintyError
        If the set isn't contamination, or its support is a mask.
    InvalidArgumentError
        If an argument is out of range.
    """

    method = "robust Q-learning along episodes"

    def __init__(
        self,
        env: gymnasium.Env,
        uncertainty: RectangularSet | None,
        *,
        num_states: int,
        state_of: Callable[[Any], int] = int,
        discount: float,
        epsilon: float = 0.3,
        seed: int = 0,
        initial_value: float = 0.0,
        moves_per_step: int = 10_000,
        max_moves: int | None = None,
    ) -> None:
        self.discount, self._set = check_discount(discount), _check_set(uncertainty, env)
        check_positive(num_states=num_states, moves_per_step=moves_per_step, max_moves=max_moves)
        if not 0 < epsilon <= 1:
            raise InvalidArgumentError(
                f"epsilon is {epsilon!r}; it must be in (0, 1], since what is never tried is never learned"
            )
        if not isinstance(env.action_space, spaces.Discrete):
            raise InvalidArgumentError(f"{env} has the action space {env.action_space}; Q-learning needs Discrete actions")
        self.env, self.uncertainty, self.epsilon, self._state_of = env, uncertainty, float(epsilon), state_of
        self.moves_per_step, self.max_moves, self._first_action = moves_per_step, max_moves, int(env.action_space.start)
        shape = (num_states, int(env.action_space.n))
        self._radii = self._set.radii(shape) if uncertainty is not None else np.zeros(shape[0] * shape[1])
        self._support = SUPPORTS[str(self._set.support)]
        # the last state is the end of an episode
        self.seen = np.zeros((shape[0] * shape[1] if self._support else 1, num_states + 1), dtype=bool)
        self.action_values, self.average = np.full((2, *shape), check_finite(initial_value))
        self.visits = np.zeros(shape[0] * shape[1], dtype=np.int64)
        self.rng = np.random.default_rng(seed)
        self.moves = 0

    @property
    def done(self) -> bool:
        """Whether ``max_moves`` are done."""
        return self.max_moves is not None and self.moves >= self.max_moves

    def step(self) -> Mapping[str, float]:
        """Make ``moves_per_step`` moves, beginning a new episode."""
        seed = int(self.rng.integers(2**31))
        explore, pick = self.rng.random((2, self.moves_per_step))
        state = self._reset(seed=seed)
        error, episodes, total = 0.0, 0, 0.0
        for k in range(self.moves_per_step):
            action = _choose(self.action_values[state], explore[k] < self.epsilon, pick[k])
            observation, reward, terminated, truncated, info = self.env.step(self._first_action + action)
            following = self._enter(observation, info)
            error += _learn(
                self.action_values, self.average, self.visits, self.seen, self._radii, self._support, self.discount,
                state, action, float(reward), following, bool(terminated),
            )  # fmt: skip
            state, total = following, total + float(reward)
            if terminated or truncated:
                state, episodes = self._reset(), episodes + 1
        self.moves += self.moves_per_step
        return {
            "train/updates": float(self.moves),
            "train/error": error / self.moves_per_step,
            "train/episodes": float(episodes),
            "train/reward": total / self.moves_per_step,
        }

    def solution(self) -> LearnedValues:
        """Return what has been learned so far."""
        terminal = np.zeros(len(self.average), dtype=bool)
        return LearnedValues(self.average.copy(), terminal, self.uncertainty, self.discount, self.method, self.moves, self.moves)

    def save_checkpoint(self, directory: Path) -> None:
        """Write Q, counts, what was seen, and the generator."""
        arrays = {name: getattr(self, name) for name in ("action_values", "average", "visits", "seen")}
        save_arrays(directory / FILE, arrays, self._problem() | {"moves": self.moves, "generator": generator_state(self.rng)})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem())
        self.action_values, self.average = arrays["action_values"], arrays["average"]
        self.visits, self.seen = arrays["visits"], arrays["seen"]
        self.moves, self.rng = state["moves"], restore_generator(state["generator"])

    def _reset(self, seed: int | None = None) -> int:
        observation, info = self.env.reset(seed=seed)
        return self._enter(observation, info)

    def _enter(self, observation: Any, info: Mapping[str, Any]) -> int:
        """Return the index of an observation, and note which actions it has."""
        state = self._state_of(observation)
        if "action_mask" in info:
            unavailable = np.asarray(info["action_mask"]) == 0
            self.action_values[state, unavailable] = self.average[state, unavailable] = -np.inf
        return state

    def _problem(self) -> dict[str, Any]:
        spec = self.env.spec
        return {
            "uncertainty": repr(self._set),
            "environment": type(self.env.unwrapped).__qualname__ if spec is None else f"{spec.id} {spec.kwargs}",
            "states": self.action_values.shape[0],
            "actions": self.action_values.shape[1],
            "uncertainty's arrays": digest(list(self._set.describe().values())),
            "discount": self.discount,
            "epsilon": self.epsilon,
            "moves_per_step": self.moves_per_step,
        }


def _check_set(uncertainty: RectangularSet | None, env: gymnasium.Env) -> RectangularSet:
    if uncertainty is None:
        return Nominal()
    if not isinstance(uncertainty, Contamination):
        raise InvalidUncertaintyError(
            f"{uncertainty!r} needs repeated draws at one state and action, which playing {env} doesn't give; use Contamination, "
            "or give a TabularMDP or an object with sample(state, action, n, rng), see robust_rl.models.GenerativeModel"
        )
    if not isinstance(uncertainty.support, str):
        raise InvalidUncertaintyError(
            f"{uncertainty!r}: a support mask can't be applied along episodes, whose ends belong to moves, not to states; "
            f"use one of {', '.join(SUPPORTS)}"
        )
    return uncertainty


@njit
def _choose(values, explore, uniform):  # type: ignore[no-untyped-def]
    """Return an available action: any if exploring, else a best one, each with the same probability."""
    best = np.max(values)
    count = 0
    for a in range(len(values)):
        count += values[a] == best or (explore and values[a] > -np.inf)
    left = int(uniform * count)
    for a in range(len(values)):
        if values[a] == best or (explore and values[a] > -np.inf):
            if left == 0:
                return a
            left -= 1
    return 0


@njit
def _learn(  # type: ignore[no-untyped-def]
    action_values, average, visits, seen, radii, support, discount, state, action, reward, following, ended
):  # fmt: skip
    """Apply eq. (1) to one move; return the size of its error."""
    states, actions = action_values.shape
    row = state * actions + action
    entered = states if ended else following
    seen[row if support else 0, entered] = True
    begin, end = 0, 1
    if support == 0:
        seen[0, state] = True
    elif support == 1:
        begin, end = row, row + 1
    else:
        begin, end = state * actions, (state + 1) * actions
    lowest = np.inf
    if radii[row] > 0.0:
        for i in range(begin, end):
            for s in range(states + 1):
                if seen[i, s]:
                    lowest = min(lowest, 0.0 if s == states else np.max(action_values[s]))
    else:
        lowest = 0.0
    value = 0.0 if ended else np.max(action_values[following])
    target = reward + discount * ((1.0 - radii[row]) * value + radii[row] * lowest)  # eq. 1
    return abs(update(action_values, average, visits, state, action, target, discount))
