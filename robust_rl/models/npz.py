"""Reading ``.npz`` files that may come from strangers: plain arrays only, nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import FileFormatError, InvalidModelError
from robust_rl.models.memory import require_memory


def read_arrays(path: str | Path, what: str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, or those of its arrays that have one of the names.

    Raises
    ------
    FileFormatError
        If there is no file, or it isn't one of plain arrays; the message calls it ``what``.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            # a kilobyte of zip can hold a gigabyte of zeros
            size = sum(entry.file_size for entry in file.zip.infolist() if names is None or entry.filename[:-4] in names)
            require_memory(size, f"{path}, unpacked,", "free some")
            arrays = {name: file[name] for name in file.files if names is None or name in names}
    except FileNotFoundError:
        raise FileFormatError(f"no {what} at {path}") from None
    except InvalidModelError:
        raise
    except Exception as error:  # numpy's parsers fail in any way: TokenError, MemoryError, zlib.error ...
        raise FileFormatError(f"cannot read {path} as a {what}, an .npz file of plain arrays: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member that is no .npy file comes back as bytes
            raise FileFormatError(f"cannot read {path} as a {what}, an .npz file of plain arrays: {name!r} is no array")
    return arrays


def read_array(path: str | Path, what: str, *, mmap: bool = False) -> NDArray[Any]:
    """Return the array of a ``.npy`` file, or map it into memory.

    Raises
    ------
    FileFormatError
        If there is no file, or it isn't one of a plain array; the message calls it ``what``.
    """
    try:
        # the plain view: a subclass would follow the array into everything computed from it
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False).view(np.ndarray)
    except Exception as error:
        raise FileFormatError(f"cannot read {path} as {what}: {Path(path).name} is not a readable array: {error}") from error
    return array
