"""The robust Bellman operator of a model and an uncertainty set.

    (T V)(s) = max_a Q(s, a),    Q(s, a) = min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V(s') ]

References: Iyengar (2005), Nilim and El Ghaoui (2005).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import InvalidUncertaintyError
from robust_rl.models import TabularMDP
from robust_rl.solvers.criterion import check_model
from robust_rl.uncertainty import Nominal, RectangularSet
from robust_rl.uncertainty.backup import Groups
from robust_rl.uncertainty.layout import Layout

Array = NDArray[np.float64]


class BellmanOperator:
    """T for one model, set and discount; laid out once, applied many times.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RectangularSet or None
        ``None`` is the nominal problem.
    discount : float
        gamma in [0, 1].

    Attributes
    ----------
    backups : int
        Rows backed up so far: what solvers of different kinds can be compared by.

    Raises
    ------
    InvalidUncertaintyError
        If the set doesn't fit the model.
    """

    def __init__(self, model: TabularMDP, uncertainty: RectangularSet | None, discount: float) -> None:
        check_model(model)
        if uncertainty is not None and not isinstance(uncertainty, RectangularSet):
            raise InvalidUncertaintyError(
                f'{uncertainty!r} is not an uncertainty set; give one such as TotalVariation(0.1, support="reachable")'
            )
        self.model, self.discount = model, discount
        self.uncertainty = Nominal() if uncertainty is None else uncertainty
        self.layout = self.uncertainty.lay_out(model)
        self.rows = self.uncertainty.backup(self.layout, (model.num_states, model.num_actions), discount)
        self.groups = Groups.by_state(self.layout.rows, model.num_states, model.num_actions)
        rewards = (self.layout.reward, self.layout.row_reward[self.layout.rows], self.layout.outside)
        self.largest_reward = max(float(abs(part).max(initial=0.0)) for part in rewards)
        self.backups = 0
        self._first_rows = np.arange(model.num_states) * model.num_actions
        self._live = None if not model.terminal.any() else ~model.terminal
        self._policy_ptr = np.append(0, np.cumsum(~model.terminal)).astype(np.uint64)
        self._idle = np.where(model.terminal[:, None] & np.ones_like(model.action_mask), 0.0, -np.inf)

    def rounding(self, value: Array) -> float:
        """Return a bound on the error of one backup at a value: (row length + 8) eps max|z|, and a root finder's."""
        largest = self.largest_reward + self.discount * float(max(value.max(initial=0.0), -value.min(initial=0.0)))
        return ((self.layout.width + 9) * float(np.finfo(np.float64).eps) + self.uncertainty.error) * largest

    def __call__(self, value: Array, groups: Groups | None = None) -> tuple[Array, NDArray[np.intp]]:
        """Return ``T V`` (S,) and the greedy actions (S,), ties to the lowest index.

        With ``groups`` the maximum is over the rows of each group only: the rows of one policy give its operator T_pi.
        """
        values, rows = self.sweep(value, self.groups if groups is None else groups)
        return values, self.actions(rows)

    def sweep(self, value: Array, groups: Groups) -> tuple[Array, NDArray[np.int64]]:
        """Return the best value of each group and the row that gives it, and count the rows in ``backups``."""
        self.backups += len(groups.rows)
        return self.rows(value, groups)

    def actions(self, rows: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the actions (S,) of one row a state; 0 in terminal states."""
        return np.where(self.model.terminal, 0, rows - self._first_rows)

    def live(self, of_states: NDArray[Any]) -> NDArray[Any]:
        """Return the entries of the states that aren't terminal."""
        return of_states if self._live is None else of_states[self._live]

    def q_values(self, value: Array) -> Array:
        """Return Q (S, A): -inf for unavailable actions, 0 in terminal states."""
        chosen = self.layout.rows.astype(np.uint64)
        q = self._idle.ravel().copy()
        q[self.layout.rows], _ = self.rows(value, Groups(np.arange(len(chosen) + 1, dtype=np.uint64), chosen))
        return q.reshape(self._idle.shape)

    def policy_groups(self, policy: NDArray[np.intp]) -> Groups:
        """Return the rows that a deterministic policy (S,) uses."""
        return self.row_groups(self._first_rows + policy)

    def row_groups(self, rows: NDArray[np.int64]) -> Groups:
        """Return one given row a state (S,) as groups; terminal states have none."""
        return Groups(self._policy_ptr, self.live(rows).astype(np.uint64))

    def chain(self, value: Array, rows: NDArray[np.int64]) -> tuple[Array, sparse.csr_array]:
        """Return the values (S,) of one row a state under the kernel that is worst at V, and that kernel, CSR (S, S).

        Rows of terminal states are ignored; their values and transitions are 0.
        """
        layout, chosen = self.layout, self.live(rows)
        self.backups += len(chosen)
        found = self.rows.worst_case(value, chosen)
        lengths, entry = _entries(layout, chosen)
        column = layout.indices[entry + np.repeat(layout.first[chosen] - layout.ptr[chosen], lengths)]
        count, values = np.zeros(layout.num_states, dtype=np.int64), np.zeros(layout.num_states)
        states = chosen // self.model.num_actions
        count[states], values[states] = lengths, found.values[chosen]
        shape = (layout.num_states, layout.num_states)
        transitions = sparse.csr_array((found.q[entry], column, np.append(0, np.cumsum(count))), shape=shape)
        if found.outside_mass.size:
            at = (states, found.outside_state[chosen])
            transitions = sparse.csr_array(transitions + sparse.csr_array((found.outside_mass[chosen], at), shape=shape))
        return values, transitions

    def worst_case(self, value: Array, rows: NDArray[np.intp] | None = None) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Return the kernel that attains Q at V and its rewards r(s,a,s'), both CSR of shape (S*A, S).

        Rows that weren't asked for, and those of terminal states and masked actions, are empty.
        """
        chosen = self.layout.rows if rows is None else np.asarray(rows, dtype=np.int64)
        _, _, q, outside_state, outside_mass = self.rows.worst_case(value, chosen)
        layout, shape = self.layout, (len(self.layout.row_reward), self.layout.num_states)
        lengths, entry = _entries(layout, chosen)
        row = np.repeat(chosen, lengths)
        column = layout.indices[entry - layout.ptr[row] + layout.first[row]]
        mass, reward = q[entry], layout.row_reward[row] + (layout.reward[entry] if layout.reward.size else 0.0)
        if outside_mass.size:
            moved = chosen[outside_mass[chosen] > 0]
            row, column = np.append(row, moved), np.append(column, outside_state[moved])
            mass, reward = np.append(mass, outside_mass[moved]), np.append(reward, layout.outside[moved])
        keep = mass > 0
        at = (row[keep], column[keep])
        return sparse.csr_array((mass[keep], at), shape=shape), sparse.csr_array((reward[keep], at), shape=shape)


def _entries(layout: Layout, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lengths of some rows, and where their entries are."""
    lengths = layout.ptr[rows + 1] - layout.ptr[rows]
    return lengths, np.repeat(layout.ptr[rows] - np.append(0, np.cumsum(lengths)[:-1]), lengths) + np.arange(lengths.sum())
