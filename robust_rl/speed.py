"""What a robust backup costs on this machine, as a ratio to the cheapest nominal one on the same data.

The floor is the fastest plain product P V at hand in each round: BLAS, scipy's CSR product, or this library's nominal sweep.
Contenders are compiled first, then take turns; a ratio is within one round. Time is processor time, summed over threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.table import Estimate, Table
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]
FLOOR = "P V"


def backup_ratios(
    model: TabularMDP, sets: Mapping[str, RectangularSet | None], *, rounds: int = 15, title: str = "", seed: int = 0
) -> Table:
    """Measure one Bellman backup of each set.

    Parameters
    ----------
    model : TabularMDP
    sets : mapping of names to sets; None is the nominal problem
    rounds : int
        Rounds in which every set has its turn.
    seed : int
        Of the values that are backed up.

    Returns
    -------
    Table
        A row a set: "steady", a value that changed by 1e-6 of its size since the last sweep; and "first", an unrelated value,
        whose order has to be sorted anew and whose roots have to be found from nothing. Medians with the range over rounds. The
        row "P V" is the floor itself, in milliseconds.

    Raises
    ------
    InvalidArgumentError
        If ``rounds`` isn't positive.
    """
    if rounds < 1:
        raise InvalidArgumentError(f"rounds is {rounds}; it must be at least 1")
    rng = np.random.default_rng(seed)
    matrix = model.csr() if model.is_sparse else model.transitions.reshape(-1, model.num_states)
    backups = {name: BellmanOperator(model, uncertainty, 0.99) for name, uncertainty in sets.items()}
    plain = BellmanOperator(model, None, 0.99)
    value = rng.random(model.num_states)
    for backup in (plain, *backups.values()):
        backup(value)
    steady: dict[str, list[float]] = {name: [] for name in backups}
    first: dict[str, list[float]] = {name: [] for name in backups}
    floors = []
    for _ in range(rounds):
        value = value * (1 + 1e-6 * rng.standard_normal(len(value)))
        other = rng.random(len(value))
        floors.append(min(seconds(product, value) for product in (matrix.__matmul__, plain) for _ in range(3)))
        for name, backup in backups.items():
            backup.rows.memory[:] = 0.0
            first[name].append(seconds(backup, other) / floors[-1])
            backup(value)
            close = value * (1 + 1e-6 * rng.standard_normal(len(value)))
            steady[name].append(seconds(backup, close) / floors[-1])
    cells = [(_estimate(steady[name]), _estimate(first[name])) for name in backups]
    floor = _estimate([1000 * floor for floor in floors])
    return Table(title, (f"{FLOOR}, ms", *backups), ("steady", "first"), ((floor, floor), *cells))


def seconds(function: Callable[[Array], Any], value: Array) -> float:
    """Processor time of one call."""
    start = time.process_time()
    function(value)
    return time.process_time() - start


def _estimate(values: list[float]) -> Estimate:
    return Estimate(min(values), max(values), float(np.median(values)), kind="rounds")
