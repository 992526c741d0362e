"""Preference data from local files, checked before a model is loaded, and figures on what training will see of them.

===========  ==========================================================================
column       content
===========  ==========================================================================
prompt       text, or a list of messages ``{"role": .., "content": ..}``; may be left out
             where chosen and rejected share it as their beginning
chosen       the preferred response, as text or messages
rejected     the other response
===========  ==========================================================================

A file is ``.jsonl`` (an object a line) or ``.parquet``; a folder holds one a split, ``train.jsonl`` and ``test.jsonl``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl.alignment.jsonl import parse_line
from robust_rl.errors import FileFormatError, InvalidArgumentError, nearest, sound

SUFFIXES = {".jsonl": "json", ".parquet": "parquet"}
PAIR = ("chosen", "rejected")


def is_local(name: str) -> bool:
    """Whether a dataset's name is that of a file or folder here, rather than of one on the Hub."""
    path = Path(name)
    return path.suffix in SUFFIXES or path.is_dir()


def load_local(name: str, required: Sequence[str] = PAIR) -> Any:
    """Return the splits of a local file or folder, after checking every row.

    Parameters
    ----------
    name
        A ``.jsonl`` or ``.parquet`` file, the split "train"; or a folder with files ``<split>.jsonl``.
    required
        Columns that every row must have, neither empty nor of another kind than text or messages.

    Returns
    -------
    datasets.DatasetDict

    Raises
    ------
    FileFormatError
        A file is missing or cannot be read; the message has the line.
    InvalidArgumentError
        A row lacks a column, or one is empty or of the wrong kind; the message has the row.
    """
    from datasets import DatasetDict

    files = _files(Path(name))
    for path in files.values():
        check_rows(path, rows(path), required)
    return DatasetDict({split: _table(path) for split, path in files.items()})


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a file's rows, a few at a time in memory.

    Raises
    ------
    FileFormatError
        The file is missing, or cannot be read.
    """
    if not path.is_file():
        raise FileFormatError(f"cannot read {path}: no such file")
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield parse_line(path, number, line)


def check_rows(source: Any, entries: Iterator[Mapping[str, Any]], required: Sequence[str]) -> int:
    """Check each row and return how many there are.

    Raises
    ------
    InvalidArgumentError
        A row lacks a required column, or one (or its prompt) is empty or neither text nor messages, or the kinds of a row's
        columns differ, or there is no row.
    """
    count = 0
    for count, row in enumerate(entries, start=1):
        where = f"{source}, row {count}"
        for column in required:
            if column not in row:
                raise InvalidArgumentError(
                    f"{where} has no {column!r}{nearest(column, list(row))}; its columns are {', '.join(row) or 'none'}"
                )
        kinds = {column: _kind(where, column, row[column]) for column in (*required, "prompt") if column in row}
        if len(set(kinds.values())) > 1:
            raise InvalidArgumentError(f"{where} mixes text and messages: {', '.join(f'{c} {k}' for c, k in kinds.items())}")
        talks = [row[column] for column in required if kinds[column] == "messages"]
        if len(talks) > 1 and not row.get("prompt") and any(talk[0] != talks[0][0] for talk in talks):
            raise InvalidArgumentError(f"{where} has no prompt, and {' and '.join(required)} don't begin with the same message")
    if count == 0:
        raise InvalidArgumentError(f"{source} has no rows")
    return count


def check_columns(dataset: Any, required: Sequence[str], name: str) -> None:
    """Refuse a dataset from the Hub without the columns; what is in its rows is TRL's to say.

    Raises
    ------
    InvalidArgumentError
        A column is missing.
    """
    columns = dataset.column_names
    for column in required if columns is not None else ():  # a stream may not know its columns
        if column not in columns:
            raise InvalidArgumentError(
                f"{name} has no column {column!r}{nearest(column, columns)}; its columns are {', '.join(columns)}"
            )


def figures(trainer: Any, rows_given: int | None) -> dict[str, int]:
    """Return how many rows training sees in another form than they were given.

    Parameters
    ----------
    trainer
        A VPOTrainer, which has tokenized its data.
    rows_given
        Their number before that; None if it is not known.

    Returns
    -------
    dict
        ``rows``; ``dropped`` (the prompt alone fills max_length); ``truncated`` (a response is cut, wholly or in part);
        ``identical`` (chosen equals rejected after cutting: no gradient, loss ln 2); ``prompt_changed`` (the prompt's tokens
        are no prefix of those with a response, so its end is left out). Empty for a stream.
    """
    from datasets import Dataset

    from robust_rl.alignment.sampling import prompt_ids

    data, limit = trainer.train_dataset, trainer.args.max_length
    if not isinstance(data, Dataset):
        return {}
    counts = {"rows": len(data), "dropped": (rows_given or len(data)) - len(data), "truncated": 0, "identical": 0}
    counts["prompt_changed"] = 0
    for row in data:
        both = [row["prompt_ids"] + row[f"{which}_ids"] for which in PAIR]
        counts["truncated"] += limit is not None and max(map(len, both)) > limit
        counts["identical"] += both[0][:limit] == both[1][:limit]
        template = {"tools": row.get("tools"), **(row.get("chat_template_kwargs") or {})}
        whole = prompt_ids(trainer.processing_class, row["prompt"], **({} if isinstance(row["prompt"], str) else template))
        counts["prompt_changed"] += len(whole) > len(row["prompt_ids"])
    return counts


def explain(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each figure that a person should know of."""
    texts = {
        "dropped": "left out: the prompt alone fills max_length",
        "truncated": "cut at max_length",
        "identical": "where chosen equals rejected after cutting: they have no gradient, and loss ln 2 = 0.693",
        "prompt_changed": "whose prompt is no prefix of the tokens of prompt and response together: its end is left out "
        "(end prompts on a space or newline, or use a chat template)",
    }
    return [f"{counts[name]} of {counts['rows']} rows {text}" for name, text in texts.items() if counts.get(name)]


def _files(path: Path) -> dict[str, Path]:
    if not path.is_dir():
        return {"train": path}
    found = {entry.stem: entry for entry in sorted(path.iterdir()) if entry.suffix in SUFFIXES}
    if not found:
        raise FileFormatError(f"{path} has no .jsonl or .parquet file; name them by split, such as train.jsonl")
    return found


def _table(path: Path) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    with sound(path, "table"):
        try:
            return load_dataset(SUFFIXES[path.suffix], data_files=str(path), split="train")  # its name for all rows
        except DatasetGenerationError as error:  # says nothing, its cause does
            raise error.__cause__ or error from None


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    with sound(path, "table"):
        table = pyarrow.parquet.ParquetFile(path)
        if table.metadata.num_rows > path.stat().st_size:  # equal rows pack to next to nothing, and would fill the disk unpacked
            raise FileFormatError(f"{path} has {table.metadata.num_rows} rows in fewer bytes: they can't all be different")
        for batch in table.iter_batches(batch_size=1000):
            yield from batch.to_pylist()


def _kind(where: str, column: str, value: Any) -> str:
    if isinstance(value, str):
        if not value.strip():
            raise InvalidArgumentError(f"{where} has an empty {column!r}; leave the row out, or give it a text")
        return "text"
    if isinstance(value, list) and value:
        for message in value:
            if not (isinstance(message, dict) and isinstance(message.get("role"), str) and message.get("content")):
                raise InvalidArgumentError(f"{where}, {column!r}: {message!r} is no message with a role and content")
        return "messages"
    raise InvalidArgumentError(f"{where}, {column!r} is {value!r}; it must be a text or a list of messages")
