"""The backup of :mod:`robust_rl.uncertainty.backup` on a torch device.

The rows are moved to the device once, at the first sweep. After that each sweep sends V there and gets T V and the chosen rows
back. Rows of equal length lie together in tables, up to a factor of two in length (ELLPACK by powers of two), so a few long
rows don't make all rows long; full rows that share z are such tables too. A table is bounded in bytes and is worked off on its
own, so that a sweep needs a few times that beside the model, whatever the model's size.

Sets that want z in order keep each table's rows in order, as the compiled sweeps do: a sweep sorts only the rows whose order
has changed. Equal z are in order of state, so that the order depends on V alone.

What torch cumulates or sums on a GPU may differ from run to run in the last bits; on a processor it doesn't.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.uncertainty.backup import Groups, RowBackup, RowsWorstCase
from robust_rl.uncertainty.expectation import EXPECTATION
from robust_rl.uncertainty.layout import Layout
from robust_rl.uncertainty.torch_rows import RULES, Rows, Rule, expectation

Array = NDArray[np.float64]
# bytes of one table of numbers: what caches hold on a processor; elsewhere enough to keep the device busy
PROCESSOR_TABLE, DEVICE_TABLE = 1 << 22, 1 << 28


@dataclass
class Block:
    """A table of rows on the device: (n, w) entries, or (1, w) states where all rows have the same; (n,) numbers of rows."""

    rows: Tensor
    states: Tensor
    p: Tensor
    u: Tensor | None
    reward: Tensor | None
    row_reward: Tensor
    radius: Tensor
    slack: Tensor

    def z(self, value: Tensor, ordered: bool) -> Tensor:
        """Return z, (n, w) or (1, w), of ``value`` = gamma V; the rows are brought in order of it first if so asked."""
        z = self._look(value)
        if not ordered:
            return z
        late = (~_in_order(z, self.states)).nonzero()[:, 0]
        if len(late):
            self._reorder(z, late)
            z = self._look(value)
        return z

    def select(self, at: Tensor) -> Block:
        """Return a table of some of the rows."""
        per_row = {name: getattr(self, name)[at] for name in ("rows", "p", "row_reward", "radius", "slack")}
        states = self.states.clone() if len(self.states) == 1 else self.states[at]
        u, reward = (None if part is None else part[at] for part in (self.u, self.reward))
        return replace(self, states=states, u=u, reward=reward, **per_row)

    def lowest_unlisted(self, sorted_value: Tensor, ranks: Tensor) -> Tensor:
        """Return the lowest value among the states that each row doesn't list, inf where it lists all.

        It is the first rank that the row's states leave out, at most the row's length.
        """
        width = self.states.shape[1]
        listed = torch.index_select(ranks, 0, self.states.view(-1)).view_as(self.states).clamp_(max=width + 1)
        seen = torch.zeros((len(self.states), width + 2), dtype=torch.uint8, device=listed.device)
        first = seen.scatter_(1, listed, 1)[:, : width + 1].argmin(1)
        return sorted_value[first.clamp_(max=len(sorted_value) - 1)]

    def _look(self, value: Tensor) -> Tensor:
        z = torch.index_select(value, 0, self.states.view(-1)).view_as(self.states)
        return z if self.reward is None else z + self.reward

    def _reorder(self, z: Tensor, late: Tensor) -> None:
        by_state = self.states[late].argsort(dim=1, stable=True)
        order = by_state.gather(1, z[late].gather(1, by_state).argsort(dim=1, stable=True))
        shared = len(self.states) == 1
        for part in (self.states, self.p, self.u, self.reward):
            if part is not None and shared:
                part.copy_(part[:, order[0]])
            elif part is not None:
                part[late] = part[late].gather(1, order)


class Plan(NamedTuple):
    """Tables of rows that some groups use; each group's rows, (groups, largest group), filled up with one row too many."""

    blocks: list[Block]
    table: Tensor


class TorchBackup:
    """The backup of a set on a torch device, with the methods of :class:`RowBackup`.

    Parameters
    ----------
    backup : RowBackup
        The same on the processor. It works out worst cases, which a solve asks for once.
    device : torch.device

    Raises
    ------
    InvalidArgumentError
        If the set doesn't run on a device; the message lists those that do.
    """

    def __init__(self, backup: RowBackup, device: torch.device) -> None:
        rule = RULES.get(type(backup.uncertainty))
        if rule is None or type(backup) is not RowBackup:
            names = ", ".join(sorted(kind.__name__ for kind in RULES))
            raise InvalidArgumentError(
                f"{type(backup.uncertainty).__name__} doesn't run on device {str(device)!r}, only with device='cpu'; "
                f"sets that run on a device: {names}"
            )
        self.backup, self.layout, self.device = backup, backup.layout, device
        moves = backup.uncertainty.choose_sweeps(backup.radii) is not EXPECTATION
        self.rule = rule if moves else Rule(expectation)
        self._memory = torch.zeros(len(backup.radii), dtype=torch.float64, device=device)
        self._lent: Array | None = None
        self._blocks: list[Block] | None = None
        self._plans: dict[bool, tuple[Groups, Plan]] = {}

    @property
    def memory(self) -> Array:
        """What root finders remember of each row, (n,). Whatever is written into it holds from the next sweep on."""
        if self._lent is None:
            self._lent = self._memory.to("cpu", copy=True).numpy()
        return self._lent

    @memory.setter
    def memory(self, memory: Array) -> None:
        self._lent = np.array(memory, dtype=np.float64)

    def __call__(self, value: Array, groups: Groups) -> tuple[Array, NDArray[np.int64]]:
        """Return the best value of each state, 0 for empty groups, and the row that gives it; the first of equal ones."""
        if self._lent is not None:
            self._memory, self._lent = self._to_device(self._lent), None
        plan = self._plan(groups)
        values = self._values(self._to_device(np.asarray(value, dtype=np.float64)), plan.blocks)
        best, at = values[plan.table].max(1)
        rows = plan.table.gather(1, at[:, None])[:, 0]
        empty = rows == len(self.layout.row_reward)
        return best.masked_fill(empty, 0.0).cpu().numpy(), rows.masked_fill(empty, 0).cpu().numpy()

    def worst_case(self, value: Array, rows: NDArray[np.int64], *, kernel: bool = True) -> RowsWorstCase:
        """Return the worst case of the given rows at a value, worked out on the processor."""
        return self.backup.worst_case(value, rows, kernel=kernel)

    def release(self) -> None:
        """Give back the device's memory; the next sweep moves the rows there again."""
        self._blocks = None
        self._plans.clear()
        self.backup.release()

    def _values(self, value: Tensor, blocks: list[Block]) -> Tensor:
        """Value of every row of the tables; -inf for others, and for one row too many."""
        scaled = self.backup.discount * value
        outside = torch.tensor(np.inf, dtype=torch.float64, device=self.device)
        listed = bool(self.layout.outside.size)
        if listed:
            in_order, order = scaled.sort(stable=True)
            ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=self.device))
            in_order = torch.cat([in_order, outside[None]])
        values = torch.full((len(self.layout.row_reward) + 1,), -np.inf, dtype=torch.float64, device=self.device)
        for block in blocks:
            z = block.z(scaled, self.rule.ordered)
            if listed:
                # r(s,a) is added below, and if the row lists the lowest state, that is its own lowest anyway
                outside = in_order[0] if block.reward is None else block.lowest_unlisted(in_order, ranks)
            found, remembered = self.rule.worst(
                Rows(block.p, block.u, z, outside, block.radius, block.slack, self._memory[block.rows])
            )
            self._memory[block.rows] = remembered
            values[block.rows] = block.row_reward + found
        return values

    def _plan(self, groups: Groups) -> Plan:
        """Tables for the groups; the last two plans are kept, one of all rows and one of some."""
        whole = len(groups.rows) == len(self.layout.rows)
        known = self._plans.get(whole)
        if known is not None and known[0] is groups:
            return known[1]
        blocks = self._all_blocks()
        if not whole:
            wanted = torch.zeros(len(self.layout.row_reward), dtype=torch.bool, device=self.device)
            wanted[self._to_device(groups.rows.astype(np.int64))] = True
            chosen = [(block, wanted[block.rows].nonzero()[:, 0]) for block in blocks]
            blocks = [block.select(at) for block, at in chosen if len(at)]
        plan = Plan(blocks, self._to_device(_table(groups, len(self.layout.row_reward))))
        self._plans[whole] = groups, plan
        return plan

    def _all_blocks(self) -> list[Block]:
        if self._blocks is None:
            backup = self.backup
            numbers = backup.uncertainty.parameters(backup.layout, backup.radii, backup.bounds)
            size = PROCESSOR_TABLE if self.device.type == "cpu" else DEVICE_TABLE
            self._blocks = [self._block(rows, *numbers) for rows in _tables(self.layout, size // 8)]
        return self._blocks

    def _block(self, rows: NDArray[np.int64], p: Array, u: Array | None, radius: Array, slack: Array) -> Block:
        layout = self.layout
        length = (layout.ptr[rows + 1] - layout.ptr[rows])[:, None]
        column = np.arange(length.max())
        filler = column >= length
        column = np.where(filler, 0, column)
        entry = layout.ptr[rows][:, None] + column
        states = layout.indices[layout.first[rows][:, None] + column]
        if layout.shares_order:
            states = states[:1].copy()
        return Block(
            rows=self._to_device(rows),
            states=self._to_device(states),
            p=self._to_device(np.where(filler, self.rule.padding, p[entry])),
            u=None if u is None else self._to_device(np.where(filler, 0.0, u[entry])),
            reward=self._to_device(layout.reward[entry]) if layout.reward.size else None,
            row_reward=self._to_device(layout.row_reward[rows]),
            radius=self._to_device(radius[rows]),
            slack=self._to_device(slack[rows]),
        )

    def _to_device(self, array: NDArray) -> Tensor:
        """A copy: tables are written to."""
        return torch.tensor(array, device=self.device)


def _tables(layout: Layout, entries: int) -> list[NDArray[np.int64]]:
    """Rows of each table: of one length up to a factor of two, and of no more than so many entries in all."""
    rows = np.asarray(layout.rows, dtype=np.int64)
    lengths = layout.ptr[rows + 1] - layout.ptr[rows]
    tables = []
    bucket = np.ceil(np.log2(np.maximum(lengths, 1)))
    for b in np.unique(bucket):
        alike, width = rows[bucket == b], int(lengths[bucket == b].max())
        step = max(entries // max(width, 1), 1)
        tables += [alike[start : start + step] for start in range(0, len(alike), step)]
    return tables


def _table(groups: Groups, filler: int) -> NDArray[np.int64]:
    """The groups' rows side by side, (groups, largest group)."""
    ptr = groups.ptr.astype(np.int64)
    sizes = np.diff(ptr)
    table = np.full((len(sizes), max(int(sizes.max(initial=0)), 1)), filler, dtype=np.int64)
    group = np.repeat(np.arange(len(sizes)), sizes)
    table[group, np.arange(len(group)) - ptr[:-1][group]] = groups.rows.astype(np.int64)
    return table


def _in_order(z: Tensor, states: Tensor) -> Tensor:
    """Whether each row ascends in z, equal ones in the number of the state."""
    above, below = z[:, 1:], z[:, :-1]
    return ((above > below) | ((above == below) & (states[:, 1:] >= states[:, :-1]))).all(1)
