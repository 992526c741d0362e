"""Tabular models on disk, in two layouts that hold the same arrays.

``name.npz`` is one compressed file. ``name.model`` is a directory of one ``.npy`` file an array, which can be mapped into memory,
and ``header.json``, which names format, version, and each array's type and shape. CSR matrices are three arrays:
``transitions.data``, ``transitions.indices``, ``transitions.indptr``. Nothing in either is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, sound
from robust_rl.models.npz import read_array, read_arrays

if TYPE_CHECKING:
    from robust_rl.models.tabular import TabularMDP

FORMAT, VERSION = "robust-rl tabular model", 1
DIRECTORY_SUFFIX, HEADER = ".model", "header.json"
VECTORS, MATRICES, PARTS = ("start", "terminal", "action_mask"), ("transitions", "rewards"), ("data", "indices", "indptr")
NAMES = {*VECTORS, *MATRICES, *(f"{matrix}.{part}" for matrix in MATRICES for part in PARTS)}


def save(model: TabularMDP, path: Path) -> Path:
    """Write a model; see :meth:`TabularMDP.save`."""
    if path.suffix == DIRECTORY_SUFFIX or path.is_dir():
        return _save_directory(model, path)
    return write_npz(path, _arrays(model), FORMAT)


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], kind: str) -> Path:
    """Write arrays and the name of their format to one compressed file; return its path, which ends in ``.npz``."""
    path = _with_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": np.array(kind), "version": np.array(VERSION)}
    temporary = path.with_name(f".{path.stem}.tmp.npz")  # a full disk or a kill leaves an earlier file as it was
    try:
        np.savez_compressed(temporary, **cast("dict[str, Any]", header | dict(arrays)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load(path: Path, *, mmap: bool = True) -> TabularMDP:
    """Read a model; see :meth:`TabularMDP.load`."""
    from robust_rl.models.tabular import TabularMDP

    arrays = read(path, mmap=mmap)
    missing = [name for name in VECTORS if name not in arrays]
    if missing:
        raise FileFormatError(f"{path} is incomplete: {missing[0]!r} is missing")
    with sound(path, "model"):
        check_pointers(arrays, MATRICES, path)
        vectors = {name: arrays[name] for name in VECTORS}
        matrices = {name: matrix_of(arrays, name, len(vectors["start"]), path) for name in MATRICES}
        return TabularMDP(**matrices, **vectors)


def read(path: Path, *, mmap: bool = True) -> Mapping[str, NDArray[Any]]:
    """Return a model's arrays as they lie in the file, those of a directory mapped into memory; only the format is checked."""
    if path.suffix == DIRECTORY_SUFFIX or path.is_dir():
        return _read_directory(path, mmap)
    return read_npz(path, FORMAT, "TabularMDP.save")


def _arrays(model: TabularMDP) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {name: getattr(model, name) for name in VECTORS}
    for name in MATRICES:
        matrix = getattr(model, name)
        if sparse.issparse(matrix):
            arrays |= {f"{name}.{part}": getattr(matrix, part) for part in PARTS}
        else:
            arrays[name] = matrix
    return arrays


def matrix_of(arrays: Mapping[str, NDArray[Any]], name: str, num_states: int, path: Path) -> Any:
    """Return a dense matrix, or CSR of its three arrays."""
    if name in arrays:
        return arrays[name]
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in PARTS)
    try:
        return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, num_states))
    except ValueError as error:
        raise FileFormatError(f"{path} is corrupt: {name} is no CSR matrix: {error}") from None


def _save_directory(model: TabularMDP, path: Path) -> Path:
    if path.exists() and not (path.is_dir() and ((path / HEADER).is_file() or not any(path.iterdir()))):
        raise FileFormatError(f"{path} exists and holds no model; choose another name, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(model)
    shapes = {name: {"dtype": array.dtype.str, "shape": list(array.shape)} for name, array in arrays.items()}
    # the process id keeps two writers apart; a full disk or a kill leaves an earlier model as it was
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{role}.tmp") for role in ("new", "old"))
    try:
        temporary.mkdir()
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / HEADER).write_text(json.dumps({"format": FORMAT, "version": VERSION, "arrays": shapes}, indent=2) + "\n")
        if path.exists():  # a directory can't be renamed over a full one; what is mapped from the old one stays readable
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return path


def _read_directory(path: Path, mmap: bool) -> Mapping[str, NDArray[Any]]:
    if not path.is_dir():
        raise FileFormatError(f"no model directory at {path}")
    listed = _read_header(path)
    arrays: dict[str, NDArray[Any]] = {}
    for name, expected in listed.items():
        file = path / f"{name}.npy"
        array = read_array(file, "an array of a model", mmap=mmap)
        if {"dtype": array.dtype.str, "shape": list(array.shape)} != expected:
            raise FileFormatError(f"{file} is corrupt: it isn't of the type and shape that {HEADER} says")
        if array.dtype.kind not in "bif":
            raise FileFormatError(f"{file} holds {array.dtype}; a model is made of numbers")
        arrays[name] = array
    return arrays


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads((path / HEADER).read_bytes())
    except FileNotFoundError:
        raise FileFormatError(f"{path} holds no {HEADER}; write a model with TabularMDP.save") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{path / HEADER} is not readable: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(f"{path} is not a {FORMAT}; write one with TabularMDP.save")
    _check_version(header.get("version"), path)
    arrays = header.get("arrays")
    if not isinstance(arrays, dict) or not set(arrays) <= NAMES:  # a name is a file's name: take none but ours
        raise FileFormatError(f"{path / HEADER} is corrupt: its arrays are not those of a model")
    return arrays


def check_pointers(arrays: Mapping[str, NDArray[Any]], matrices: Iterable[str], path: Path) -> None:
    """Refuse CSR matrices that point outside of themselves: compiled code would follow them there."""
    for name in matrices:
        if not {f"{name}.{part}" for part in PARTS} <= set(arrays):
            continue
        data, indices, indptr = (arrays[f"{name}.{part}"] for part in PARTS)
        if arrays["start"].ndim != 1 or not points_inside(data, indices, indptr, len(arrays["start"])):
            raise FileFormatError(f"{path} is corrupt: {name} is no CSR matrix")


def points_inside(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], columns: int) -> bool:
    """Whether three arrays are a CSR matrix that points nowhere but into itself."""
    return bool(
        data.ndim == indices.ndim == indptr.ndim == 1
        and indices.dtype.kind == indptr.dtype.kind == "i"
        and len(indptr) > 1
        and indptr[0] == 0
        and indptr[-1] == len(data) == len(indices)
        and all(np.all(part[1:] >= part[:-1]) for part in _pieces(indptr, overlap=1))
        and all(part.min() >= 0 and part.max() < columns for part in _pieces(indices))
    )


def _pieces(array: NDArray[Any], overlap: int = 0, size: int = 1 << 20) -> list[NDArray[Any]]:
    """Cut an array, without copying it, so that tests of it need little memory."""
    return [array[begin : begin + size + overlap] for begin in range(0, len(array), size)]


def _with_suffix(path: Path) -> Path:
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def read_npz(path: Path, kind: str, writer: str) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of a file of this format. Raises FileFormatError naming what writes one."""
    path = _with_suffix(path)
    arrays = read_arrays(path, "model file")
    if str(arrays.get("format")) != kind:
        raise FileFormatError(f"{path} is not a {kind} file; write one with {writer}")
    version = arrays.get("version", np.array(""))
    _check_version(version.item() if version.ndim == 0 else None, path)
    return arrays


def _check_version(version: Any, path: Path) -> None:
    if not isinstance(version, int) or isinstance(version, bool):
        raise FileFormatError(f"{path} is corrupt: it has no format version")
    if version > VERSION:
        raise FileFormatError(f"{path} has format version {version}, newer than {VERSION}: upgrade robust-rl")
