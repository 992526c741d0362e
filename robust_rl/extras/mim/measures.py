"""How alike the attention of different patches is, in six measures.

A map A is (N, N): row i says where patch i looks, and sums to 1. With u_i = A_i / |A_i|, and H the entropy in nats:

    cos        mean over i != j of <u_i, u_j> = (|sum_i u_i|^2 - N) / (N (N - 1))        0 diverse .. 1 all alike
    jsd        mean over i != j of H((A_i + A_j) / 2) - (H(A_i) + H(A_j)) / 2            0 all alike .. log 2 diverse
    nmi        [H(mean_i A_i) - mean_i H(A_i)] / log N                                   0 all alike .. 1 diverse
    entropy    mean_i H(A_i)                                                             0 one patch .. log N all patches
    distance   mean_i sum_j A_ij |position_i - position_j|                               0 itself ..
    rank       exp of the entropy of A's singular values, which are made to sum to 1     1 .. N

``cos`` is the default, and our reading of the attention diversity metric of arXiv:2403.02233, whose formula we have not seen.
``nmi`` is the information that the key carries about the query, for queries drawn uniformly: comparisons of masked autoencoding
and contrastive learning use it. ``rank`` is the effective rank of Roy and Vetterli (2007).

Every function takes maps (..., N, N), float64, and returns (...,). Only ``jsd`` forms the N^2 pairs, a row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def cosine(maps: Tensor) -> Tensor:
    """Return the mean cosine between two rows."""
    n = maps.shape[-1]
    unit = torch.nn.functional.normalize(maps, dim=-1)
    return (unit.sum(-2).square().sum(-1) - unit.square().sum((-2, -1))) / (n * (n - 1))


def jensen_shannon(maps: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence between two rows, in nats."""
    n = maps.shape[-1]
    own = _entropy(maps)
    total = torch.zeros_like(own[..., 0])
    for i in range(n - 1):
        mixed = _entropy((maps[..., i : i + 1, :] + maps[..., i + 1 :, :]) / 2)
        total += (mixed - (own[..., i : i + 1] + own[..., i + 1 :]) / 2).sum(-1)
    return total / (n * (n - 1) / 2)


def mutual_information(maps: Tensor) -> Tensor:
    """Return the mutual information of query and key over log N."""
    return (_entropy(maps.mean(-2)) - entropy(maps)) / math.log(maps.shape[-1])


def entropy(maps: Tensor) -> Tensor:
    """Return the mean entropy of a row, in nats."""
    return _entropy(maps).mean(-1)


def distance(maps: Tensor, positions: Tensor) -> Tensor:
    """Return how far patches look, on average, for positions (N, 2)."""
    return (maps * torch.cdist(positions, positions)).sum(-1).mean(-1)


def effective_rank(maps: Tensor) -> Tensor:
    """Return the effective rank."""
    values = torch.linalg.svdvals(maps)
    return _entropy(values / values.sum(-1, keepdim=True)).exp()


def _entropy(p: Tensor) -> Tensor:
    surprise: Tensor = torch.special.entr(p)
    return surprise.sum(-1)


MEASURES: dict[str, Callable[..., Tensor]] = {
    "cos": cosine,
    "jsd": jensen_shannon,
    "nmi": mutual_information,
    "entropy": entropy,
    "distance": distance,
    "rank": effective_rank,
}
"""Name -> function of maps; ``distance`` takes positions too."""
