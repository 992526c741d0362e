"""Random numbers for chains on the batch axis: from one generator for all, or from one of its own for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError

Chance: TypeAlias = torch.Generator | Sequence[torch.Generator]


def normal(like: Tensor, chance: Chance) -> Tensor:
    """Draw a standard normal tensor of the shape, type and device of ``like``; the chains are its first axis."""
    if isinstance(chance, torch.Generator):
        drawn = torch.randn(like.shape, generator=chance, dtype=like.dtype, device=chance.device)
    else:
        each = [torch.randn(like.shape[1:], generator=one, dtype=like.dtype, device=one.device) for one in chance]
        drawn = torch.stack(each)
    return drawn.to(like.device)


def uniform(like: Tensor, chance: Chance) -> Tensor:
    """Draw one number from [0, 1) for each chain: (N,), of the type and device of ``like`` (N, ...)."""
    if isinstance(chance, torch.Generator):
        drawn = torch.rand(len(like), generator=chance, dtype=like.dtype, device=chance.device)
    else:
        drawn = torch.cat([torch.rand(1, generator=one, dtype=like.dtype, device=one.device) for one in chance])
    return drawn.to(like.device)


def check_chance(chance: Chance, chains: int) -> None:
    """Raise InvalidArgumentError unless there is one generator, or one for each chain."""
    if not isinstance(chance, torch.Generator) and len(chance) != chains:
        raise InvalidArgumentError(f"{len(chance)} generators for {chains} chains; give one, or one for each chain")
