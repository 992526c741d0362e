"""Symmetries of phase retrieval, to be proposed as Metropolis moves. Each undoes itself and keeps volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def flip_sign(z: Tensor) -> Tensor:
    """Return -z: amplitudes of a linear transform are the same."""
    return -z


def flip_channel(channel: int) -> Callable[[Tensor], Tensor]:
    """Return the map that changes the sign of one channel, for operators that measure channels apart."""

    def flip(z: Tensor) -> Tensor:
        signs = torch.ones(z.shape[1], dtype=z.dtype, device=z.device)
        signs[channel] = -1
        return z * signs.reshape(-1, *[1] * (z.ndim - 2))

    return flip
