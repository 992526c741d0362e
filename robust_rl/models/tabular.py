"""Finite Markov decision processes as plain arrays.

======  ============  ==================================================================
symbol  here          meaning, shape
======  ============  ==================================================================
S, A    num_states,   numbers of states and actions
        num_actions
P       transitions   P(s' | s, a): dense (S, A, S), or CSR of shape (S*A, S) whose row s*A + a is (s, a)
r       rewards       r(s, a) of shape (S, A), or r(s, a, s') laid out like P
mu      start         distribution of the first state, (S,)
======  ============  ==================================================================

A terminal state is absorbing and pays nothing, so its value is 0 and no adversary acts there.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, InvalidModelError
from robust_rl.models import validation

if TYPE_CHECKING:
    import gymnasium

    from robust_rl.models.tabular_env import TabularEnv

FORMAT, VERSION = "robust-rl tabular model", 1
Array = NDArray[np.float64]
Transitions: TypeAlias = Any  # dense array or scipy CSR, which has no stubs


class TabularMDP:
    """A finite MDP, dense or sparse.

    Parameters
    ----------
    transitions : (S, A, S) array, or CSR matrix of shape (S*A, S)
        Row (s, a) is a probability vector over next states. Rows of terminal states and of masked actions are ignored.
    rewards : (S, A) array, (S, A, S) array, or CSR matrix of shape (S*A, S)
        ``r(s, a)`` or ``r(s, a, s')``, in the caller's unit. A CSR matrix is 0 where it has no entry.
    start : (S,) array, optional
        Distribution of the first state. Default: state 0 with certainty.
    terminal : (S,) boolean array or sequence of state indices, optional
        States in which the episode is over.
    action_mask : (S, A) boolean array, optional
        ``True`` where the action is available. Default: all are.

    Raises
    ------
    InvalidModelError
        If shapes disagree, an entry is negative, NaN or infinite, or a row doesn't sum to 1 within 1e-8; the message names
        the row.

    Examples
    --------
    >>> import numpy as np
    >>> model = TabularMDP(np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]), np.array([[1.0, 0.0], [0.0, 2.0]]))
    >>> model
    TabularMDP(states=2, actions=2, transitions='dense', rewards='r(s,a)', terminal=0)
    """

    def __init__(
        self,
        transitions: ArrayLike | sparse.sparray | sparse.spmatrix,
        rewards: ArrayLike | sparse.sparray | sparse.spmatrix,
        *,
        start: ArrayLike | None = None,
        terminal: ArrayLike | None = None,
        action_mask: ArrayLike | None = None,
    ) -> None:
        self.transitions: Transitions = validation.as_transitions(transitions)
        rows, self.num_states = _shape(self.transitions)
        self.num_actions = rows // self.num_states
        shape = (self.num_states, self.num_actions)
        self.terminal = validation.as_terminal(terminal, self.num_states)
        self.action_mask = validation.as_action_mask(action_mask, shape, self.terminal)
        self.start = validation.as_start(start, self.num_states)
        self.rewards: Transitions = validation.as_rewards(rewards, shape, sparse.issparse(self.transitions))
        self.transitions = validation.checked_rows(self.transitions, self.active_rows, self.num_actions)
        validation.check_finite_rewards(self.rewards, self.active_rows, shape)

    @property
    def is_sparse(self) -> bool:
        """Whether the transitions are held as CSR."""
        return bool(sparse.issparse(self.transitions))

    @property
    def has_transition_rewards(self) -> bool:
        """Whether rewards depend on the next state, ``r(s, a, s')``."""
        return bool(sparse.issparse(self.rewards) or self.rewards.ndim == 3)

    @property
    def active_rows(self) -> NDArray[np.bool_]:
        """(S*A,) mask of the rows that mean something: available actions of states that aren't terminal."""
        return (self.action_mask & ~self.terminal[:, None]).ravel()

    @property
    def nbytes(self) -> int:
        """Bytes held by transitions and rewards."""
        return sum(
            m.data.nbytes + m.indices.nbytes + m.indptr.nbytes if sparse.issparse(m) else m.nbytes
            for m in (self.transitions, self.rewards)
        )

    def csr(self) -> sparse.csr_array:
        """Return the transitions as CSR of shape (S*A, S), without entries of probability zero in active rows."""
        if self.is_sparse:
            return self.transitions
        return sparse.csr_array(self.transitions.reshape(-1, self.num_states))

    def expected_rewards(self) -> Array:
        """Return ``r(s, a) = sum_s' P(s'|s,a) r(s,a,s')``, (S, A); 0 in terminal states and for masked actions."""
        if not self.has_transition_rewards:
            expected = self.rewards.ravel()
        elif self.is_sparse:
            expected = np.asarray(self.transitions.multiply(self.rewards).sum(axis=1)).ravel()
        else:
            expected = np.einsum("san,san->sa", self.transitions, self.rewards).ravel()
        return np.where(self.active_rows, expected, 0.0).reshape(self.num_states, self.num_actions)

    def with_expected_rewards(self) -> TabularMDP:
        """Return the same model with ``r(s, a)`` in place of ``r(s, a, s')``: an adversary then moves only the value."""
        return self.replace(rewards=self.expected_rewards())

    def replace(self, **changes: Any) -> TabularMDP:
        """Return a copy with some constructor arguments replaced."""
        arguments: dict[str, Any] = {
            name: getattr(self, name) for name in ("transitions", "rewards", "start", "terminal", "action_mask")
        }
        return TabularMDP(**(arguments | changes))

    @classmethod
    def from_env(cls, env: gymnasium.Env[Any, Any], rewards: Literal["transition", "expected"] = "transition") -> TabularMDP:
        """Read the transition table of a Gymnasium environment (``env.unwrapped.P`` or ``.model``).

        Wrappers are ignored; :func:`robust_rl.envs.tabular` honours them.

        Raises
        ------
        NoTableError
            If the environment has no table; the message says what to do.
        """
        from robust_rl.models.gymnasium_table import read_table

        model = read_table(env.unwrapped)
        return model if rewards == "transition" else model.with_expected_rewards()

    @classmethod
    def from_counts(
        cls,
        counts: ArrayLike | sparse.sparray | sparse.spmatrix,
        rewards: ArrayLike | sparse.sparray | sparse.spmatrix,
        *,
        unvisited: Literal["error", "mask", "uniform", "stay"] = "error",
        **keywords: Any,
    ) -> TabularMDP:
        """Build the empirical model ``P = n(s,a,s') / n(s,a)``.

        Parameters
        ----------
        counts : (S, A, S) array or CSR matrix of shape (S*A, S)
            Non-negative numbers of observed transitions.
        rewards
            As in the constructor.
        unvisited
            What to do with a pair (s, a) never seen: refuse, make the action unavailable, assume a uniform next state, or
            assume the state doesn't change.
        **keywords
            ``start``, ``terminal``, ``action_mask`` of the constructor.

        Raises
        ------
        InvalidModelError
            If a count is negative, or a pair was never seen and ``unvisited="error"``.
        """
        from robust_rl.models.counts import empirical_transitions

        transitions, seen = empirical_transitions(counts, unvisited, keywords.get("terminal"), keywords.get("action_mask"))
        if unvisited == "mask":
            keywords["action_mask"] = seen & np.asarray(keywords.get("action_mask", True), dtype=bool)
        return cls(transitions, rewards, **keywords)

    def to_env(self, *, render_mode: str | None = None) -> TabularEnv:
        """Return a :class:`gymnasium.Env` with discrete observations that samples this model."""
        from robust_rl.models.tabular_env import TabularEnv

        return TabularEnv(self, render_mode=render_mode)

    def save(self, path: str | Path) -> Path:
        """Write the model to an ``.npz`` file and return its path."""
        path = _with_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"start": self.start, "terminal": self.terminal, "action_mask": self.action_mask}
        for name, matrix in (("transitions", self.transitions), ("rewards", self.rewards)):
            if sparse.issparse(matrix):
                arrays |= {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
            else:
                arrays[name] = matrix
        header = {"format": np.array(FORMAT), "version": np.array(VERSION)}
        temporary = path.with_name(f".{path.stem}.tmp.npz")  # a full disk or a kill leaves an earlier file as it was
        try:
            np.savez_compressed(temporary, **cast("dict[str, Any]", header | arrays))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> TabularMDP:
        """Read a model written by :meth:`save`.

        Raises
        ------
        FileFormatError
            If the file is corrupt, foreign, or of a newer format version.
        """
        path = _with_suffix(path)
        arrays = _read_npz(path)
        try:
            vectors = {name: arrays[name] for name in ("start", "terminal", "action_mask")}
            matrices = {name: _matrix(arrays, name, len(vectors["start"])) for name in ("transitions", "rewards")}
        except KeyError as error:
            raise FileFormatError(f"{path} is incomplete: {error} is missing") from None
        return cls(**matrices, **vectors)

    def __repr__(self) -> str:
        layout = "csr" if self.is_sparse else "dense"
        rewards = "r(s,a,s')" if self.has_transition_rewards else "r(s,a)"
        return (
            f"TabularMDP(states={self.num_states}, actions={self.num_actions}, transitions={layout!r}, "
            f"rewards={rewards!r}, terminal={int(self.terminal.sum())})"
        )


def _shape(transitions: Transitions) -> tuple[int, int]:
    """Return (S*A, S) and refuse shapes that aren't that of a transition model."""
    if sparse.issparse(transitions):
        rows, states = transitions.shape
    elif transitions.ndim == 3:
        rows, states = transitions.shape[0] * transitions.shape[1], transitions.shape[2]
    else:
        raise InvalidModelError(f"transitions have shape {transitions.shape}; expected (S, A, S) or CSR of shape (S*A, S)")
    dense_mismatch = not sparse.issparse(transitions) and transitions.shape[0] != states
    if states == 0 or rows == 0 or rows % states or dense_mismatch:
        raise InvalidModelError(f"transitions have shape {transitions.shape}; expected (S, A, S) or CSR of shape (S*A, S)")
    return rows, states


def _with_suffix(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def _read_npz(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileFormatError(f"no model file at {path}") from None
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(f"{path} is not a readable model file: {error}") from error
    if str(arrays.get("format")) != FORMAT:
        raise FileFormatError(f"{path} is not a {FORMAT} file; write one with TabularMDP.save")
    version = arrays.get("version", np.array(""))
    if version.dtype.kind != "i" or version.ndim:
        raise FileFormatError(f"{path} is corrupt: it has no format version")
    if int(version) > VERSION:
        raise FileFormatError(f"{path} has format version {int(version)}, newer than {VERSION}: upgrade robust-rl")
    return arrays


def _matrix(arrays: Mapping[str, NDArray[Any]], name: str, num_states: int) -> Any:
    if name in arrays:
        return arrays[name]
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, num_states))
