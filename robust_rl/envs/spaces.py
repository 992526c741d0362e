"""Numbers the elements of finite Gymnasium spaces, in C order: the row of a table that belongs to an observation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from robust_rl.errors import InvalidArgumentError


def state_count(space: spaces.Space[Any]) -> int:
    """Return the number of elements of a Discrete, MultiDiscrete or Tuple of such.

    Raises
    ------
    InvalidArgumentError
        If the space is of another kind.
    """
    return math.prod(size for size, _ in _axes(space))


def state_index(space: spaces.Space[Any], observation: Any) -> int:
    """Return the index, 0 to ``state_count(space) - 1``, of an observation; the last part of a composite one varies fastest.

    Raises
    ------
    InvalidArgumentError
        If the space isn't finite, or the observation isn't in it.

    Examples
    --------
    >>> state_index(spaces.Tuple((spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2))), (14, 10, 1))
    329
    """
    axes = _axes(space)
    if not space.contains(observation):
        raise InvalidArgumentError(f"observation {observation!r} is not in {space}")
    index = 0
    for digit, (size, first) in zip(_digits(space, observation), axes, strict=True):
        index = index * size + digit - first
    return index


def state_observation(space: spaces.Space[Any], index: int) -> Any:
    """Return the observation with that index: the inverse of :func:`state_index`.

    Raises
    ------
    InvalidArgumentError
        If the space isn't finite, or has no such index.
    """
    axes = _axes(space)
    total = math.prod(size for size, _ in axes)
    if not 0 <= index < total:
        raise InvalidArgumentError(f"index {index} does not exist; {space} has indices 0..{total - 1}")
    digits: list[int] = []
    for size, first in reversed(axes):
        index, digit = divmod(int(index), size)
        digits.append(digit + first)
    return _assemble(space, digits)


def _axes(space: spaces.Space[Any]) -> list[tuple[int, int]]:
    """Return (size, first value) of every digit of the space."""
    if isinstance(space, spaces.Discrete):
        return [(int(space.n), int(space.start))]
    if isinstance(space, spaces.MultiDiscrete):
        return [(int(n), int(first)) for n, first in zip(space.nvec.ravel(), space.start.ravel(), strict=True)]
    if isinstance(space, spaces.Tuple):
        return [axis for part in space.spaces for axis in _axes(part)]
    raise InvalidArgumentError(f"{space} has no finite list of states; a table needs Discrete, MultiDiscrete, or a Tuple of them")


def _digits(space: spaces.Space[Any], observation: Any) -> list[int]:
    if isinstance(space, spaces.Tuple):
        return [digit for part, value in zip(space.spaces, observation, strict=True) for digit in _digits(part, value)]
    return [int(value) for value in np.ravel(observation)]


def _assemble(space: spaces.Space[Any], digits: list[int]) -> Any:
    """Build an observation from its digits, which lie reversed, as a stack."""
    if isinstance(space, spaces.Tuple):
        return tuple(_assemble(part, digits) for part in space.spaces)
    if isinstance(space, spaces.MultiDiscrete):
        values = [digits.pop() for _ in range(space.nvec.size)]
        return np.array(values, dtype=space.dtype).reshape(space.nvec.shape)
    return digits.pop()
