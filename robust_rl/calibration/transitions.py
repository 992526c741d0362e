"""Logged transitions, in whatever form they come, as counts n(s, a, s'): CSR of shape (S*A, S)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.models.npz import read_arrays

COLUMNS = (("states", "actions", "next_states"), ("observations", "actions", "next_observations"))
FORMS = (
    "counts of shape (S, A, S), three arrays (states, actions, next_states), an .npz file or an object with these names, or with "
    "observations, actions, next_observations"
)


def count_transitions(data: Any, shape: tuple[int, int] | None) -> tuple[sparse.csr_array, tuple[int, int]]:
    """Count the transitions of a log.

    Parameters
    ----------
    data
        Counts of shape (S, A, S), or CSR of shape (S*A, S); a tuple of three arrays of indices; the path of an ``.npz`` file; a
        mapping, or an object with attributes, of names ``counts``, or ``states, actions, next_states``, or ``observations,
        actions, next_observations``.
    shape : (S, A) or None
        Numbers of states and actions. None: those of the counts.

    Returns
    -------
    counts : CSR of shape (S*A, S), and shape : (S, A)

    Raises
    ------
    InvalidArgumentError
        If the log is empty, columns differ in length, an index is out of range, or an entry is no whole number.
    FileFormatError
        If the file can't be read, or lacks the names.
    """
    content = _read(Path(data)) if isinstance(data, (str, Path)) else data
    if sparse.issparse(content) or isinstance(content, np.ndarray):
        return _checked_counts(content, shape)
    if isinstance(content, (tuple, list)) and len(content) == 3:
        content = dict(zip(COLUMNS[0], content, strict=True))
    counts = _entry(content, "counts")
    if counts is not None:
        return _checked_counts(counts, shape)
    for names in COLUMNS:
        columns = [_entry(content, name) for name in names]
        if all(column is not None for column in columns):
            return _counted(dict(zip(names, columns, strict=True)), shape)
    raise InvalidArgumentError(f"{type(data).__name__} is no log of transitions; give {FORMS}")


def _read(path: Path) -> dict[str, Any]:
    content = read_arrays(path, "log", ("counts", *sum(COLUMNS, ())))
    if not content:
        raise FileFormatError(f"{path} holds none of the names of a log; give {FORMS}")
    return content


def _entry(content: Any, name: str) -> Any:
    return content.get(name) if isinstance(content, Mapping) else getattr(content, name, None)


def _counted(columns: dict[str, Any], shape: tuple[int, int] | None) -> tuple[sparse.csr_array, tuple[int, int]]:
    """Count three columns of indices."""
    if shape is None:
        raise InvalidArgumentError(
            "transitions don't tell how many states and actions there are; give a model, or counts (S, A, S)"
        )
    states, actions = shape
    arrays = {name: _whole(column, name) for name, column in columns.items()}
    if len({array.squeeze().shape for array in arrays.values()}) > 1:
        told = ", ".join(f"{name} has shape {array.shape}" for name, array in arrays.items())
        raise InvalidArgumentError(f"the columns of the log don't fit each other: {told}; give one index a transition")
    source, action, successor = (array.ravel() for array in arrays.values())
    if not source.size:
        raise InvalidArgumentError("the log is empty; give at least one transition")
    for name, index, limit in zip(columns, (source, action, successor), (states, actions, states), strict=True):
        outside = np.flatnonzero((index < 0) | (index >= limit))
        if outside.size:
            first = int(outside[0])
            raise InvalidArgumentError(f"{name}[{first}] is {index[first]}; the model has only 0..{limit - 1}")
    # COO sums duplicates
    counts = sparse.csr_array((np.ones(source.size), (source * actions + action, successor)), shape=(states * actions, states))
    counts.sum_duplicates()
    return counts, shape


def _checked_counts(counts: Any, shape: tuple[int, int] | None) -> tuple[sparse.csr_array, tuple[int, int]]:
    if not sparse.issparse(counts):
        counts = np.asarray(counts)
        if counts.ndim != 3 or counts.shape[0] != counts.shape[2] or not counts.size:
            raise InvalidArgumentError(f"counts have shape {counts.shape}; expected (S, A, S), or CSR of shape (S*A, S)")
        counts = _whole(counts, "counts").reshape(-1, counts.shape[2])
    matrix = sparse.csr_array(counts, dtype=np.float64)
    matrix.sum_duplicates()
    rows, states = matrix.shape
    found = (states, rows // max(states, 1))
    if found[0] * found[1] != rows or (shape is not None and found != shape):
        expected = "S*A rows and S columns" if shape is None else f"{shape[0]} states and {shape[1]} actions, as in the model"
        raise InvalidArgumentError(f"counts are of {found[0]} states and {rows} rows (s, a); expected {expected}")
    _whole(matrix.data, "counts")
    if (matrix.data < 0).any():
        raise InvalidArgumentError(f"counts have an entry {matrix.data.min():g}; numbers of transitions are >= 0")
    matrix.eliminate_zeros()
    if not matrix.nnz:
        raise InvalidArgumentError("the log is empty: all counts are 0; give at least one transition")
    return matrix, found


def _whole(values: Any, name: str) -> NDArray[Any]:
    """Return an array of whole numbers."""
    try:
        array = np.asarray(values)
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{name} is not an array of numbers: {error}") from None
    bad = numbers[~(np.isfinite(numbers) & (numbers == np.floor(numbers)))]
    if bad.size:
        raise InvalidArgumentError(f"{name} has an entry {bad.flat[0]:g}; states, actions and counts are whole numbers")
    return numbers.astype(np.int64)
