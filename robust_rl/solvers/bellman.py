"""The robust Bellman operator of a model and an uncertainty set.

    (T V)(s) = max_a Q(s, a),    Q(s, a) = min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V(s') ]

References: Iyengar (2005), Nilim and El Ghaoui (2005).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl._numba import njit
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.models import RowBlock, TabularMDP
from robust_rl.solvers.criterion import check_model
from robust_rl.solvers.device import torch_device
from robust_rl.uncertainty import Nominal, RectangularSet
from robust_rl.uncertainty.backup import Groups
from robust_rl.uncertainty.layout import Layout

Array = NDArray[np.float64]
PART = 1 << 20  # rows, or entries of their worst case, worked out at a time


class Precision(NamedTuple):
    """What the rounding of one backup hangs on: the longest row, what rows in single precision miss, and the largest reward."""

    width: int
    missing: float
    largest_reward: float

    def rounding(self, value: Array, discount: float, error: float) -> float:
        """Return the bound of :meth:`BellmanOperator.rounding`; ``error`` is a root finder's."""
        largest = self.largest_reward + discount * float(max(value.max(initial=0.0), -value.min(initial=0.0)))
        return ((self.width + 9) * float(np.finfo(np.float64).eps) + error + self.missing) * largest


class BellmanOperator:
    """T for one model, set and discount; laid out once, applied many times.

    Parameters
    ----------
    model : TabularMDP or RowBlock
        Of a block of rows, T gives the block's states.
    uncertainty : RectangularSet or None
        ``None`` is the nominal problem.
    discount : float
        gamma in [0, 1].
    device : str or torch.device
        Where the sweeps run; see :func:`robust_rl.solvers.device.torch_device`. Worst cases are worked out on the processor.

    Attributes
    ----------
    backups : int
        Rows backed up so far: what solvers of different kinds can be compared by.

    Raises
    ------
    InvalidUncertaintyError
        If the set doesn't fit the model.
    InvalidArgumentError, MissingDependencyError
        If the device isn't there, or the set doesn't run on it.
    """

    def __init__(
        self, model: TabularMDP | RowBlock, uncertainty: RectangularSet | None, discount: float, *, device: Any = "cpu"
    ) -> None:
        place = torch_device(device)
        if not isinstance(model, RowBlock):
            check_model(model)
        if uncertainty is not None and not isinstance(uncertainty, RectangularSet):
            raise InvalidUncertaintyError(
                f'{uncertainty!r} is not an uncertainty set; give one such as TotalVariation(0.1, support="reachable")'
            )
        self.model: Any = model
        self.discount = discount
        self.uncertainty = Nominal() if uncertainty is None else uncertainty
        self.layout = self.uncertainty.lay_out(model)
        if self.uncertainty.sweeps is None or self.uncertainty.error or place is not None:
            # a root finder's equations hold for rows that sum to 1, which those in single precision don't to its accuracy
            self.layout = self.layout.in_double_precision()
        states = len(model.action_mask)
        self.rows: Any = self.uncertainty.backup(self.layout, (states, model.num_actions), discount)
        if place is not None:
            from robust_rl.uncertainty.torch_backup import TorchBackup

            self.rows = TorchBackup(self.rows, place)
        self.groups = Groups.by_state(self.layout.rows, states, model.num_actions)
        rewards = (self.layout.reward, self.layout.row_reward[self.layout.rows], self.layout.outside)
        missing = 0.0
        if self.layout.p.dtype != np.float64:
            sums = self.layout.row_sums(self.layout.p.astype(np.float64))
            missing = 2 * float(abs(sums[self.layout.rows] - 1).max(initial=0.0))
        self.largest_reward = max(float(abs(part).max(initial=0.0)) for part in rewards)
        self.precision = Precision(self.layout.width, missing, self.largest_reward)
        self.backups = 0
        self._first_rows = np.arange(states) * model.num_actions
        self._first_action = np.eye(1, model.num_actions)
        self._live = None if not model.terminal.any() else ~model.terminal
        self._policy_ptr = np.append(0, np.cumsum(~model.terminal)).astype(np.uint64)

    def rounding(self, value: Array) -> float:
        """Return a bound on the error of one backup at a value: (row length + 8) eps max|z|, a root finder's, and what rows miss.

        Rows in single precision sum to 1 only up to some 1e-7; the probabilities meant are taken to be these over their sum.
        """
        return self.precision.rounding(value, self.discount, self.uncertainty.error)

    def __call__(self, value: Array, groups: Groups | None = None) -> tuple[Array, NDArray[Any]]:
        """Return ``T V`` (S,) and the greedy actions (S,), ties to the lowest index; or probabilities (S, A) of a set that
        randomises.

        With ``groups`` the maximum is over the rows of each group only: the rows of one policy give its operator T_pi.
        """
        values, rows = self.sweep(value, self.groups if groups is None else groups)
        return values, self.actions(rows)

    def sweep(self, value: Array, groups: Groups) -> tuple[Array, NDArray[Any]]:
        """Return the best value of each group and the row that gives it, and count the rows in ``backups``.

        Of a set that randomises, the second is probabilities of all rows, (S*A,).
        """
        self.backups += len(groups.rows)
        return self.rows(value, groups)  # type: ignore[no-any-return]

    def actions(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return what a sweep chose as actions (S,), or probabilities (S, A); action 0 in terminal states."""
        if self.uncertainty.randomises:
            return np.where(self.model.terminal[:, None], self._first_action, rows.reshape(self.model.action_mask.shape))
        return np.where(self.model.terminal, 0, rows - self._first_rows)

    def no_choice(self) -> NDArray[Any]:
        """Return what stands for a sweep's choice before the first: action 0 everywhere."""
        return np.tile(self._first_action.ravel(), self.model.num_states) if self.uncertainty.randomises else self._first_rows

    def live(self, of_states: NDArray[Any]) -> NDArray[Any]:
        """Return the entries of the states that aren't terminal."""
        return of_states if self._live is None else of_states[self._live]

    def q_values(self, value: Array, policy: Array | None = None) -> Array:
        """Return Q (S, A): -inf for unavailable actions, 0 in terminal states.

        Of a set that randomises, these are the values under the worst case against a policy, (S*A,) probabilities, by default
        the optimal one; other sets' worst case is the same against all.
        """
        q = np.repeat(np.where(self.model.terminal, 0.0, -np.inf), self.model.num_actions)
        if self.uncertainty.randomises:
            worst = self.rows.worst_case(value, self.layout.rows, kernel=False, policy=policy)
            q[self.layout.rows] = worst.values[self.layout.rows]
        else:
            for first in range(0, len(self.layout.rows), PART):  # in parts: what a sweep returns is as large as Q itself
                chosen = self.layout.rows[first : first + PART]
                groups = Groups(np.arange(len(chosen) + 1, dtype=np.uint64), chosen.view(np.uint64))
                q[chosen], _ = self.rows(value, groups)
        return q.reshape(self.model.action_mask.shape)

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

    def worst_case(
        self, value: Array, rows: NDArray[np.intp] | None = None, policy: Array | None = None
    ) -> tuple[sparse.csr_array, sparse.csr_array | Array]:
        """Return the kernel that attains Q at V, CSR of shape (S*A, S), and its rewards.

        The rewards are r(s, a, s') in the layout of the kernel, or r(s, a) of shape (S, A) if the model has those. Rows that
        weren't asked for, and those of terminal states and masked actions, are empty. Rows are worked off in parts, so that
        no more than the result itself is held. The policy is as for :meth:`q_values`. Without uncertainty the kernel is the
        model's own, and shares its memory where it can.
        """
        if rows is None and isinstance(self.uncertainty, Nominal) and self._lists_its_kernel():
            return self._own_kernel()
        layout, against = self.layout, {"policy": policy} if self.uncertainty.randomises else {}
        chosen = layout.rows if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
        lengths = np.diff(layout.ptr)[chosen]
        size = int(lengths.sum()) + (len(chosen) if layout.outside.size else 0)
        index_type = np.int32 if size <= np.iinfo(np.int32).max else np.int64
        # what isn't written takes no memory
        mass, column = np.empty(size), np.empty(size, dtype=index_type)
        reward = np.empty(size if layout.reward.size else 0)
        indptr, end = np.zeros(len(layout.row_reward) + 1, dtype=index_type), 0
        # actions that share a budget stay together
        cuts: Any = [] if self.uncertainty.randomises else np.flatnonzero(np.diff(np.cumsum(lengths) // PART)) + 1
        for part in np.split(chosen, cuts):
            _, _, q, outside_state, outside_mass = self.rows.worst_case(value, part, **against)
            end = _pack(
                part, layout.ptr, layout.first, layout.indices, q, layout.reward, layout.row_reward,
                outside_state, outside_mass, layout.outside, end, mass, column, reward, indptr[1:],
            )  # fmt: skip
        np.cumsum(indptr, out=indptr)
        shape = (len(layout.row_reward), layout.num_states)
        kernel = sparse.csr_array((mass[:end], column[:end], indptr), shape=shape)
        if not layout.reward.size:
            return kernel, self._row_rewards()
        return kernel, sparse.csr_array((reward[:end], column[:end].copy(), indptr.copy()), shape=shape)

    def _lists_its_kernel(self) -> bool:
        """Whether the entries of the layout are those of the nominal kernel, no more and no less."""
        complete = len(self.layout.rows) == len(self.layout.row_reward)  # a dense view lists idle rows too
        return self.layout.p.dtype == np.float64 and (complete or not self.layout.shares_order)

    def _own_kernel(self) -> tuple[sparse.csr_array, sparse.csr_array | Array]:
        layout, shape = self.layout, (len(self.layout.row_reward), self.layout.num_states)
        column = np.tile(layout.indices, shape[0]) if layout.shares_order else layout.indices
        indptr = layout.ptr.astype(np.int32 if len(column) <= np.iinfo(np.int32).max else np.int64)
        kernel = sparse.csr_array((layout.p, column.astype(indptr.dtype, copy=False), indptr), shape=shape)
        if not layout.reward.size:
            return kernel, self._row_rewards()
        return kernel, sparse.csr_array((layout.reward, kernel.indices, indptr), shape=shape)

    def _row_rewards(self) -> Array:
        return np.where(self.model.active_rows, self.layout.row_reward, 0.0).reshape(self.model.action_mask.shape)


@njit
def _pack(  # type: ignore[no-untyped-def]
    rows, ptr, first, indices, q, reward, row_reward, outside_state, outside_mass, outside, end, mass, column, paid, counts
):
    """Append the moves of some rows, in order of the next state, from position ``end``; count them; return the new end."""
    for i in rows:
        begin, moved = end, outside_mass[i] if outside_mass.size else 0.0
        for e in range(ptr[i], ptr[i + 1]):
            to = indices[first[i] + e - ptr[i]]
            if moved > 0.0 and outside_state[i] < to:
                mass[end], column[end] = moved, outside_state[i]
                if paid.size:
                    paid[end] = outside[i]
                end, moved = end + 1, 0.0
            if q[e] > 0.0:
                mass[end], column[end] = q[e], to
                if paid.size:
                    paid[end] = row_reward[i] + reward[e]
                end += 1
        if moved > 0.0:
            mass[end], column[end] = moved, outside_state[i]
            if paid.size:
                paid[end] = outside[i]
            end += 1
        counts[i] = end - begin
    return end


def _entries(layout: Layout, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lengths of some rows, and where their entries are."""
    lengths = layout.ptr[rows + 1] - layout.ptr[rows]
    return lengths, np.repeat(layout.ptr[rows] - np.append(0, np.cumsum(lengths)[:-1]), lengths) + np.arange(lengths.sum())
