"""An even grid on a box of R^m: which cell a point is in, and between which centres of cells it lies.

Axis j runs from low_j to high_j in bins_j cells of width w_j = (high_j - low_j) / bins_j, with centres at (i + 1/2) w_j.
Cells are numbered in C order, the last axis fastest. A point at place t = (x - low) / w - 1/2 lies, along each axis, between
the centres floor(t) and floor(t) + 1, and belongs to them in the shares

    1 - (t - floor(t))    and    t - floor(t),                                                                                (1)

to the 2^m corners around it in the products over axes. Beyond the outermost centres a point counts as at them; a periodic axis,
an angle, goes on at its other end instead.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoxGrid:
    """The grid: low, high (m,), bins (m,) whole numbers, periodic (m,) booleans."""

    low: Array
    high: Array
    bins: NDArray[np.intp]
    periodic: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """The number of cells."""
        return int(np.prod(self.bins))

    @property
    def width(self) -> Array:
        """Widths of a cell, (m,)."""
        return np.asarray((self.high - self.low) / self.bins)

    def corners(self) -> Array:
        """Return the lowest point of every cell, (size, m)."""
        digits = np.stack(np.unravel_index(np.arange(self.size), tuple(self.bins)), axis=1)
        return np.asarray(self.low + digits * self.width)

    def cells(self, points: Array) -> NDArray[np.intp]:
        """Return the cell of each point, (n,); points beyond the box count as on its border."""
        return self._numbered(np.floor((points - self.low) / self.width))

    def shares(self, points: Array) -> tuple[NDArray[np.intp], Array]:
        """Return the cells around each point and its share in their centres, eq. (1): both (n, 2^m)."""
        place = (points - self.low) / self.width - 0.5
        place = np.where(self.periodic, place % self.bins, np.clip(place, 0, self.bins - 1))
        below = np.floor(place)
        part = place - below
        cells, shares = [], []
        for corner in itertools.product((0, 1), repeat=len(self.bins)):
            cells.append(self._numbered(below + corner))
            shares.append(np.where(corner, part, 1 - part).prod(axis=1))
        return np.stack(cells, axis=1), np.stack(shares, axis=1)

    def _numbered(self, digits: Array) -> NDArray[np.intp]:
        inside = np.where(self.periodic, digits % self.bins, np.clip(digits, 0, self.bins - 1))
        return np.asarray(np.ravel_multi_index(tuple(inside.astype(np.intp).T), tuple(self.bins)))
