"""The robust Bellman operator over Ray actors: each holds a block of rows, and nothing but V moves.

A sweep puts V into the object store once, which actors on the same node read in place, asks every actor for its block of TV, and
joins the blocks. All read the same V, so the cuts change no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.models import RowSource
from robust_rl.rllib._compat import ray, start_ray
from robust_rl.rllib.shard import Bits, Facts, Report, Shard
from robust_rl.solvers.bellman import Precision
from robust_rl.uncertainty import Nominal, RectangularSet

Array = NDArray[np.float64]


class Kept(NamedTuple):
    """Rows still in the race: how many, and for each actor a reference to packed bits, or None for all of its rows."""

    rows: int
    bits: Sequence[Any]


class ShardedOperator:
    """T over actors. To :class:`~robust_rl.solvers.ValueIteration` it is what a BellmanOperator is.

    Parameters
    ----------
    source : RowSource
    uncertainty : RectangularSet or None
    discount : float
    actors : int
        Number of blocks.
    cpus_per_actor : float
        What Ray reserves; an actor sweeps with as many threads, at least one.
    max_restarts : int
        How often an actor is made again after its process died, on another node if its own is gone.

    Attributes
    ----------
    reports : list of Report
        Of the last sweep, by actor.
    backups : int
        Rows backed up so far.

    Raises
    ------
    InvalidArgumentError
        If there are fewer states than actors, or Ray has fewer processors than the actors ask for.
    InvalidUncertaintyError
        If the set holds arrays, or draws its policies.
    """

    def __init__(
        self,
        source: RowSource,
        uncertainty: RectangularSet | None,
        discount: float,
        *,
        actors: int,
        cpus_per_actor: float = 1.0,
        max_restarts: int = 10,
    ) -> None:
        self.uncertainty, self.discount = check_portable(uncertainty), discount
        if not 1 <= actors <= source.num_states:
            raise InvalidArgumentError(f"actors is {actors}; it must be from 1 to the number of states, {source.num_states}")
        start_ray()
        _check_processors(actors * cpus_per_actor)
        self.source, self.terminal = source, source.terminal
        self._live = ~self.terminal if self.terminal.any() else None
        self.cuts = [source.num_states * k // actors for k in range(actors + 1)]
        remote = ray.remote(Shard).options(
            num_cpus=cpus_per_actor, max_restarts=max_restarts, max_task_retries=-1, scheduling_strategy="SPREAD"
        )
        threads = max(1, int(cpus_per_actor))
        self._shards = [remote.remote(source, *block, uncertainty, discount, threads) for block in pairwise(self.cuts)]
        facts: list[Facts] = ray.get([shard.facts.remote() for shard in self._shards])
        self._precision = Precision(*map(max, zip(*(fact.precision for fact in facts), strict=True)))
        self._memory: list[Any] = []
        self._blocks: list[Any] = []
        self.groups = Kept(sum(fact.rows for fact in facts), [None] * actors)
        self.reports: list[Report] = []
        self.backups = 0
        self.forget()

    def sweep(self, value: Array, groups: Kept) -> tuple[Array, NDArray[Any]]:
        """Return TV (S,) over the rows that are kept, and its greedy actions (S,), ties to the lowest index."""
        shared = ray.put(value)
        answers = [
            shard.sweep.options(num_returns=3).remote(shared, bits, memory)
            for shard, bits, memory in zip(self._shards, groups.bits, self._memory, strict=True)
        ]
        self._blocks, reports, self._memory = (list(part) for part in zip(*answers, strict=True))
        found = ray.get([*self._blocks, *reports])
        self.reports = found[len(answers) :]
        self.backups += groups.rows
        return np.concatenate(found[: len(answers)]), np.concatenate([report.actions for report in self.reports])

    def without_eliminated(self, groups: Kept, value: Array, width: float) -> Kept:
        """Return the rows that may still be optimal, by the last sweep, which was from this value; see :class:`Shard`."""
        shared = ray.put(value)
        answers = [
            shard.eliminate.options(num_returns=3).remote(shared, block, bits, memory, width)
            for shard, block, bits, memory in zip(self._shards, self._blocks, groups.bits, self._memory, strict=True)
        ]
        bits, counts, self._memory = (list(part) for part in zip(*answers, strict=True))
        self.backups += groups.rows
        return Kept(sum(ray.get(counts)), bits)

    def rounding(self, value: Array) -> float:
        """Return a bound on the error of one sweep, as :meth:`BellmanOperator.rounding`."""
        return self._precision.rounding(value, self.discount, self.uncertainty.error)

    def actions(self, choice: NDArray[Any]) -> NDArray[Any]:
        """Return what a sweep chose: actions."""
        return choice

    def no_choice(self) -> NDArray[Any]:
        """Return action 0 everywhere."""
        return np.zeros(self.source.num_states, np.min_scalar_type(self.source.num_actions - 1))

    def live(self, of_states: NDArray[Any]) -> NDArray[Any]:
        """Return the entries of the states that aren't terminal."""
        return of_states if self._live is None else of_states[self._live]

    def forget(self) -> None:
        """Let root finders start anew."""
        self._memory, self._blocks = [None] * len(self._shards), []

    def memory(self) -> Array | None:
        """Return what root finders remember of all rows, (S*A,), or None."""
        parts = ray.get([part for part in self._memory if part is not None])
        if not any(part is not None for part in parts):
            return None
        return np.concatenate([_or_zeros(part, size) for part, size in zip(parts, self._rows_of_blocks(), strict=True)])

    def remember(self, memory: Array | None) -> None:
        """Take over what :meth:`memory` returned, from any number of actors."""
        self.forget()
        if memory is not None:
            self._memory = [ray.put(part) for part in self._cut(memory)]

    def mask(self, groups: Kept) -> NDArray[np.bool_]:
        """Return the rows that are kept as booleans, (S*A,)."""
        parts: list[Bits] = ray.get(list(groups.bits))
        return np.concatenate(
            [np.unpackbits(part, count=size).view(bool) for part, size in zip(parts, self._rows_of_blocks(), strict=True)]
        )

    def kept(self, mask: NDArray[np.bool_]) -> Kept:
        """Inverse of :meth:`mask`, for any number of actors."""
        return Kept(int(mask.sum()), [ray.put(np.packbits(part)) for part in self._cut(mask)])

    def _rows_of_blocks(self) -> list[int]:
        return [(last - first) * self.source.num_actions for first, last in pairwise(self.cuts)]

    def _cut(self, of_rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Cut something (S*A,) into the blocks' parts."""
        return np.split(of_rows, [cut * self.source.num_actions for cut in self.cuts[1:-1]])


def check_portable(uncertainty: RectangularSet | None) -> RectangularSet:
    """Return the set, if it means the same for a block of rows as for all of them, and is small.

    Raises
    ------
    InvalidUncertaintyError
        If not; the message says what does.
    """
    chosen = Nominal() if uncertainty is None else uncertainty
    plain = isinstance(chosen, RectangularSet) and not chosen.randomises
    if not plain or not all(isinstance(value, float | str) for value in chosen.describe().values()):
        raise InvalidUncertaintyError(
            f"{uncertainty!r} can't be cut into blocks of rows; give a set of one radius for all rows and no arrays, such as "
            'TotalVariation(0.1, support="reachable")'
        )
    return chosen


def _check_processors(needed: float) -> None:
    there = ray.cluster_resources().get("CPU", 0.0)
    if needed > there:
        raise InvalidArgumentError(
            f"the actors ask for {needed:g} processors and Ray has {there:g}; use fewer actors or a smaller cpus_per_actor"
        )


def _or_zeros(memory: Array | None, size: int) -> Array:
    return np.zeros(size) if memory is None else memory
