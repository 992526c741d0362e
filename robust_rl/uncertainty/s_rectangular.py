"""s-rectangular sets:  U_s = { (q_a)_a : sum_a D(q_a, p_a) <= kappa_s }: the actions of a state share one budget.

With z_a = r(s,a,.) + gamma V, xi_a(u) = min { D(q, p_a) : q . z_a <= u } and the inner set's own worst case,

    (T V)(s) = max_d min_q sum_a d_a q_a . z_a = the smallest u with sum_a xi_a(u) <= kappa_s                              (1)

The adversary has to choose before the action is drawn, so optimal policies may be randomised: d_a is proportional to
|xi_a'(u)|, which leaves the adversary indifferent between the actions that it spends on. An action whose nominal value is
below u is never taken. Where the budget is more than enough to bring one action to its minimum u, that action is optimal.

References: Wiesemann, Kuhn and Rustem (2013); Ho, Petrik and Wiesemann (2018) for L1. Eq. (1) for other sets is derived here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl._numba import compiled
from robust_rl._threads import run_blocks
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty import shared_budget, shared_budget_general
from robust_rl.uncertainty.backup import Groups, RowBackup, RowsWorstCase, even_blocks, is_ascending, readonly
from robust_rl.uncertainty.base import Array, RadiusSet, RectangularSet, full_rows
from robust_rl.uncertainty.chi_square import ChiSquare
from robust_rl.uncertainty.contamination import Contamination
from robust_rl.uncertainty.interval import LInfinity
from robust_rl.uncertainty.kernels import ROW, sweep
from robust_rl.uncertainty.kl import KL
from robust_rl.uncertainty.l1 import L1
from robust_rl.uncertainty.l2 import L2
from robust_rl.uncertainty.layout import EMPTY, Layout, Model
from robust_rl.uncertainty.reverse_kl import ReverseKL
from robust_rl.uncertainty.total_variation import TotalVariation

BALLS = (TotalVariation, L1, L2, LInfinity, KL, ReverseKL, ChiSquare, Contamination)


class SharedWorstCase(NamedTuple):
    """Answer to the problem of one state, or a batch of them.

    value : (...) max over policies d of min over q of ``sum_a d_a q_a . z_a``
    q : (..., A, S) a worst case against the optimal policy, against which no other policy does better
    multiplier : (...) minus the derivative of the value in the budget
    policy : (..., A) an optimal policy
    """

    value: Array
    q: Array
    multiplier: Array
    policy: Array


class SRectangular(RectangularSet):
    """The ball of an (s,a)-rectangular set with one budget for all actions of a state: ``sum_a D(q_a, p_a) <= radius``.

    An adversary who must spread its budget is weaker than one with the same budget for every action, and the best answer to
    it may be randomised: a solution's policy has shape (S, A), and keeps its guarantee only if actions are drawn from it. A
    budget for the largest of the distances, ``max_a D(q_a, p_a) <= radius``, is no other set than the (s,a)-rectangular one.

    Parameters
    ----------
    uncertainty : TotalVariation, L1, L2, LInfinity, KL, ReverseKL, ChiSquare or Contamination
        Its distance D, its support, and its radius as budget: a scalar, or (S,) for a budget of each state. Per-action radii
        that sum to the budget are not equivalent.

    Raises
    ------
    InvalidUncertaintyError
        If the set has no radius to share, or the radii aren't a scalar or (S,).

    Examples
    --------
    >>> shared = SRectangular(L1(0.4, support="free"))
    >>> worst = shared.worst_case([[0.5, 0.5], [0.5, 0.5]], [[0.0, 4.0], [4.0, 0.0]])
    >>> round(float(worst.value), 6), worst.policy
    (1.6, array([0.5, 0.5]))
    """

    name = "s-rectangular"
    randomises = True

    def __init__(self, uncertainty: RadiusSet) -> None:
        if not isinstance(uncertainty, BALLS):
            balls = ", ".join(ball.__name__ for ball in BALLS)
            raise InvalidUncertaintyError(f"SRectangular shares the radius of a ball; give one of {balls}, not {uncertainty!r}")
        if np.ndim(uncertainty.radius) > 1:
            raise InvalidUncertaintyError(
                f"SRectangular: radii of shape {np.shape(uncertainty.radius)}; a state's actions share one: "
                "give a scalar, or (S,)"
            )
        self.uncertainty = uncertainty
        self.support = uncertainty.support
        self.exact = isinstance(uncertainty, (TotalVariation, L1))
        self.error = 1e-13 if self.exact else uncertainty.error + 1e-12

    def describe(self) -> dict[str, Any]:
        """Return the inner set."""
        return {"uncertainty": self.uncertainty}

    def of_kernels(self) -> RectangularSet:
        """Return the set in which every action has the whole budget."""
        radius = self.uncertainty.radius
        if np.ndim(radius) == 0:
            return self.uncertainty
        return type(self.uncertainty)(**self.uncertainty.describe() | {"radius": np.asarray(radius)[:, None]})

    def lay_out(self, model: Model) -> Layout:
        """Lay a model out as the inner set does."""
        return self.uncertainty.lay_out(model)

    def radii(self, shape: tuple[int, ...]) -> Array:
        """Return the budget of each row's state; rows are laid out in (..., A)."""
        radius = np.asarray(self.uncertainty.radius)
        try:
            return np.repeat(np.broadcast_to(radius, shape[:-1]).ravel(), shape[-1])
        except ValueError:
            raise InvalidUncertaintyError(
                f"SRectangular has radii of shape {radius.shape}, which don't fit states of shape {shape[:-1]}"
            ) from None

    def backup(self, layout: Layout, shape: tuple[int, ...], discount: float) -> SharedBackup:
        """Return the set on a layout whose rows have the given shape, the last axis being the actions that share."""
        return SharedBackup(self, layout, self.radii(shape), shape[-1], discount)

    def worst_case(self, p: ArrayLike, z: ArrayLike, *, allowed: ArrayLike | None = None) -> SharedWorstCase:  # type: ignore[override]
        """Find optimal policy and worst case of one state, or of a batch of states.

        Parameters
        ----------
        p : (..., A, S) array
            Nominal distributions of each action.
        z : array that broadcasts to (..., A, S)
            What each next state is worth, ``r(s,a,s') + gamma V(s')``.
        allowed : (..., A, S) boolean array, optional
            States that q may use.

        Raises
        ------
        InvalidUncertaintyError
            If p isn't a distribution for each action, or shapes disagree.
        """
        p, z = np.asarray(p, dtype=np.float64), np.asarray(z, dtype=np.float64)
        if p.ndim < 2:
            raise InvalidUncertaintyError(
                f"p has shape {p.shape}; an s-rectangular set needs the rows of all actions, (..., A, S)"
            )
        layout, shape = self._lay_out_rows(p, z, allowed)
        backup = self.backup(layout, shape, 0.0)
        zero, groups = np.zeros(p.shape[-1]), Groups.by_state(layout.rows, len(layout.rows) // shape[-1], shape[-1])
        value, policy = backup(zero, groups)
        worst = backup.worst_case(zero, layout.rows)
        return SharedWorstCase(
            value.reshape(shape[:-1]),
            full_rows(layout, worst.q).reshape(*shape, -1),
            _price(value, worst, policy.reshape(-1, shape[-1])).reshape(shape[:-1]),
            policy.reshape(shape),
        )

    def _allowed(self, p: Array, allowed: ArrayLike | None) -> NDArray[np.bool_]:
        if allowed is None and isinstance(self.support, str) and self.support == "reachable":
            return np.broadcast_to((p > 0).any(axis=-2, keepdims=True), p.shape)
        return super()._allowed(p, allowed)


def _price(value: Array, worst: RowsWorstCase, policy: Array) -> Array:
    """Minus the derivative of u in the budget: the prices of the actions that hold u up, taken together like conductors."""
    values, prices = worst.values.reshape(policy.shape), worst.multipliers.reshape(policy.shape)
    holding = (policy > 0) | (values >= value[:, None] - 1e-12 * (1 + abs(value[:, None])))
    with np.errstate(divide="ignore"):
        return np.asarray(1 / np.where(holding, 1 / prices, 0.0).sum(axis=1))


class SharedBackup(RowBackup):
    """The backup of an s-rectangular set.

    Calls as :class:`RowBackup`, but a group's value is that of the best policy over its rows, and beside it come (n,) weights
    of the rows, those of a group summing to 1. ``worst_case`` splits the budget first.
    """

    def __init__(self, shared: SRectangular, layout: Layout, budgets: Array, num_actions: int, discount: float) -> None:
        super().__init__(shared.uncertainty, layout, budgets, discount)
        self.exact = shared.exact
        states = len(budgets) // num_actions
        self._all = Groups.by_state(layout.rows, states, num_actions)

    def __call__(self, value: Array, groups: Groups) -> tuple[Array, Array]:  # type: ignore[override]
        """Return the value of each group, 0 for empty ones, and an optimal policy as weights of the rows, (n,)."""
        out, weight, _ = self._share(value, groups, EMPTY)
        return out, weight

    def worst_case(
        self, value: Array, rows: NDArray[np.int64], *, kernel: bool = True, policy: Array | None = None
    ) -> RowsWorstCase:
        """Return the worst case of the given rows against a policy, (n,) probabilities of rows; by default the optimal one."""
        spent = self._share(value, self._all, EMPTY if policy is None else policy)[2]
        found = sweep(
            type(self.uncertainty).row, self.layout, value, self.discount, spent, self.bounds, rows,
            sort=self.uncertainty.sort, kernel=kernel,
        )  # fmt: skip
        return RowsWorstCase(*found)

    def _share(self, value: Array, groups: Groups, policy: Array) -> tuple[Array, Array, Array]:
        """Return values of groups, weights of rows, and the radius that is spent on each row."""
        n = len(self.radii)
        out, weight, spent = np.zeros(len(groups.ptr) - 1), np.zeros(n), np.zeros(n)
        value, policy = np.ascontiguousarray(value), readonly(policy)
        if not self.exact:
            run = self._general(value, groups, policy, out, weight, spent)
        elif self.layout.shares_order:
            run = self._shared_order(value, groups, policy, out, weight, spent)
        else:
            run = self._own_order(value, groups, policy, out, weight, spent)
        run_blocks(run, even_blocks(groups, len(self.layout.p) / max(len(self.layout.rows), 1)))
        return out, weight, 2 * spent if self.exact and isinstance(self.uncertainty, L1) else spent

    def _shared_order(self, value: Array, groups: Groups, policy: Array, *results: Array) -> Any:
        if self._ranks is None or not is_ascending(value, self._ranks):
            self._ranks = np.argsort(value, kind="stable")
        z, ranks, layout = self.discount * value, self._ranks, self.layout
        ptr, p, row_reward, radius = (
            layout.ptr.view(np.uint64),
            *map(readonly, (layout.p, layout.row_reward, self._parameters()[2])),
        )

        def block(first: int, last: int) -> None:
            shared_budget.full_rows(
                ptr, p, row_reward, radius, z, ranks, z.min(initial=np.inf), policy, groups.ptr, groups.rows,
                np.uint64(first), np.uint64(last), *results,
            )  # fmt: skip

        return block

    def _own_order(self, value: Array, groups: Groups, policy: Array, *results: Array) -> Any:
        outside = self._outside(value, groups.rows)
        ptr, indices, p, _, reward, row_reward, radius, _ = self._own_rows(ordered=True)
        radius = readonly(radius)

        def block(first: int, last: int) -> None:
            shared_budget.short_rows(
                ptr, indices, p, reward, row_reward, radius, readonly(value), self.discount, outside, policy, groups.ptr,
                groups.rows, np.uint64(first), np.uint64(last), *results,
            )  # fmt: skip

        return block

    def _general(self, value: Array, groups: Groups, policy: Array, *results: Array) -> Any:
        layout = self.layout
        ranks = np.argsort(value, kind="stable").astype(np.int64)
        solve = compiled(shared_budget_general.states, shared_budget_general.STATES)
        row = compiled(type(self.uncertainty).row, ROW)

        def block(first: int, last: int) -> None:
            solve(
                row, layout.ptr, layout.first, layout.indices, layout.p, layout.reward, layout.row_reward, layout.outside,
                layout.width, self.radii, value, self.discount, ranks, not policy.size, policy,
                groups.ptr.view(np.int64), groups.rows.view(np.int64), first, last, *results,
            )  # fmt: skip

        return block
