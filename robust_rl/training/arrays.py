"""Named arrays and their metadata in one safetensors file, and random generators as JSON. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training.files import JSON, atomic_write

FORMAT = "robust-rl arrays"
VERSION = 1
# The header holds one entry: the order of several would change from process to process, and with it the file's bytes.
_ENTRY = "robust_rl"
# safetensors knows more types than numpy reads back.
_DTYPES = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_INT64 = 2**63


def save_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, JSON] | None = None,
    *,
    format: str = FORMAT,
    version: int = VERSION,
) -> None:
    """Write named arrays and JSON metadata into one safetensors file, atomically. Same content, same bytes.

    Parameters
    ----------
    path
        File to write; by custom it ends in ``.safetensors``.
    arrays
        Name -> array of any shape (0-d, empty, non-contiguous) and a dtype of bool, (u)int8..64, float16..64,
        complex64. Anything :func:`numpy.asarray` takes, so CPU tensors too.
    metadata
        JSON values. nan and infinity are refused.
    format, version
        Say what the file is, for files with a meaning of their own (``"robust-rl policy"``). Checked on loading.

    Raises
    ------
    InvalidArgumentError
        An array's dtype or the metadata cannot be stored.
    OSError
        The disk is full or read-only; an earlier file at ``path`` is untouched.
    """
    from safetensors.numpy import save

    entry = {"format": format, "version": version, "metadata": dict(metadata or {})}
    try:
        header = {_ENTRY: json.dumps(entry, allow_nan=False, sort_keys=True)}
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"metadata of {path} cannot be written as JSON: {error}") from error
    plain = {name: _storable(name, np.asarray(array)) for name, array in arrays.items()}
    atomic_write(Path(path), save(plain, header))


def load_arrays(
    path: str | os.PathLike[str], *, format: str = FORMAT, version: int = VERSION
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Read what :func:`save_arrays` wrote: writable arrays, bit for bit, and the metadata.

    Parameters
    ----------
    path
        File to read. It may come from a stranger: nothing in it is executed.
    format, version
        What the file must be, and the newest version the caller reads.

    Raises
    ------
    FileFormatError
        The file is missing, truncated, corrupt, of another format, or of a newer version.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            entry = _check_entry(path, file.metadata(), format, version)
            arrays = {name: _writable(file.get_tensor(name)) for name in sorted(file.keys())}
    except FileFormatError:
        raise
    # A dtype that numpy lacks (bfloat16) ends in whatever safetensors' lookup of it raises, deep JSON in a RecursionError.
    except Exception as error:
        raise FileFormatError(f"cannot read {path} as {format}: {error}") from error
    return arrays, entry["metadata"]


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the whole state of a NumPy generator as JSON, including what ``spawn`` depends on.

    Integers of 64 bits and more are written as strings, because most JSON readers would round them.

    Raises
    ------
    InvalidArgumentError
        The bit generator is not one of NumPy's own.
    """
    bits = generator.bit_generator
    name = type(bits).__name__
    if name not in _GENERATORS:
        raise InvalidArgumentError(f"cannot save a {name} generator; known are {', '.join(_GENERATORS)}")
    return {"bit_generator": name, "state": _to_json(bits.state), "seed": _seed_to_json(bits.seed_seq)}


def restore_generator(state: Mapping[str, Any]) -> np.random.Generator:
    """Return the generator whose state :func:`generator_state` saved.

    Raises
    ------
    FileFormatError
        ``state`` is not such a state.
    """
    try:
        name = state["bit_generator"]
        if name not in _GENERATORS:
            raise ValueError(f"unknown bit generator {name!r}")
        seed = state["seed"]
        bits = getattr(np.random, name)(None if seed is None else np.random.SeedSequence(**_from_json(seed)))
        bits.state = _from_json(state["state"])
    except Exception as error:  # numpy's own checks of a state are asserts and casts
        raise FileFormatError(f"not the state of a random generator: {error}") from error
    return np.random.Generator(bits)


def _storable(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.name not in _DTYPES:
        raise InvalidArgumentError(f"array {name!r} has dtype {array.dtype}; a file can hold {', '.join(_DTYPES)}")
    # safetensors copies raw memory: a transposed view would be written in the wrong order without a word.
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array if array.flags.writeable else array.copy()


def _check_entry(path: object, header: dict[str, str] | None, format: str, version: int) -> dict[str, Any]:
    entry = json.loads((header or {}).get(_ENTRY, "null"))
    if not isinstance(entry, dict) or entry.get("format") != format:
        found = entry.get("format") if isinstance(entry, dict) else "no format entry"
        raise FileFormatError(f"{path} is not a file of format {format!r} ({found})")
    check_version(path, entry.get("version"), version)
    if not isinstance(entry.get("metadata"), dict):
        raise FileFormatError(f"{path} has no metadata entry")
    return entry


def check_version(path: object, found: object, newest: int) -> None:
    """Raise unless ``found`` is a format version from 1 to ``newest``.

    Raises
    ------
    FileFormatError
        ``found`` is newer, or no version at all.
    """
    if type(found) is not int or found < 1:
        raise FileFormatError(f"{path} has format version {found!r}; expected an integer from 1 to {newest}")
    if found > newest:
        raise NewerVersionError(
            f"{path} has format version {found}, newer than {newest}, the newest that this robust-rl reads; "
            'upgrade with: pip install --upgrade "robust-rl"'
        )


class NewerVersionError(FileFormatError):
    """The file is intact but was written by a newer robust-rl."""


def _seed_to_json(seed: object) -> dict[str, Any] | None:
    if not isinstance(seed, np.random.SeedSequence):  # a generator rebuilt from its bare state has none
        return None
    return {key: _to_json(value) for key, value in seed.state.items()}


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_json(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "values": _to_json(value.tolist())}
    if isinstance(value, list | tuple):
        return [_to_json(entry) for entry in value]
    if isinstance(value, int | np.integer):
        return int(value) if abs(int(value)) < _INT64 else str(value)
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() == {"dtype", "values"}:
            return np.array(_from_json(value["values"]), dtype=value["dtype"])
        return {key: _from_json(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_from_json(entry) for entry in value]
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value
