"""A small table of results that prints, draws and serialises alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number and how far it may be off.

    ========  =====================================================================================
    low, high the ends: of the range over tie-breaks, or of a 95 % interval
    middle    the number itself; None for a range, of which no point is more right than another
    kind      "exact", "count" (a whole number), "ties" (a range over equally optimal policies), "interval" (Monte Carlo) or
              "rounds" (a median with the range over rounds of a measurement)
    ========  =====================================================================================
    """

    low: float
    high: float
    middle: float | None = None
    kind: str = "exact"

    def __str__(self) -> str:
        if self.kind == "count":
            return f"{self.low:.0f}"
        if self.kind == "interval" and self.middle is not None:
            return f"{figures(self.middle)} ± {figures((self.high - self.low) / 2)}"
        low, high = figures(self.low), figures(self.high)
        if self.kind == "rounds" and self.middle is not None:
            return f"{figures(self.middle)} ({low} to {high})"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Table:
    """Rows of estimates under named columns; ``cells[row][column]``."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Estimate, ...], ...]

    def __getitem__(self, where: tuple[str, str]) -> Estimate:
        """Return the cell of a row and a column by their names."""
        row, column = where
        return self.cells[self.rows.index(row)][self.columns.index(column)]

    def __str__(self) -> str:
        lines = [("", *self.columns), *((name, *map(str, cells)) for name, cells in zip(self.rows, self.cells, strict=True))]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns) + 1)]
        body = (
            "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        )
        return "\n".join([self.title, *body])

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Table:
        """Inverse of :meth:`to_dict`."""
        records = content["cells"]
        rows, columns = (tuple(dict.fromkeys(str(record[axis]) for record in records)) for axis in ("row", "column"))
        by_place = {(str(record["row"]), str(record["column"])): _cell(record) for record in records}
        return cls(
            str(content["title"]), rows, columns, tuple(tuple(by_place[row, column] for column in columns) for row in rows)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: one record a cell."""
        return {
            "title": self.title,
            "cells": [
                {"row": row, "column": column, "kind": cell.kind, "low": cell.low, "high": cell.high, "value": cell.middle}
                for row, cells in zip(self.rows, self.cells, strict=True)
                for column, cell in zip(self.columns, cells, strict=True)
            ],
        }


def _cell(record: dict[str, Any]) -> Estimate:
    middle = record["value"]
    return Estimate(float(record["low"]), float(record["high"]), None if middle is None else float(middle), str(record["kind"]))


def figures(number: float) -> str:
    """Format with three decimals below 1, two below 100, one below 1000, none above.

    >>> figures(0.87768), figures(-12.2479), figures(-102.13), figures(-1800.2)
    ('0.878', '-12.25', '-102.1', '-1800')
    """
    magnitude = abs(number)
    places = 3 if magnitude < 1 else 2 if magnitude < 100 else 1 if magnitude < 1000 else 0
    return f"{number:.{places}f}"
