"""Finite Markov games as plain arrays: n agents act at once, and each has a reward of its own.

==========  =================  =========================================================================================
symbol      here               meaning, shape
==========  =================  =========================================================================================
n, S, H     num_agents,        numbers of agents and states; number of decisions, None of a discounted game
            num_states,
            horizon
A1..An      num_actions        numbers of actions, one an agent
M           num_joint_actions  A1 * .. * An; joint action a = (a_1, .., a_n) has index ravel(a) in C order
P_h         transitions        P_h(s' | s, a): dense (S, A1..An, S) or (H, S, A1..An, S); or CSR of shape (S*M, S), one for all
                               stages or a list of H, whose row s*M + a is (s, a)
r_{i,h}     rewards            r_i(s, a): (n, S, A1..An) or (n, H, S, A1..An)
mu          start              distribution of the first state, (S,)
==========  =================  =========================================================================================

A terminal state is absorbing and pays nothing, so its value is 0 and no adversary acts there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidModelError
from robust_rl.models import validation
from robust_rl.models.memory import require_memory
from robust_rl.models.tabular import TabularMDP

Array = NDArray[np.float64]


class MarkovGame:
    """A finite general-sum Markov game, dense or sparse, over a finite horizon or discounted.

    Parameters
    ----------
    transitions : (S, A1..An, S) or (H, S, A1..An, S) array; CSR matrix of shape (S*M, S) or a list of H of them
        Probabilities of the next state. One kernel serves all stages. Rows of terminal states are ignored.
    rewards : (n, S, A1..An) or (n, H, S, A1..An) array
        ``r_i(s, a)`` of each agent; a reward that depends on the next state enters with its mean.
    agents : sequence of str, optional
        Names, as in PettingZoo. Default: ``player_0``, ``player_1``, ...
    horizon : int, optional
        Number of decisions H. Arrays without an axis for the stage serve every stage; without a horizon they make a discounted
        game.
    start : (S,) array, optional
        Distribution of the first state. Default: state 0 with certainty.
    terminal : (S,) boolean array or sequence of state indices, optional
        States in which the episode is over.

    Raises
    ------
    InvalidModelError
        If shapes disagree, an entry is negative, NaN or infinite, or a row doesn't sum to 1 within 1e-8; the message names
        stage, state and joint action. If the memory isn't there to hold the arrays; the message says how much they need.

    Examples
    --------
    >>> import numpy as np
    >>> stay = np.ones((1, 2, 2, 1))
    >>> matching_pennies = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
    >>> MarkovGame(stay, np.stack([matching_pennies, -matching_pennies]), horizon=3)
    MarkovGame(agents=('player_0', 'player_1'), states=1, actions=(2, 2), horizon=3, transitions='dense')
    """

    def __init__(
        self,
        transitions: Any,
        rewards: ArrayLike,
        *,
        agents: Sequence[str] | None = None,
        horizon: int | None = None,
        start: ArrayLike | None = None,
        terminal: ArrayLike | None = None,
    ) -> None:
        _require_copies(transitions, rewards)
        self.rewards = _as_rewards(rewards)
        self.num_agents = len(self.rewards)
        shape = self.rewards.shape[-self.num_agents - 1 :]
        self.num_states, self.num_actions = int(shape[0]), tuple(map(int, shape[1:]))
        self.num_joint_actions = math.prod(self.num_actions)
        self.agents = _as_agents(agents, self.num_agents)
        self.start = validation.as_start(start, self.num_states)
        self.terminal = validation.as_terminal(terminal, self.num_states)
        self.transitions = self._as_transitions(transitions)
        self.horizon = self._as_horizon(horizon)
        self._check_rewards()
        self.transitions = self._checked_rows()

    @property
    def is_sparse(self) -> bool:
        """Whether the transitions are held as CSR."""
        return sparse.issparse(self.transitions) or isinstance(self.transitions, list)

    @property
    def has_stage_kernels(self) -> bool:
        """Whether each stage has a kernel of its own."""
        return isinstance(self.transitions, list) or (not self.is_sparse and self.transitions.ndim == self.num_agents + 3)

    @property
    def has_stage_rewards(self) -> bool:
        """Whether each stage has rewards of its own."""
        return self.rewards.ndim == self.num_agents + 3

    @property
    def nbytes(self) -> int:
        """Bytes held by transitions and rewards."""
        kernels = self.transitions if isinstance(self.transitions, list) else [self.transitions]
        held: int = sum(k.data.nbytes + k.indices.nbytes + k.indptr.nbytes if sparse.issparse(k) else k.nbytes for k in kernels)
        return self.rewards.nbytes + held

    def kernel(self, h: int = 0) -> Any:
        """Return the kernel of stage h as a single agent would see it: (S, M, S), a view, or CSR (S*M, S)."""
        one = self.transitions[h] if self.has_stage_kernels else self.transitions
        return one if sparse.issparse(one) else one.reshape(self.num_states, self.num_joint_actions, self.num_states)

    def stage_rewards(self, h: int = 0) -> Array:
        """Return the rewards of stage h, (n, S, A1..An), a view."""
        return self.rewards[:, h] if self.has_stage_rewards else self.rewards

    def stage(self, h: int, agent: str) -> TabularMDP:
        """Return stage h as one agent sees it: the model whose actions are the joint actions, sharing this game's memory.

        Raises
        ------
        InvalidModelError
            If there is no such stage or agent.
        """
        if not 0 <= h < (self.horizon or 1):
            raise InvalidModelError(f"there is no stage {h}; stages are 0..{(self.horizon or 1) - 1}")
        if agent not in self.agents:
            raise InvalidModelError(f"there is no agent {agent!r}; agents are {', '.join(self.agents)}")
        rewards = self.stage_rewards(h)[self.agents.index(agent)].reshape(self.num_states, -1)
        return TabularMDP(self.kernel(h), rewards, start=self.start, terminal=self.terminal)

    def replace(self, **changes: Any) -> MarkovGame:
        """Return a copy with some constructor arguments replaced."""
        names = ("transitions", "rewards", "agents", "horizon", "start", "terminal")
        return MarkovGame(**({name: getattr(self, name) for name in names} | changes))

    @classmethod
    def from_env(cls, env: Any, horizon: int | None = None) -> MarkovGame:
        """Read the table of a PettingZoo parallel environment, ``env.unwrapped.P[s][(a_1, .., a_n)]``.

        Raises
        ------
        NoTableError
            If the environment has no table; the message says what to do.
        """
        from robust_rl.models.pettingzoo_table import read_game

        return read_game(env, horizon)

    def save(self, path: str | Path) -> Path:
        """Write the game to one compressed ``.npz`` file and return its path."""
        from robust_rl.models import game_file

        return game_file.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> MarkovGame:
        """Read a game written by :meth:`save`.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        from robust_rl.models import game_file

        return game_file.load(Path(path))

    def row_name(self, row: int, h: int | None = None) -> str:
        """Return what names row s*M + a in a message: ``h=1, s=3, a=(0, 2)``."""
        state, joint = divmod(row, self.num_joint_actions)
        action = tuple(map(int, np.unravel_index(joint, self.num_actions)))
        return ("" if h is None else f"h={h}, ") + f"s={state}, a={action}"

    def __repr__(self) -> str:
        layout = "csr" if self.is_sparse else "dense"
        return (
            f"MarkovGame(agents={self.agents}, states={self.num_states}, actions={self.num_actions}, horizon={self.horizon}, "
            f"transitions={layout!r})"
        )

    def _as_transitions(self, transitions: Any) -> Any:
        """Return one array or CSR matrix, or a list of CSR matrices, of the right shape."""
        expected = f"{_one_kernel(self)}, a leading axis for the stage, or CSR of shape {self._csr_shape}"
        if sparse.issparse(transitions):
            return self._as_csr(transitions)
        if isinstance(transitions, (list, tuple)) and any(sparse.issparse(matrix) for matrix in transitions):
            return [self._as_csr(matrix) for matrix in transitions]
        array = validation.as_transitions(transitions)
        if array.shape[-self.num_agents - 2 :] != _one_kernel(self) or array.ndim > self.num_agents + 3 or 0 in array.shape:
            raise InvalidModelError(
                f"transitions have shape {array.shape}; rewards of shape {self.rewards.shape} need {expected}"
            )
        return array

    @property
    def _csr_shape(self) -> tuple[int, int]:
        return self.num_states * self.num_joint_actions, self.num_states

    def _as_csr(self, matrix: Any) -> sparse.csr_array:
        if not sparse.issparse(matrix) or matrix.shape != self._csr_shape:
            raise InvalidModelError(
                f"a stage's transitions have shape {np.shape(matrix)}; rewards of shape {self.rewards.shape} need CSR of shape "
                f"{self._csr_shape}, a row for each state and joint action"
            )
        return validation.as_transitions(matrix)

    def _as_horizon(self, horizon: Any) -> int | None:
        """Return the number of stages that everything agrees on."""
        given: dict[str, int] = {}
        if horizon is not None:
            if not isinstance(horizon, (int, np.integer)) or isinstance(horizon, bool) or horizon < 1:
                raise InvalidModelError(f"horizon is {horizon!r}; it must be a positive integer")
            given["horizon"] = int(horizon)
        if self.has_stage_kernels:
            given["transitions"] = len(self.transitions)
        if self.has_stage_rewards:
            given["rewards"] = self.rewards.shape[1]
        if len(set(given.values())) > 1:
            stages = ", ".join(f"{name} {count}" for name, count in given.items())
            raise InvalidModelError(f"the stages don't agree in number: {stages}")
        return next(iter(given.values()), None)

    def _check_rewards(self) -> None:
        rows = self.rewards.reshape(self.num_agents, -1, self.num_states, self.num_joint_actions)
        bad = np.argwhere(~np.isfinite(rows) & ~self.terminal[:, None])
        if bad.size:
            agent, h, state, joint = map(int, bad[0])
            where = self.row_name(state * self.num_joint_actions + joint, h if self.has_stage_rewards else None)
            raise InvalidModelError(f"the reward of {self.agents[agent]} at ({where}) is NaN or infinite; rewards must be finite")

    def _checked_rows(self) -> Any:
        """Return the transitions with rows that sum to 1 up to rounding; those of terminal states are ignored."""
        active = np.repeat(~self.terminal, self.num_joint_actions)
        if isinstance(self.transitions, list):
            return [
                validation.checked_rows(matrix, active, lambda row, h=h: self.row_name(row, h))  # type: ignore[misc]
                for h, matrix in enumerate(self.transitions)
            ]
        if self.is_sparse:
            return validation.checked_rows(self.transitions, active, self.row_name)
        stages = len(self.transitions) if self.has_stage_kernels else 1
        rows = self.transitions.reshape(stages * self.num_states, self.num_joint_actions, self.num_states)

        def name(row: int) -> str:
            h, row = divmod(row, len(active))
            return self.row_name(row, h if self.has_stage_kernels else None)

        return validation.checked_rows(rows, np.tile(active, stages), name).reshape(self.transitions.shape)


def _one_kernel(game: MarkovGame) -> tuple[int, ...]:
    return (game.num_states, *game.num_actions, game.num_states)


def _require_copies(transitions: Any, rewards: Any) -> None:
    """Refuse arrays whose plain copies don't fit: those broadcast from a few numbers take no memory yet."""
    needed = 0.0
    for array in (transitions, rewards):
        if isinstance(array, np.ndarray) and not (array.flags.c_contiguous and array.dtype in (np.float32, np.float64)):
            needed += 8.0 * math.prod(array.shape)
    if needed:
        what = f"transitions of shape {np.shape(transitions)} and rewards of shape {np.shape(rewards)}"
        require_memory(needed, what, "give transitions as CSR, or fewer joint actions")


def _as_rewards(rewards: ArrayLike) -> Array:
    try:
        array = np.ascontiguousarray(rewards, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidModelError(f"rewards are not an array of numbers: {error}") from error
    agents = len(array) if array.ndim else 0
    if 0 in array.shape or array.ndim not in (agents + 2, agents + 3):
        raise InvalidModelError(
            f"rewards have shape {array.shape}; expected (n, S, A1..An) or (n, H, S, A1..An): the first axis is the agent, and "
            "each agent has an axis for its actions"
        )
    return array


def _as_agents(agents: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if agents is None:
        return tuple(f"player_{i}" for i in range(count))
    names = tuple(agents)
    if len(names) != count or len(set(names)) != count or not all(isinstance(name, str) for name in names):
        raise InvalidModelError(
            f"agents are {names}; expected {count} different names, one for each agent that rewards are given for"
        )
    return names
