"""Ranks of tables that are known from a sample.

A hypothesis rank(P(A,B)) <= r is tested on several small tables: the variables of A, or for a latent some of those below it,
against a random few of B. It is accepted only if every table accepts it, for a rank too low that is accepted makes a false
cluster, while one that is refused can still be found with other variables.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.ranks import RankTestResult, rank_test

LEFT_CELLS = 32
"""More rows of a table than this are avoided."""
ROWS_PER_CELL = 8
"""Of the sample, for each cell of a table, at least: with fewer, columns are pooled anyway."""

RankTest = Callable[[NDArray[np.float64], int], RankTestResult]


class SampleRanks:
    """Answers questions about ranks from a sample.

    Parameters
    ----------
    codes
        States from 0, shape (n, number of variables).
    names
        Of the columns.
    test
        ``"kp"`` or ``"cca"`` as :func:`rank_test` knows them, or a function (table of counts, r) -> :class:`RankTestResult`.
    alpha
        Level of each test.
    n_subsets
        Tables for each question.
    subset_size
        Variables of B in a table, at least; up to two more are taken where there are.
    seed
        Of the choice of variables.
    """

    def __init__(
        self,
        codes: NDArray[np.int64],
        names: Sequence[str],
        *,
        test: str | RankTest = "kp",
        alpha: float = 1e-3,
        n_subsets: int = 12,
        subset_size: int = 3,
        seed: int = 0,
    ) -> None:
        self.column = {name: np.ascontiguousarray(codes[:, i]) for i, name in enumerate(names)}
        self.n_states = {name: int(column.max()) + 1 for name, column in self.column.items()}
        self.test: RankTest = partial(rank_test, method=test) if isinstance(test, str) else test
        self.alpha, self.n_subsets, self.subset_size, self.seed = alpha, n_subsets, subset_size, seed
        self.records: list[dict[str, Any]] = []
        self._pvalues: dict[tuple[tuple[str, ...], tuple[str, ...], int], float] = {}
        self._slices: dict[str, list[SampleRanks]] = {}

    def at_most(self, a: Sequence[Block], b: Sequence[Block], r: int) -> bool:
        """Return whether no table contradicts that the rank of P(A,B) is at most r."""
        return self.pvalue(a, b, r) > self.alpha

    def at_level(self, alpha: float) -> SampleRanks:
        """Return the same at another level; what has been computed is shared."""
        other = copy(self)
        other.alpha, other._slices = alpha, {}
        return other

    def given(self, name: str) -> list[SampleRanks]:
        """Return what answers for each state of an observed variable: the rows that have it."""
        if name not in self._slices:
            others = [other for other in self.column if other != name]
            codes = np.stack([self.column[other] for other in others], axis=1)
            settings = {"alpha": self.alpha, "n_subsets": self.n_subsets, "subset_size": self.subset_size, "seed": self.seed}
            rows = [codes[self.column[name] == state] for state in range(self.n_states[name])]
            self._slices[name] = [SampleRanks(some, others, test=self.test, **settings) for some in rows if len(some)]  # type: ignore[arg-type]
        return self._slices[name]

    def pvalue(self, a: Sequence[Block], b: Sequence[Block], r: int) -> float:
        """Return the smallest p-value over the tables."""
        left, right = (tuple(sorted(name for block in side for name in block.measured)) for side in (a, b))
        key = left, right, r
        if key not in self._pvalues:
            rng = np.random.default_rng([self.seed, zlib.crc32(repr(key).encode())])
            tables = {self._choose(a, right, r, rng) for _ in range(self.n_subsets)}
            worst = min((self.test(self.counts(*sides), r) for sides in sorted(tables)), key=lambda result: result.pvalue)
            self._pvalues[key] = worst.pvalue
            self.records.append(
                {
                    "A": " ".join(left),
                    "B": " ".join(right),
                    "r": r,
                    "tables": len(tables),
                    "statistic": worst.statistic,
                    "df": worst.df,
                    "p": worst.pvalue,
                }
            )
        return self._pvalues[key]

    def problem(self) -> dict[str, Any]:
        """Return what another sample, or another test, would differ in."""
        checksum = zlib.crc32(b"".join(column.tobytes() for column in self.column.values()))
        settings = {"alpha": self.alpha, "n_subsets": self.n_subsets, "subset_size": self.subset_size, "seed": self.seed}
        return {"rows": len(next(iter(self.column.values()))), "checksum of the rows": checksum} | settings

    def restore(self, records: list[dict[str, Any]]) -> None:
        """Take up the questions that an earlier search asked of the same sample, with their answers."""
        self.records[:] = records
        self._pvalues.clear()
        self._pvalues.update({(tuple(row["A"].split()), tuple(row["B"].split()), row["r"]): row["p"] for row in records})

    def counts(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float64]:
        """Return the table of counts of two sets of variables."""
        rows, columns = (math.prod(self.n_states[name] for name in side) for side in (left, right))
        cell = np.zeros(len(self.column[left[0]]), np.int64)
        for name in (*left, *right):
            cell = cell * self.n_states[name] + self.column[name]
        return np.bincount(cell, minlength=rows * columns).reshape(rows, columns).astype(float)

    def _choose(
        self, a: Sequence[Block], right: Sequence[str], r: int, rng: np.random.Generator
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the variables of one table."""
        left = [name for block in a for name in _some(block.measured, 2 * block.size, rng)]
        if self._cells(left) > max(LEFT_CELLS, 2 * r):
            left = [name for block in a for name in _some(block.measured, block.size, rng)]
        chosen = _some(right, self.subset_size + int(rng.integers(3)), rng)
        while self._cells(chosen) < 2 * r and len(chosen) < len(right):
            chosen.append(_some([name for name in right if name not in chosen], 1, rng)[0])
        length = len(self.column[left[0]])
        while self._cells(left) * self._cells(chosen) > length / ROWS_PER_CELL and self._cells(chosen[:-1]) >= 2 * r:
            chosen.pop()
        return tuple(sorted(left)), tuple(sorted(chosen))

    def _cells(self, names: Sequence[str]) -> int:
        return math.prod(self.n_states[name] for name in names)


def _some(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return list(names) if len(names) <= count else [str(name) for name in rng.choice(names, count, replace=False)]
