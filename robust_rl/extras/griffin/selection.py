"""Which neurons a prompt uses, and which of them to keep.

======  ==============  =======================================================================================
symbol  here            meaning, shape
======  ==============  =======================================================================================
Z       ``z``           activations that the output projection is applied to, (B, S, D_FF)
S_b     ``lengths``     tokens of a prompt, padding left out, (B,)
s_b     square root of  statistic of a prompt, (B, D_FF): ||Zbar[b, :, i]|| over its tokens, rows of Zbar being
        ``squares``     those of Z scaled to length 1; sum_i s_b[i]^2 = S_b
s       ``statistic``   statistic of the batch, (D_FF,): sum_b s_b / sqrt(S_b)
k       ``count``       neurons to keep: floor(keep D_FF)
E       ``kept``        their indices, sorted, (k,)
======  ==============  =======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, nearest

CHUNK = 1024
"""Tokens whose activations are held in float32 at a time."""


def squares(z: Tensor, valid: Tensor) -> Tensor:
    """Return s_b^2 over the tokens where ``valid`` (B, S) is true: (B, D_FF), in float32, or float64 for such activations."""
    total = torch.zeros(z.shape[0], z.shape[2], device=z.device, dtype=torch.promote_types(z.dtype, torch.float32))
    for part, counts in zip(z.split(CHUNK, 1), valid.split(CHUNK, 1), strict=True):
        part = part.to(total.dtype)
        norms = torch.linalg.vector_norm(part, dim=-1, keepdim=True)
        scaled = part / norms.clamp_min(torch.finfo(total.dtype).tiny)  # a ReLU's Z may be all zero
        total += (scaled * counts[..., None]).square().sum(1)
    return total


def pooled(squares: Tensor, lengths: Tensor) -> Tensor:
    """Return s: the prompts' statistics, each scaled to length 1, added up."""
    return (squares / lengths.clamp_min(1)[:, None]).sqrt().sum(0)


def count(neurons: int, keep: float) -> int:
    """Return k. 0.29 of 100 is 29, although the product of floats is a little less."""
    return math.floor(neurons * keep + 1e-9)


def _topk(statistic: Tensor, k: int, generator: torch.Generator) -> Tensor:
    return statistic.topk(k).indices


def _sample(statistic: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw without replacement, with probabilities proportional to s: the k that win a race of exponential clocks."""
    clocks = torch.empty(statistic.shape, dtype=torch.float64).exponential_(generator=generator)
    return (statistic.double() / clocks.to(statistic.device)).topk(k).indices


def _topk_sample(statistic: Tensor, k: int, generator: torch.Generator) -> Tensor:
    first = _topk(statistic, k // 2, generator)
    rest = _sample(statistic.index_fill(0, first, -1.0), k - k // 2, generator)  # a negative score loses to every other
    return torch.cat([first, rest])


def _random(statistic: Tensor, k: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(statistic), generator=generator)[:k].to(statistic.device)


SELECTIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "topk": _topk,
    "sample": _sample,
    "topk_sample": _topk_sample,
    "random": _random,
    "magnitude": _topk,
}
"""Name -> rule: (statistic, k, generator) -> k indices. ``magnitude`` is the rule of ``topk`` on norms of weights."""


def check_selection(name: str) -> None:
    """Raise InvalidArgumentError if there is no selection of that name."""
    if name not in SELECTIONS:
        known = list(SELECTIONS)
        raise InvalidArgumentError(f"no selection {name!r}{nearest(name, known)}; there are {', '.join(known)}")


def select(name: str, statistic: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return E. Sorted, so that sums run over neurons in the model's own order."""
    return SELECTIONS[name](statistic, k, generator).sort().values
