"""Columns of any labels as states from 0, and the order in which a search sees them.

The search must not depend on how states are called or columns are ordered. So states are numbered by how often they occur, and
columns are sorted by what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError

MAX_STATES = 32
Integers = NDArray[np.int64]


def categories_of(values: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
    """Return the sorted labels of each column.

    Raises
    ------
    InvalidArgumentError
        A column is constant, or looks continuous.
    """
    found = [_labels(values[:, i], name) for i, name in enumerate(names)]
    for name, labels in zip(names, found, strict=True):
        if len(labels) == 1:
            raise InvalidArgumentError(f"column {name!r} is constant, always {labels[0]}; it tells nothing, drop it")
        if len(labels) > MAX_STATES:
            raise InvalidArgumentError(
                f"column {name!r} has {len(labels)} distinct values, above {MAX_STATES}; make them discrete, "
                "as sklearn.preprocessing.KBinsDiscretizer does"
            )
    return found


def _labels(column: NDArray[Any], name: str) -> NDArray[Any]:
    try:
        return np.unique(column)
    except TypeError as error:
        raise InvalidArgumentError(f"column {name!r} mixes kinds of labels that can't be sorted; make them all text") from error


def encode(values: NDArray[Any], categories: Sequence[NDArray[Any]], names: Sequence[str]) -> Integers:
    """Return the states from 0 of labels.

    Raises
    ------
    InvalidArgumentError
        A label was not seen in fitting.
    """
    codes = np.empty(values.shape, np.int64)
    for i, (name, labels) in enumerate(zip(names, categories, strict=True)):
        place = np.searchsorted(labels, values[:, i])
        known = labels[np.minimum(place, len(labels) - 1)] == values[:, i]
        if not np.all(known):
            raise InvalidArgumentError(
                f"column {name!r} has the value {values[:, i][~known][0]}, which was not there in fitting; known are "
                f"{', '.join(map(str, labels[:10]))}"
            )
        codes[:, i] = place
    return codes


def canonical(codes: Integers) -> tuple[Integers, NDArray[np.intp]]:
    """Return the columns with states by frequency, sorted by content, and which column each of them was."""
    columns = np.stack([_by_frequency(codes[:, i]) for i in range(codes.shape[1])], axis=1)
    order = np.array(sorted(range(columns.shape[1]), key=lambda i: columns[:, i].tobytes()), np.intp)
    return columns[:, order], order


def _by_frequency(column: Integers) -> Integers:
    """Return the column with its states numbered from the most frequent on, and from the first to occur among equals."""
    _, first, inverse, counts = np.unique(column, return_index=True, return_inverse=True, return_counts=True)
    return np.argsort(np.lexsort((first, -counts)))[inverse]  # type: ignore[no-any-return]
