"""What a policy would have kept at every step of a known sequence, in memory that grows with its length and not its square.

A dropped token does not come back, so that one number a token says all: the step at which it is gone. Query i sees token j if
j <= i < lifetime_j, and finds it in the low-rank state if lifetime_j <= i.

Unlike a prompt, of which the cache attends to everything before it evicts, a sequence is played token by token here, as in
decoding: this is what kernels are fitted and judged on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robust_rl.extras.less.attention import BLOCK, logits_of, weigh
from robust_rl.extras.less.policies import Policy, select


@dataclass(frozen=True)
class History:
    """A policy's course over B sequences of S tokens.

    Attributes
    ----------
    lifetime : Tensor
        First query that no longer sees each token, (B, K, S); S + 1 for those that outlive the sequence.
    sparse : Tensor
        Attention of each query over what it sees, (B, H, S, D).
    log_sum : Tensor
        Logarithm of its normaliser, (B, H, S, 1).
    """

    lifetime: Tensor
    sparse: Tensor
    log_sum: Tensor


def play(policy: Policy, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> History:
    """Play sequences without padding, query (B, H, S, D), key and value (B, K, S, D), through a policy."""
    lifetime, sparse, sizes = lifetimes(policy, query, key, scaling), [], []
    for start in range(0, query.shape[2], BLOCK):
        part = query[:, :, start : start + BLOCK]
        stop = start + part.shape[2]
        slots = torch.arange(stop, device=key.device)
        own = slots[start:, None]
        visible = (slots <= own) & (own < lifetime[:, :, None, :stop])
        logits = logits_of(part, key[:, :, :stop], scaling).masked_fill(~visible[:, :, None], -torch.inf)
        sparse.append(weigh(logits.softmax(-1), value[:, :, :stop]))
        sizes.append(logits.logsumexp(-1, keepdim=True).flatten(1, 2))
    return History(lifetime, torch.cat(sparse, 2), torch.cat(sizes, 2))


def lifetimes(policy: Policy, query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return the first query that no longer sees each token, (B, K, S)."""
    length = key.shape[2]
    lifetime = torch.full(key.shape[:3], length + 1, device=key.device)
    held = lifetime[..., :0]
    score = key[..., :0, 0]
    for start in range(0, length, BLOCK):
        logits = logits_of(query[:, :, start : start + BLOCK], key[:, :, : start + BLOCK], scaling)
        for i in range(start, start + logits.shape[3]):
            held = torch.cat([held, torch.full_like(lifetime[..., :1], i)], -1)
            score = torch.cat([score, score.new_zeros(held[..., :1].shape)], -1)
            if policy.queries != "none":
                seen = logits[:, :, :, i - start].gather(-1, held[:, :, None].expand(-1, -1, logits.shape[2], -1))
                score = policy.look(score, seen.softmax(-1).unsqueeze(3))
            if held.shape[-1] > policy.budget:
                keep, drop = select(policy, score, torch.ones_like(held, dtype=torch.bool))
                lifetime.scatter_(-1, held.gather(-1, drop), i + 1)
                held, score = held.gather(-1, keep), score.gather(-1, keep)
    return lifetime
