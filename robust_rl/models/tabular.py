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

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import InvalidModelError
from robust_rl.models import validation

if TYPE_CHECKING:
    import gymnasium

    from robust_rl.models.tabular_env import TabularEnv

Array = NDArray[np.float64]
Transitions: TypeAlias = Any  # dense array or scipy CSR, which has no stubs


class TabularMDP:
    """A finite MDP, dense or sparse.

    Parameters
    ----------
    transitions : (S, A, S) array, or CSR matrix of shape (S*A, S)
        Row (s, a) is a probability vector over next states. Rows of terminal states and of masked actions are ignored. Float32
        arrays stay float32: half the memory; values are computed in double precision all the same.
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
        self.transitions = validation.checked_rows(self.transitions, self.active_rows, validation.pair_name(self.num_actions))
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
            expected = np.empty(len(self.active_rows))
            for begin, end in validation.row_blocks(self.transitions):  # a product of the whole would be a third matrix
                expected[begin:end] = self.transitions[begin:end].multiply(self.rewards[begin:end]).sum(axis=1).ravel()
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

    @classmethod
    def from_chunks(
        cls,
        chunks: Iterable[tuple[ArrayLike, ...]],
        num_states: int,
        num_actions: int,
        *,
        rewards: ArrayLike | sparse.sparray | sparse.spmatrix | None = None,
        **keywords: Any,
    ) -> TabularMDP:
        """Build a CSR model from a stream of transitions, for models whose dense form would never fit.

        Parameters
        ----------
        chunks
            Each ``(state, action, next_state, probability)`` or ``(state, action, next_state, probability, reward)``: numbers
            or arrays that broadcast against each other, in any order. A transition given several times has the sum of the
            probabilities, and the mean of the rewards weighted by them.
        num_states, num_actions
            S and A.
        rewards
            As in the constructor, where the chunks hold none. Default: those of the chunks, else 0.
        **keywords
            ``start``, ``terminal``, ``action_mask`` of the constructor. By default a state without any transition is terminal,
            and an action without one isn't available.

        Returns
        -------
        TabularMDP
            CSR. Rewards are r(s,a) if no (s, a) has two different ones, else r(s,a,s').

        Raises
        ------
        InvalidModelError
            If an index is out of range, chunks differ in their number of columns, or the model is invalid.

        Notes
        -----
        Memory: 16 bytes a transition (24 with rewards) while the stream is read, some twice that at the end; the model keeps 12
        (24 with r(s,a,s')). Chunks that arrive by state, action and next state need no sorting.

        Examples
        --------
        >>> walk = ((s, 0, [max(s - 1, 0), min(s + 1, 99)], 0.5, float(s == 99)) for s in range(100))
        >>> TabularMDP.from_chunks(walk, 100, 1)
        TabularMDP(states=100, actions=1, transitions='csr', rewards='r(s,a)', terminal=0)
        """
        from robust_rl.models.columns import assemble

        transitions, given, seen = assemble(chunks, num_states, num_actions)
        if given is not None and rewards is not None:
            raise InvalidModelError("the chunks hold rewards already; leave out rewards=")
        keywords.setdefault("terminal", ~seen.any(axis=1))
        keywords.setdefault("action_mask", seen)
        chosen = given if given is not None else rewards
        return cls(transitions, np.zeros((num_states, num_actions)) if chosen is None else chosen, **keywords)

    def to_env(self, *, render_mode: str | None = None) -> TabularEnv:
        """Return a :class:`gymnasium.Env` with discrete observations that samples this model."""
        from robust_rl.models.tabular_env import TabularEnv

        return TabularEnv(self, render_mode=render_mode)

    def save(self, path: str | Path) -> Path:
        """Write the model and return its path: one ``.npz`` file, or a directory of plain arrays if the name ends in ``.model``.

        The file is compressed and read whole. The directory, which :meth:`load` maps into memory, is for models of many GB.
        An existing directory that is empty or holds a model is also taken.

        Raises
        ------
        FileFormatError
            If there is a directory of that name that holds something else.
        """
        from robust_rl.models import model_file

        return model_file.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, mmap: bool = True) -> TabularMDP:
        """Read a model written by :meth:`save`.

        Parameters
        ----------
        path
            The file, or the directory.
        mmap
            Leave the arrays of a directory on the disk, read-only, from where the system brings in what is used: a model may
            then be larger than the memory. False reads them. Files are always read.

        Raises
        ------
        FileFormatError
            If the file is corrupt, foreign, or of a newer format version.
        """
        from robust_rl.models import model_file

        return model_file.load(Path(path), mmap=mmap)

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
