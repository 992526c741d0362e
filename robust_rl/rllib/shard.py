"""One block of a model's rows, and what a sweep does with it: what an actor of :mod:`robust_rl.rllib.sharded` holds.

A shard is made from its constructor's arguments, and a call's answer depends on them and on the call's arguments alone. So a
shard that is lost and made again goes on with the same bits. What a sweep leaves for the next one travels with the calls: which
rows are still in the race, as packed bits, and what root finders remember of each row.
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust_rl import _threads
from robust_rl.models import RowSource
from robust_rl.solvers.bellman import BellmanOperator, Precision
from robust_rl.solvers.elimination import excess_over_best
from robust_rl.uncertainty import RectangularSet
from robust_rl.uncertainty.backup import Groups

Array = NDArray[np.float64]
Bits = NDArray[np.uint8]


class Facts(NamedTuple):
    """What the driver must know of a block: what its rounding hangs on, and the number of its rows."""

    precision: Precision
    rows: int


class Report(NamedTuple):
    """What a sweep says beside the values: greedy actions (B,), seconds it took, and the process it ran in."""

    actions: NDArray[Any]
    seconds: float
    process: int


class Shard:
    """The rows of states ``first`` to ``last - 1`` of a source, under a set.

    Parameters
    ----------
    source : RowSource
    first, last : int
    uncertainty : RectangularSet or None
    discount : float
    threads : int
        Threads of a sweep.
    """

    def __init__(
        self, source: RowSource, first: int, last: int, uncertainty: RectangularSet | None, discount: float, threads: int = 1
    ) -> None:
        _threads.set_num_threads(threads)
        self.backup = BellmanOperator(source.rows(first, last), uncertainty, discount)
        self.groups = self.backup.groups
        self._kept: Bits | None = None
        self._roots = self.backup.uncertainty.error > 0
        self._action_type = np.min_scalar_type(source.num_actions - 1)

    def facts(self) -> Facts:
        """Return what the driver must know."""
        return Facts(self.backup.precision, len(self.groups.rows))

    def sweep(self, value: Array, kept: Bits | None, memory: Array | None) -> tuple[Array, Report, Array | None]:
        """Apply T to the block.

        Parameters
        ----------
        value : (S,) array
        kept : packed bits of the block's rows, or None for all
        memory : (B*A,) array or None
            What root finders remember from the sweep before.

        Returns
        -------
        (values, report, memory)
            TV of the block's states (B,), see :class:`Report`, and what root finders remember now, None for sets without them.
        """
        begin = time.perf_counter()
        self._take(kept, memory)
        values, rows = self.backup.sweep(value, self.groups)
        actions = self.backup.actions(rows).astype(self._action_type)
        return values, Report(actions, time.perf_counter() - begin, os.getpid()), self._remembered()

    def eliminate(
        self, value: Array, applied: Array, kept: Bits | None, memory: Array | None, width: float
    ) -> tuple[Bits, int, Array | None]:
        """Find the rows that may still be optimal; see :mod:`robust_rl.solvers.elimination`.

        Parameters
        ----------
        value : (S,) array
        applied : (B,) array
            TV of the block's states.
        kept, memory
            As in :meth:`sweep`.
        width : float
            Of the certificate.

        Returns
        -------
        (kept, rows, memory)
            Packed bits of the rows, their number, and what root finders remember now.
        """
        self._take(kept, memory)
        stay = self.groups.rows[excess_over_best(self.backup, self.groups, value, applied) <= width]
        bits = np.zeros(self.backup.model.action_mask.size, dtype=bool)
        bits[stay] = True
        return np.packbits(bits), len(stay), self._remembered()

    def _take(self, kept: Bits | None, memory: Array | None) -> None:
        """Take over what the sweep before left."""
        self.backup.rows.memory[:] = 0.0 if memory is None else memory
        if kept is None:
            self._kept, self.groups = None, self.backup.groups
        elif self._kept is None or not np.array_equal(kept, self._kept):
            states, actions = self.backup.model.action_mask.shape
            rows = np.flatnonzero(np.unpackbits(kept, count=states * actions))
            self._kept, self.groups = np.array(kept), Groups.by_state(rows, states, actions)

    def _remembered(self) -> Array | None:
        memory: Array = self.backup.rows.memory
        return memory if self._roots and memory.any() else None
