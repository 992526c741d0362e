"""Long tables of transitions, one line each: state, action, next state, probability, and perhaps reward; CSV and Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidModelError, MissingDependencyError, sound
from robust_rl.formats.interval_model import SUM_TOLERANCE
from robust_rl.models import TabularMDP
from robust_rl.models.memory import require_memory
from robust_rl.models.tabular_env import entry_rewards

NAMES = ("state", "action", "next_state", "probability", "reward")
SUFFIXES = (".csv", ".parquet")


class TableModel(NamedTuple):
    """A model that was read from a table, and what its indices stand for.

    Parameters
    ----------
    model
        CSR. States that occur only as a next state are terminal; pairs (s, a) that don't occur aren't available.
    states, actions
        (S,), (A,) the table's name of each index.
    """

    model: TabularMDP
    states: NDArray[Any]
    actions: NDArray[Any]


def read_table(path: str | Path, *, num_states: int | None = None, num_actions: int | None = None) -> TableModel:
    """Read a model from a CSV or Parquet file; the columns are those of :func:`from_columns`, others are ignored.

    Parameters
    ----------
    path
        A file that ends in ``.csv``, with a line of column names, or ``.parquet``. ``next`` is taken for ``next_state``.
    num_states, num_actions
        As in :func:`from_columns`.

    Raises
    ------
    FileFormatError
        If a column is missing, a value is missing or no number, or the probabilities of an action don't sum to 1; the message
        names the row, of which the first is 1.
    MissingDependencyError
        If pyarrow isn't installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{path} should end in {' or '.join(SUFFIXES)}")
    with sound(path, "table"):  # Arrow reads text lazily: a byte that is none may show anywhere
        columns = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
        try:
            return from_columns(*columns, num_states=num_states, num_actions=num_actions)
        except InvalidModelError as error:
            raise FileFormatError(f"{path}: {error}") from None


def from_columns(
    state: ArrayLike,
    action: ArrayLike,
    next_state: ArrayLike,
    probability: ArrayLike,
    reward: ArrayLike | None = None,
    *,
    num_states: int | None = None,
    num_actions: int | None = None,
) -> TableModel:
    """Return the model whose transitions are listed in columns of equal length, in any order.

    Parameters
    ----------
    state, action, next_state
        Integers or names. Integers are indices as they stand, unless some are negative or they leave more than half of
        0..largest unused; then they are names. Names are numbered in their order.
    probability
        Rows that are listed several times add up. Those of an action must sum to 1 within 1e-6, and are rescaled.
    reward
        r(s,a,s'), averaged by probability over rows that are listed several times; default 0. If no action has two different
        ones, they are r(s,a), of which an adversary moves nothing. A row of
        probability 0 says what an adversary would find there.
    num_states, num_actions
        S and A, if they are more than the largest index tells; integers are then indices.

    Raises
    ------
    InvalidModelError
        If columns differ in length, a value is missing or no number, or the probabilities of an action don't sum to 1; the
        message names the row, of which the first is 1.

    Examples
    --------
    >>> table = from_columns(["home", "home"], ["go", "go"], ["home", "work"], [0.2, 0.8], [0, 1])
    >>> table.model, table.states.tolist()
    (TabularMDP(states=2, actions=1, transitions='csr', rewards="r(s,a,s')", terminal=1), ['home', 'work'])
    """
    p = _numbers("probability", probability)
    given = [_column("state", state), _column("action", action), _column("next_state", next_state)]
    rewards = [] if reward is None else [_numbers("reward", reward)]
    lengths = {name: len(column) for name, column in zip(NAMES, [*given, p, *rewards])}
    if len(set(lengths.values())) > 1:
        raise InvalidModelError(f"the columns differ in length: {lengths}")
    if not len(p):
        raise InvalidModelError("there are no rows")
    negative = np.flatnonzero(p < 0)
    if negative.size:
        raise InvalidModelError(f"row {negative[0] + 1}: probability is {p[negative[0]]:g}; probabilities are >= 0")
    (source, target), states = _indices("state", [given[0], given[2]], num_states)
    (action_index,), actions = _indices("action", [given[1]], num_actions)
    p = _rescaled(p, source, action_index, states, actions)
    model = TabularMDP.from_chunks([(source, action_index, target, p, *rewards)], len(states), len(actions))
    return TableModel(model, states, actions)


def write_table(
    model: TabularMDP, path: str | Path, *, states: ArrayLike | None = None, actions: ArrayLike | None = None
) -> Path:
    """Write a model as a CSV or Parquet file, by its suffix; :func:`read_table` gives the same transitions and rewards back.

    A table doesn't hold the start, nor states that nothing leads to or from at the end of the numbering (``num_states`` of
    :func:`read_table`). Rewards for successors of probability 0 are written as rows of probability 0.

    Parameters
    ----------
    model, path
        What, and where.
    states, actions
        (S,), (A,) names to write in place of the indices.

    Raises
    ------
    MissingDependencyError
        If pyarrow isn't installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{path} should end in {' or '.join(SUFFIXES)}")
    arrow, module = _arrow(), _arrow("csv" if path.suffix == ".csv" else "parquet")
    row, target, p, reward = _entries(model)
    columns: list[Any] = [*np.divmod(row, model.num_actions), target.astype(np.int64)]
    for place, names in ((0, states), (2, states), (1, actions)):
        if names is not None:
            columns[place] = np.asarray(names)[columns[place]]
    table = arrow.table(dict(zip(NAMES, [*columns, p, reward], strict=True)))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # a full disk or a kill leaves an earlier file as it was
    try:
        (module.write_csv if path.suffix == ".csv" else module.write_table)(table, str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _arrow(part: str | None = None) -> Any:
    import importlib

    try:
        return importlib.import_module("pyarrow" if part is None else f"pyarrow.{part}")
    except ImportError as error:
        raise MissingDependencyError(
            'pyarrow is needed for tables in files; install it with: pip install "robust-rl[tables]"'
        ) from error


def _read_csv(path: Path) -> list[Any]:
    arrow, csv = _arrow(), _arrow("csv")
    one_thread = csv.ReadOptions(use_threads=False)  # which can name the row of a mistake
    try:
        with csv.open_csv(path, read_options=one_thread) as reader:
            names = _chosen(path, reader.schema.names)
    except (OSError, arrow.ArrowInvalid) as error:
        _unreadable(path, error)
    numeric = dict.fromkeys(names[3:], arrow.float64())
    textual = dict.fromkeys(names[:3], arrow.string())
    try:
        table = csv.read_csv(path, convert_options=csv.ConvertOptions(include_columns=names, column_types=numeric))
    except (OSError, arrow.ArrowInvalid):
        try:  # for names among what began as integers
            options = csv.ConvertOptions(include_columns=names, column_types=numeric | textual)
            table = csv.read_csv(path, read_options=one_thread, convert_options=options)
        except (OSError, arrow.ArrowInvalid) as error:
            _blame(path, names[3:])
            _unreadable(path, error)
    return _columns(path, table)


def _blame(path: Path, names: list[str]) -> None:
    """Raise FileFormatError naming the first value that is no number; return if there is none."""
    arrow, csv = _arrow(), _arrow("csv")
    types = dict.fromkeys(names, arrow.string())
    row = 0
    try:
        options = csv.ConvertOptions(include_columns=names, column_types=types)
        with csv.open_csv(path, read_options=csv.ReadOptions(use_threads=False), convert_options=options) as reader:
            for batch in reader:
                for values in zip(*(column.to_pylist() for column in batch.columns)):
                    row += 1
                    for name, value in zip(names, values):
                        if not _is_number(value):
                            raise FileFormatError(f"{path}, row {row}: {name} is {value!r}; it must be a number")
    except (OSError, arrow.ArrowInvalid):
        return


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text  # an empty one is missing, which is another mistake
    return True


def _read_parquet(path: Path) -> list[Any]:
    arrow, parquet = _arrow(), _arrow("parquet")
    try:
        schema = parquet.read_schema(path)
        names = _chosen(path, schema.names)
        # equal values pack to next to nothing; those that are names stay packed, a number each
        require_memory(8 * len(names) * parquet.read_metadata(path).num_rows, f"{path}, unpacked,", "free some")
        textual = [name for name in names if arrow.types.is_string(schema.field(name).type)]
        table = parquet.read_table(path, columns=names, read_dictionary=textual)
    except (OSError, arrow.ArrowInvalid) as error:
        _unreadable(path, error)
    return _columns(path, table.select(names))


def _unreadable(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise FileFormatError(f"no table at {path}") from None
    raise FileFormatError(f"{path} is no readable table: {' '.join(str(error).split())}") from None


def _chosen(path: Path, present: list[str]) -> list[str]:
    """Return the file's names of the columns to read."""
    names = ["next" if name == "next_state" and name not in present and "next" in present else name for name in NAMES]
    missing = [name for name in names[:4] if name not in present]
    if missing:
        raise FileFormatError(
            f"{path} has no column {' and '.join(map(repr, missing))}; its columns are {', '.join(present)}; "
            f"needed are {', '.join(NAMES[:4])}, and reward if there are any"
        )
    return [name for name in names if name in present]


def _columns(path: Path, table: Any) -> list[Any]:
    arrow = _arrow()
    columns = []
    for name, column in zip(table.column_names, table.columns):
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
            raise FileFormatError(f"{path}, row {row}: {name} is missing")
        kind = column.type
        if arrow.types.is_dictionary(kind):
            kind = kind.value_type
        # names by a number each and a short list: millions of Python strings would take a minute
        textual = arrow.types.is_string(kind) or arrow.types.is_large_string(kind)
        if not textual and arrow.types.is_dictionary(column.type):
            column = column.cast(kind)
        columns.append(_coded(column) if textual else column.to_numpy())
    return columns


class _Names(NamedTuple):
    """A column of names: (N,) number of each, and the names."""

    code: NDArray[np.int64]
    names: NDArray[Any]

    def __len__(self) -> int:
        return len(self.code)


def _coded(column: Any) -> _Names:
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    if not chunks:
        return _Names(np.array([], dtype=np.int64), np.array([], dtype=str))
    names = chunks[-1].dictionary.to_numpy(zero_copy_only=False).astype(str)
    code = np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int64)
    used = np.bincount(code, minlength=len(names)) > 0  # a file's own dictionary may list more
    return _Names((used.cumsum() - 1)[code], names[used])


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    if isinstance(values, _Names):
        raise InvalidModelError(f"column {name} holds text; it must hold numbers")
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidModelError(f"column {name} must hold numbers: {error}") from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise InvalidModelError(f"row {bad[0] + 1}: {name} is {numbers[bad[0]]:g}; it must be a finite number")
    return numbers


def _column(name: str, values: Any) -> Any:
    """Return a column of integers or names."""
    if isinstance(values, _Names):
        return values
    array = np.asarray(values)
    if array.ndim != 1:
        raise InvalidModelError(f"column {name} has shape {array.shape}; expected one value a row")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array) | (array != np.floor(array)))
        if bad.size:
            raise InvalidModelError(f"row {bad[0] + 1}: {name} is {array[bad[0]]:g}; give integers or names")
        array = array.astype(np.int64)
    if array.dtype.kind in "iu":
        return array
    try:
        names, index = np.unique(array, return_inverse=True)
    except TypeError:
        raise InvalidModelError(f"column {name} mixes types that have no order; give integers or names") from None
    return _Names(index, names)


def _indices(name: str, columns: list[Any], count: int | None) -> tuple[list[NDArray[np.int64]], NDArray[Any]]:
    """Return the columns as indices into their common names."""
    if not any(isinstance(column, _Names) for column in columns):
        lowest, highest = (int(f([f(column) for column in columns])) for f in (np.min, np.max))
        if count is not None and not (lowest >= 0 and highest < count):
            raise InvalidModelError(
                f"{name} {highest if highest >= (count or 0) else lowest} does not exist; they are 0..{count - 1}"
            )
        if count is not None or (lowest >= 0 and _fills(columns, highest + 1)):
            return columns, np.arange(count if count is not None else highest + 1)
        columns = [_Names(index, names) for names, index in (np.unique(column, return_inverse=True) for column in columns)]
    elif count is not None:
        raise InvalidModelError(f"column {name} holds names; num_{name}s goes with integers")
    columns = [
        column if isinstance(column, _Names) else _Names(*np.unique(column, return_inverse=True)[::-1]) for column in columns
    ]
    if len({column.names.dtype.kind for column in columns}) > 1:  # integers in one, text in the other
        columns = [_Names(column.code, column.names.astype(str)) for column in columns]
    used = [column.names[np.bincount(column.code, minlength=len(column.names)) > 0] for column in columns]
    names = np.unique(np.concatenate(used))
    return [np.searchsorted(names, column.names)[column.code] for column in columns], names


def _fills(columns: list[NDArray[np.int64]], count: int) -> bool:
    """Whether indices leave at most half of 0..count-1 unused."""
    if count > 2 * sum(map(len, columns)):
        return False
    used = np.zeros(count, dtype=bool)
    for column in columns:
        used[column] = True
    return 2 * int(used.sum()) >= count


def _rescaled(
    p: NDArray[np.float64], state: NDArray[np.int64], action: NDArray[np.int64], states: NDArray[Any], actions: NDArray[Any]
) -> NDArray[np.float64]:
    pair = state.astype(np.int64) * len(actions) + action
    sums = np.bincount(pair, p, len(states) * len(actions))
    worst = np.abs(sums[pair] - 1)
    bad = np.flatnonzero(worst > SUM_TOLERANCE)
    if bad.size:
        i = bad[0]
        raise InvalidModelError(
            f"row {i + 1}: the probabilities of state {states[state[i]]!s} and action {actions[action[i]]!s} sum to "
            f"{sums[pair[i]]:.10g}; they must sum to 1 within {SUM_TOLERANCE:g}"
        )
    return p / sums[pair] if (worst > 1e-10).any() else p


def _entries(model: TabularMDP) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """Return row, next state, probability and reward of every transition, and of every successor that only has a reward."""
    matrix = model.csr()
    row, target = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices
    p, reward = matrix.data, entry_rewards(model, matrix)
    if model.has_transition_rewards:
        rewards = model.rewards if model.is_sparse else model.rewards.reshape(-1, model.num_states)
        extra = sparse.coo_array(rewards)
        keys = row * model.num_states + target
        wanted = extra.row.astype(np.int64) * model.num_states + extra.col
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        new = keys[place] != wanted
        row, target = np.append(row, extra.row[new]), np.append(target, extra.col[new])
        p, reward = np.append(p, np.zeros(int(new.sum()))), np.append(reward, extra.data[new])
    active = model.active_rows[row]
    return row[active], target[active], p[active], reward[active]
