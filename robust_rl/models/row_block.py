"""Rows of a model that is never whole in one place.

A :class:`RowBlock` is the rows of states ``first`` to ``last - 1``, whose successors are any of the model's S states. A
:class:`RowSource` hands out blocks, the same rows whatever the cuts: from a file, :class:`FileRows`, or from a seed,
:class:`~robust_rl.models.hashed_garnet.HashedGarnet`. A source is small; that is what travels to other processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidArgumentError, InvalidModelError
from robust_rl.models import model_file, validation
from robust_rl.models.tabular import TabularMDP


class RowBlock:
    """Some states' rows of a larger model, in CSR.

    Parameters
    ----------
    transitions : CSR matrix of shape (B*A, S)
        Row b*A + a is the next states of the block's state b and action a. Float32 stays float32.
    rewards : (B, A) array, or CSR matrix of shape (B*A, S)
        ``r(s, a)`` or ``r(s, a, s')``.
    num_actions : int
        A.
    terminal : (B,) boolean array, optional
    action_mask : (B, A) boolean array, optional

    Raises
    ------
    InvalidModelError
        As :class:`~robust_rl.TabularMDP`; and where a row misses 1 by more than rounding: whether a model's rows are divided by
        their sums must not hang on how it is cut.
    """

    is_sparse = True

    def __init__(
        self,
        transitions: sparse.csr_array,
        rewards: Any,
        num_actions: int,
        *,
        terminal: ArrayLike | None = None,
        action_mask: ArrayLike | None = None,
    ) -> None:
        self.transitions: Any = validation.as_transitions(transitions)
        (rows, self.num_states), self.num_actions = self.transitions.shape, num_actions
        if rows % num_actions:
            raise InvalidModelError(f"the block has {rows} rows, which is no multiple of {num_actions} actions")
        shape = (rows // num_actions, num_actions)
        self.terminal = validation.as_terminal(terminal, shape[0])
        self.action_mask = validation.as_action_mask(action_mask, shape, self.terminal)
        self.rewards: Any = _rewards(rewards, shape, self.num_states)
        checked = validation.checked_rows(self.transitions, self.active_rows, validation.pair_name(num_actions))
        if checked is not self.transitions:
            raise InvalidModelError(
                "a row of the block misses 1 by more than rounding; divide rows by their sums where they are made"
            )
        validation.check_finite_rewards(self.rewards, self.active_rows, shape)

    @property
    def has_transition_rewards(self) -> bool:
        """Whether rewards depend on the next state, ``r(s, a, s')``."""
        return bool(sparse.issparse(self.rewards))

    @property
    def active_rows(self) -> NDArray[np.bool_]:
        """(B*A,) mask of available actions of states that aren't terminal."""
        return (self.action_mask & ~self.terminal[:, None]).ravel()

    def csr(self) -> sparse.csr_array:
        """Return the transitions."""
        return self.transitions


@runtime_checkable
class RowSource(Protocol):
    """What hands out a model's rows. It is sent to other processes, so it is small: a path, or a seed and some numbers.

    ============  =====================================================================
    num_states    S
    num_actions   A
    start         (S,) distribution of the first state
    terminal      (S,) boolean
    ============  =====================================================================

    Its ``repr`` says all that the rows depend on.
    """

    num_states: int
    num_actions: int

    @property
    def start(self) -> NDArray[np.float64]:
        """Distribution of the first state, (S,)."""
        ...

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """States that end an episode, (S,)."""
        ...

    def rows(self, first: int, last: int) -> RowBlock:
        """Return the rows of states ``first`` to ``last - 1``; the same, to the bit, in whatever blocks they are asked for."""
        ...


class FileRows:
    """The rows of a model file written by :meth:`TabularMDP.save`.

    Parameters
    ----------
    path
        A ``.model`` directory, of which a block maps its own part into memory; or an ``.npz`` file, which is read whole for every
        block. Rows of a dense model are turned into CSR.

    Raises
    ------
    FileFormatError
        If the file is corrupt, foreign, or of a newer format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(Path(path).resolve())
        arrays = model_file.read(Path(self.path))
        self.num_states, self.num_actions = arrays["action_mask"].shape

    def __repr__(self) -> str:
        return f"FileRows({self.path!r})"

    @property
    def start(self) -> NDArray[np.float64]:
        """Distribution of the first state, (S,)."""
        return np.array(model_file.read(Path(self.path))["start"])

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """States that end an episode, (S,)."""
        return np.array(model_file.read(Path(self.path))["terminal"])

    def rows(self, first: int, last: int) -> RowBlock:
        """Return the rows of states ``first`` to ``last - 1``."""
        arrays, actions = model_file.read(Path(self.path)), self.num_actions
        cut = (first * actions, last * actions)
        transitions, rewards = (
            _cut(arrays, name, cut, (first, last), self.num_states, Path(self.path)) for name in model_file.MATRICES
        )
        if not sparse.issparse(transitions):
            transitions = sparse.csr_array(transitions.reshape(-1, self.num_states))
        if not sparse.issparse(rewards) and rewards.ndim == 3:
            rewards = sparse.csr_array(rewards.reshape(-1, self.num_states))
        part = slice(first, last)
        return RowBlock(transitions, rewards, actions, terminal=arrays["terminal"][part], action_mask=arrays["action_mask"][part])


def as_source(model: Any) -> RowSource:
    """Return a source: of a path, or the object itself once it is found to be one.

    Raises
    ------
    InvalidArgumentError
        If it is neither; of a model in memory the message says how to make one.
    """
    if isinstance(model, str | Path):
        return FileRows(model)
    if isinstance(model, TabularMDP):
        raise InvalidArgumentError(
            "the model is in this process's memory already; write it with model.save('name.model') and give the path"
        )
    if not isinstance(model, RowSource):
        raise InvalidArgumentError(f"{model!r} is no source of rows; give the path of a model, or see robust_rl.models.RowSource")
    return model


def whole_model(source: RowSource) -> TabularMDP:
    """Return the model of a source in one piece, for those that fit: what blocks are compared with."""
    block = source.rows(0, source.num_states)
    return TabularMDP(
        block.transitions, block.rewards, start=source.start, terminal=block.terminal, action_mask=block.action_mask
    )


def _rewards(rewards: Any, shape: tuple[int, int], num_states: int) -> Any:
    if sparse.issparse(rewards):
        given, wanted = validation.canonical(rewards), (shape[0] * shape[1], num_states)
    else:
        given, wanted = np.ascontiguousarray(rewards, dtype=np.float64), shape
    if given.shape != wanted:
        raise InvalidModelError(f"the block's rewards have shape {given.shape}; expected {wanted}")
    return given


def _cut(
    arrays: Mapping[str, NDArray[Any]], name: str, rows: tuple[int, int], states: tuple[int, int], num_states: int, path: Path
) -> Any:
    """Return some states' part of a matrix, which shares the file's memory where it can."""
    if name in arrays:
        return arrays[name][states[0] : states[1]]
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in model_file.PARTS)
    ptr = np.array(indptr[rows[0] : rows[1] + 1])
    stored = slice(int(ptr[0]), int(ptr[-1]))
    part = {
        f"{name}.data": data[stored],
        f"{name}.indices": indices[stored],
        f"{name}.indptr": ptr - ptr[0],
        "start": arrays["start"],
    }
    model_file.check_pointers(part, [name], path)
    return model_file.matrix_of(part, name, num_states, path)
