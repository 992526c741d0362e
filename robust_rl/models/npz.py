"""Reading ``.npz`` files that may come from strangers: plain arrays only, nothing is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import FileFormatError

UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_arrays(path: str | Path, what: str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, or those of its arrays that have one of the names.

    Raises
    ------
    FileFormatError
        If there is no file, or it isn't one of plain arrays; the message calls it ``what``.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if names is None or name in names}
    except FileNotFoundError:
        raise FileFormatError(f"no {what} at {path}") from None
    except UNREADABLE as error:
        raise FileFormatError(f"cannot read {path} as a {what}, an .npz file of plain arrays: {error}") from error
