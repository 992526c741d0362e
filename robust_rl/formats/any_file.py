"""One door for every kind of model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.formats.drn import read_drn
from robust_rl.formats.prism import read_prism
from robust_rl.formats.table import read_table
from robust_rl.models import TabularMDP
from robust_rl.uncertainty import Interval

SUFFIXES = (".npz", ".model", ".csv", ".parquet", ".drn", ".tra")


def read_model(path: str | Path, **options: Any) -> tuple[TabularMDP, Interval | None]:
    """Read a model from a file of any format that is known by its suffix, and the intervals it holds, if any.

    Parameters
    ----------
    path
        ``.npz`` or ``.model`` of :meth:`TabularMDP.save`, ``.csv`` or ``.parquet`` tables, Storm's ``.drn``, PRISM's ``.tra``.
    **options
        Of :func:`read_table`, :func:`read_drn` or :func:`read_prism`, whichever reads it.

    Raises
    ------
    FileFormatError
        If the file is malformed.
    InvalidArgumentError
        If the suffix is none of these, or the reader has no such option.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise InvalidArgumentError(f"{path} is none of {', '.join(SUFFIXES)}")
    known = {".drn": ("reward", "reach"), ".tra": ("reach", "labels", "state_rewards", "transition_rewards")}.get(suffix, ())
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InvalidArgumentError(
            f"a {suffix} file is read without {', '.join(unknown)}; its options: {', '.join(known) or 'none'}"
        )
    if suffix in (".drn", ".tra"):
        result = (read_drn if suffix == ".drn" else read_prism)(path, **options)
        return result.model, result.uncertainty
    return (TabularMDP.load(path) if suffix in (".npz", ".model") else read_table(path).model), None
