"""Ranks of an exact joint table.

If L separates A from B then P(A,B) = P(A|L) diag(p(L)) P(B|L)^T, so that its rank is at most the number of states of L, and for
tables in general position it is the least such number over all separating sets.

    R = D_a^{-1/2} P(A,B) D_b^{-1/2},   rank = number of singular values of R above TOLERANCE           (1)
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidModelError
from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.hierarchy import check_cells

TOLERANCE = 1e-9
GAP = 1e3
"""A smaller ratio between the last singular value that counts and the first that doesn't is warned of."""

Floats = NDArray[np.float64]


def scaled(table: Floats) -> Floats:
    """Return the table with its rows and columns divided by the roots of their sums; empty ones are dropped."""
    rows, columns = table.sum(1), table.sum(0)
    if rows.min() <= 0 or columns.min() <= 0:
        table, rows, columns = table[rows > 0][:, columns > 0], rows[rows > 0], columns[columns > 0]
    return table / np.sqrt(rows)[:, None] / np.sqrt(columns)  # type: ignore[no-any-return]


class ExactRanks:
    """Answers questions about ranks from a joint table.

    Parameters
    ----------
    table
        Joint distribution, one axis a variable.
    names
        Of the axes.

    Raises
    ------
    InvalidModelError
        The table is no distribution, or has another number of axes.
    InvalidArgumentError
        It has more than 2^22 cells.
    """

    def __init__(self, table: Floats, names: Sequence[str]) -> None:
        self.table = np.asarray(table, float)
        check_cells(self.table.size)
        if self.table.ndim != len(names):
            raise InvalidModelError(f"the table has {self.table.ndim} axes and {len(names)} names; give one name an axis")
        if not np.isfinite(self.table).all() or self.table.min() < 0 or abs(self.table.sum() - 1) > 1e-8:
            raise InvalidModelError("the table is no distribution: entries must be non-negative and sum to 1")
        self.axis = {name: i for i, name in enumerate(names)}
        self.records: list[dict[str, Any]] = []
        self._values: dict[tuple[tuple[str, ...], tuple[str, ...]], Floats] = {}
        self._slices: dict[str, list[ExactRanks]] = {}

    @property
    def n_states(self) -> Mapping[str, int]:
        """Number of states of each variable."""
        return {name: self.table.shape[axis] for name, axis in self.axis.items()}

    def at_most(self, a: Sequence[Block], b: Sequence[Block], r: int) -> bool:
        """Return whether the rank of P(A,B) is at most r."""
        left, right = (tuple(sorted(name for block in side for name in block.measured)) for side in (a, b))
        return self.rank(left, right) <= r

    def given(self, name: str) -> list[ExactRanks]:
        """Return what answers for each state of an observed variable: the table of the others under it."""
        if name not in self._slices:
            others = [other for other in self.axis if other != name]
            parts = np.moveaxis(self.table, self.axis[name], 0)
            self._slices[name] = [ExactRanks(part / part.sum(), others) for part in parts if part.sum() > 0]
        return self._slices[name]

    def problem(self) -> dict[str, Any]:
        """Return what another table would differ in."""
        return {"cells": self.table.size, "checksum of the table": zlib.crc32(self.table.tobytes())}

    def restore(self, records: list[dict[str, Any]]) -> None:
        """Take up the questions of an earlier search; they are answered anew when asked again."""
        self.records[:] = records

    def rank(self, left: tuple[str, ...], right: tuple[str, ...]) -> int:
        """Return the rank of the table of two disjoint sets of variables (eq. 1)."""
        if (left, right) not in self._values:
            values = np.asarray(np.linalg.svd(_folded(scaled(self._between(left, right))), compute_uv=False), float)
            self._values[left, right] = values
            rank = _count(values, left, right)
            self.records.append({"A": " ".join(left), "B": " ".join(right), "rank": rank})
        return int((self._values[left, right] > TOLERANCE).sum())

    def _between(self, left: Sequence[str], right: Sequence[str]) -> Floats:
        kept = [self.axis[name] for name in (*left, *right)]
        others = tuple(axis for axis in range(self.table.ndim) if axis not in kept)
        order = np.argsort(np.argsort(kept))
        table = self.table.sum(axis=others).transpose(order)
        rows = math.prod(self.n_states[name] for name in left)
        return np.asarray(table.reshape(rows, -1))


def _folded(table: Floats) -> Floats:
    """Return a wide table with neighbouring columns added up under random signs, which leaves the rank as it is."""
    rows, columns = table.shape
    if columns <= 8 * rows:
        return table
    signs = np.random.default_rng(0).choice([-1.0, 1.0], columns)
    return np.add.reduceat(table * signs, np.linspace(0, columns, 4 * rows, endpoint=False).astype(int), axis=1)  # type: ignore[no-any-return]


def _count(values: Floats, left: Sequence[str], right: Sequence[str]) -> int:
    rank = int((values > TOLERANCE).sum())
    if rank < len(values) and values[rank - 1] < GAP * max(values[rank], 1e-16):
        warnings.warn(
            f"the rank of {' '.join(left)} against {' '.join(right)} is not clear: singular values {values[rank - 1]:.1e} and "
            f"{values[rank]:.1e} lie next to each other",
            stacklevel=5,
        )
    return rank
