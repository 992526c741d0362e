"""What the writers of explicit model files share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.formats.interval_model import INITIAL
from robust_rl.models import TabularMDP
from robust_rl.models.tabular_env import entry_rewards
from robust_rl.uncertainty import Interval


class Entries(NamedTuple):
    """Transitions that can happen, in active rows: row s*A + a, next state, bounds and r(s,a,s') of each, in order."""

    row: NDArray[np.int64]
    target: NDArray[np.int32]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    reward: NDArray[np.float64]


def entries_of(model: TabularMDP, uncertainty: Interval | None) -> Entries:
    """Return a model's transitions; the bounds are equal where there is no uncertainty."""
    if uncertainty is None:
        matrix = model.csr()
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        entries = Entries(row, matrix.indices, matrix.data, matrix.data, entry_rewards(model, matrix))
    else:
        layout = uncertainty.lay_out(model)
        row, target = layout.coordinates()
        reward = layout.reward if layout.reward.size else layout.row_reward[row]
        entries = Entries(row, target, *uncertainty.bounds(layout), reward)
    possible = (entries.upper > 0) & model.active_rows[row]
    return entries if possible.all() else Entries(*(part[possible] for part in entries))


def label_masks(model: TabularMDP, labels: Mapping[str, ArrayLike] | None) -> dict[str, NDArray[np.bool_]]:
    """Return masks (S,) of the labels, first that of the initial states.

    Raises
    ------
    InvalidArgumentError
        If a label can't be written, or the start isn't uniform over some states.
    """
    initial: NDArray[np.bool_] = model.start > 0
    if not np.allclose(model.start[initial], 1 / initial.sum(), rtol=1e-9, atol=0):
        raise InvalidArgumentError(
            "the file holds initial states, not a distribution; write model.replace(start=...), uniform over some states"
        )
    masks = {INITIAL: initial}
    for name, given in (labels or {}).items():
        if not name or '"' in name or not name.isprintable() or name.startswith("["):
            raise InvalidArgumentError(
                f"label {name!r} can't be written; use printable characters, no quotes, no bracket in front"
            )
        mask = np.zeros(model.num_states, dtype=bool)
        mask[np.asarray(given)] = True
        masks.setdefault(name, mask)
    return masks


def write_lines(path: Path, lines: Iterable[Any]) -> None:
    """Write text under a temporary name, then rename it: a full disk or a kill leaves an earlier file as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
