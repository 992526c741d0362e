"""What the readers of explicit model files return, and how it's put together from a file's columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, InvalidArgumentError, nearest
from robust_rl.models import TabularMDP
from robust_rl.uncertainty import Interval

SUM_TOLERANCE = 1e-6  # files round to so many digits; the checkers that write them take no more for granted
INITIAL = "init"
Array = NDArray[np.float64]


class IntervalModel(NamedTuple):
    """A model that was read from a file, its intervals and its labels.

    Parameters
    ----------
    model
        CSR. Its nominal row lies in the intervals, each entry the same share of the way from its lower bound to its upper one:
        ``p = l + t (u - l)`` with ``t = (1 - sum l) / (sum u - sum l)``. In a file without intervals it's the file's row.
        States that only lead to themselves, and earn nothing, are terminal.
    uncertainty
        The intervals, as CSR bounds; None if the file holds plain probabilities.
    labels
        Name to a boolean mask (S,). The model starts in the states labelled ``init``, each with the same probability.
    choices
        (S, A) index into ``choice_names`` of each action; -1 where a state has no such action.
    choice_names
        The file's names of actions.
    """

    model: TabularMDP
    uncertainty: Interval | None
    labels: dict[str, NDArray[np.bool_]]
    choices: NDArray[np.int32]
    choice_names: tuple[str, ...]

    def reaching(self, label: str) -> IntervalModel:
        """Return the model whose value, undiscounted, is the probability of reaching a state with this label.

        Entering such a state pays 1 and ends the episode; nothing else pays. A state that has the label has value 0 itself.

        Raises
        ------
        InvalidArgumentError
            If there is no such label.
        """
        if label not in self.labels:
            known = list(self.labels)
            raise InvalidArgumentError(f"no label {label!r}; the file has {', '.join(known) or 'none'}{nearest(label, known)}")
        goal, rows = self.labels[label], self.model.csr()
        pays = sparse.csr_array((goal[rows.indices].astype(np.float64), rows.indices, rows.indptr), shape=rows.shape)
        return self._replace(model=self.model.replace(rewards=pays, terminal=self.model.terminal | goal))


@dataclass
class Columns:
    """A file's content. Choices are in the order of their states; entries belong to choices, in any order.

    ==============================  ==============================================================
    state, action, name, line       (C,) of each choice: indices, index into names, line it begins in
    choice, target, lower, upper    (N,) of each entry; lower and upper are equal in a plain file
    state_reward, choice_reward     (S,), (C,)
    entry_reward                    (N,), or None
    ==============================  ==============================================================
    """

    path: Path
    num_states: int
    state: NDArray[np.int64]
    action: NDArray[np.int64]
    name: NDArray[np.int32]
    line: NDArray[np.int64]
    names: tuple[str, ...]
    choice: NDArray[np.int64]
    target: NDArray[np.int32]
    lower: Array
    upper: Array
    intervals: bool
    state_reward: Array
    choice_reward: Array
    entry_reward: Array | None
    labels: dict[str, NDArray[np.bool_]]

    def where(self, choice: int) -> str:
        """Name a choice in a message."""
        if self.line[choice] == 0:
            return f"{self.path}: state {self.state[choice]}, action {self.action[choice]}"
        return f"{self.path}, line {self.line[choice]}: state {self.state[choice]}, action {self.action[choice]}"


def build(columns: Columns) -> IntervalModel:
    """Return the model of a file's content.

    Raises
    ------
    FileFormatError
        If bounds aren't those of probabilities, a successor is listed twice, or a row admits no distribution within 1e-6. Rows
        within 1e-6 are rescaled.
    """
    _check_bounds(columns)
    _close_deadlocks(columns)
    _sort(columns)
    states, actions = columns.num_states, int(columns.action.max()) + 1
    row = columns.state * actions + columns.action
    p = _nominal(columns)
    shape = (states * actions, states)
    counts = np.zeros(shape[0] + 1, dtype=np.int64)
    counts[row + 1] = np.bincount(columns.choice, minlength=len(row))
    pointers = np.cumsum(counts)
    pointers = pointers.astype(np.int32) if pointers[-1] <= np.iinfo(np.int32).max else pointers

    def matrix(entries: Array) -> sparse.csr_array:
        return sparse.csr_array((entries, columns.target, pointers), shape=shape)

    mask, choices = np.zeros(shape[0], dtype=bool), np.full(shape[0], -1, dtype=np.int32)
    mask[row], choices[row] = True, columns.name
    by_choice = columns.choice_reward + columns.state_reward[columns.state]
    rewards = np.zeros(shape[0])
    rewards[row] = by_choice
    per_entry = None if columns.entry_reward is None else columns.entry_reward + by_choice[columns.choice]
    model = TabularMDP(
        matrix(p),
        rewards.reshape(states, actions) if per_entry is None else matrix(per_entry),
        start=_start(columns),
        terminal=_terminal(columns, per_entry if per_entry is not None else by_choice[columns.choice]),
        action_mask=mask.reshape(states, actions),
    )
    bounds = Interval(matrix(columns.lower), matrix(columns.upper)) if columns.intervals else None
    return IntervalModel(model, bounds, columns.labels, choices.reshape(states, actions), columns.names)


def _check_bounds(columns: Columns) -> None:
    # written so that NaN fails too
    bad = np.flatnonzero(~((columns.lower >= 0) & (columns.lower <= columns.upper) & (columns.upper <= 1 + SUM_TOLERANCE)))
    if bad.size:
        i = bad[0]
        given = f"[{columns.lower[i]:g}, {columns.upper[i]:g}]" if columns.intervals else f"{columns.lower[i]:g}"
        raise FileFormatError(
            f"{columns.where(int(columns.choice[i]))}, to state {columns.target[i]}: {given} is no probability, or interval"
        )
    for reward in (columns.state_reward, columns.choice_reward, columns.entry_reward):
        if reward is not None and not np.isfinite(reward).all():
            raise FileFormatError(f"{columns.path}: a reward is infinite; rewards must be finite")


def _close_deadlocks(columns: Columns) -> None:
    """Let states without a choice stay where they are, as model checkers do, and drop entries that can't happen."""
    possible = columns.upper > 0
    if not possible.all():
        for name in ("choice", "target", "lower", "upper", "entry_reward"):
            if (part := getattr(columns, name)) is not None:
                setattr(columns, name, part[possible])
    stuck = np.setdiff1d(np.arange(columns.num_states), columns.state)
    if not stuck.size:
        return
    first, zeros = len(columns.state), np.zeros(len(stuck))
    columns.names = (*columns.names, "deadlock")
    added = {
        "state": stuck, "action": zeros, "name": zeros + len(columns.names) - 1, "line": zeros, "choice_reward": zeros,
        "choice": np.arange(first, first + len(stuck)), "target": stuck, "lower": zeros + 1, "upper": zeros + 1,
        "entry_reward": zeros,
    }  # fmt: skip
    for name, part in added.items():
        if (given := getattr(columns, name)) is not None:
            setattr(columns, name, np.append(given, part.astype(given.dtype)))


def _sort(columns: Columns) -> None:
    """Bring choices and entries into the order of a CSR matrix's rows and columns, and refuse entries listed twice."""
    rank = np.lexsort((columns.action, columns.state))
    if (rank[1:] < rank[:-1]).any():
        place = np.empty_like(rank)
        place[rank] = np.arange(len(rank))
        columns.choice = place[columns.choice]
        for name in ("state", "action", "name", "line", "choice_reward"):
            setattr(columns, name, getattr(columns, name)[rank])
    again = np.flatnonzero((columns.state[1:] == columns.state[:-1]) & (columns.action[1:] == columns.action[:-1]))
    if again.size:
        raise FileFormatError(f"{columns.where(int(again[0]) + 1)} is listed twice")
    choice, target = columns.choice, columns.target
    if not ((choice[1:] > choice[:-1]) | ((choice[1:] == choice[:-1]) & (target[1:] > target[:-1]))).all():
        order = np.lexsort((target, choice))
        for name in ("choice", "target", "lower", "upper", "entry_reward"):
            if (part := getattr(columns, name)) is not None:
                setattr(columns, name, part[order])
        choice, target = columns.choice, columns.target
        twice = np.flatnonzero((choice[1:] == choice[:-1]) & (target[1:] == target[:-1]))
        if twice.size:
            raise FileFormatError(f"{columns.where(int(choice[twice[0]]))} lists its successor {target[twice[0]]} twice")


def _nominal(columns: Columns) -> Array:
    """Return a point of each row's intervals that sums to 1; bounds that admit one only up to rounding are rescaled."""
    count = len(columns.state)
    lowest, highest = (np.bincount(columns.choice, bound, count) for bound in (columns.lower, columns.upper))
    bad = np.flatnonzero(~((lowest <= 1 + SUM_TOLERANCE) & (highest >= 1 - SUM_TOLERANCE)))
    if bad.size:
        i = int(bad[0])
        sums = (
            f"lower bounds sum to {lowest[i]:.9g}, upper to {highest[i]:.9g}" if columns.intervals else f"sums to {lowest[i]:.9g}"
        )
        raise FileFormatError(f"{columns.where(i)}: {sums}; rows must admit a sum of 1 within {SUM_TOLERANCE:g}")
    if not columns.intervals:
        columns.lower = columns.upper = columns.lower / _beyond_rounding(lowest, lowest != 1)[columns.choice]
        return columns.lower
    too_high, too_low = _beyond_rounding(lowest, lowest > 1), _beyond_rounding(highest, highest < 1)
    columns.lower = columns.lower / too_high[columns.choice]
    columns.upper = np.minimum(columns.upper / too_low[columns.choice], 1.0)
    lowest, highest = (np.bincount(columns.choice, bound, count) for bound in (columns.lower, columns.upper))
    width = highest - lowest
    share = np.clip((1 - lowest) / np.where(width > 0, width, 1.0), 0.0, 1.0)[columns.choice]
    p: Array = columns.lower + share * (columns.upper - columns.lower)
    return p


def _beyond_rounding(sums: NDArray[Any], wrong: NDArray[np.bool_]) -> Array:
    """Return the sums to divide by: 1 for those that are right but for rounding, which keep the file's numbers."""
    return np.where(wrong & (np.abs(sums - 1) > 1e-10), sums, 1.0)


def _start(columns: Columns) -> Array | None:
    initial = columns.labels.get(INITIAL)
    return initial / initial.sum() if initial is not None and initial.any() else None


def _terminal(columns: Columns, entry_reward: Array) -> NDArray[np.bool_]:
    """States whose every choice stays for certain and pays nothing: their value is 0, whatever is chosen."""
    source = columns.state[columns.choice]
    leaves = (columns.target != source) | (entry_reward != 0)
    stays: NDArray[np.bool_] = np.bincount(source, leaves, columns.num_states) == 0
    return stays
