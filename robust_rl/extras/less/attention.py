"""Attention over what a cache still holds and a low-rank state of what it dropped.

    e_j = exp(s q_t k_j^T),  j in C_t
    a_t = [ phi(q_t) H_t + sum_j e_j v_j ]  /  [ phi(q_t) z_t + sum_j e_j ]                          (1)

Softmax attention in which a dropped token i weighs phi(q_t) psi(k_i)^T in place of exp(s q_t k_i^T). It is computed as a mixture
of two averages, whose normalisers are compared as logarithms:

    a_t = (1 - w) softmax-attention over C_t  +  w phi H / phi z,    w = sigmoid(log(phi z) - logsumexp_j s q k_j^T)   (2)

w is exactly 0 where z is: nothing is added to a normaliser, so that without evictions this is full attention, however small the
sum of exponentials (the authors' code adds 1e-6 to it).

======  =============  ==============================================
symbol  here           meaning, shape
======  =============  ==============================================
C_t     ``valid``      slots held, (B, K, n)
s       ``scaling``    1/sqrt(D), or the model's own
H, z    ``H``, ``z``   state, (B, K, R, D) and (B, K, R, 1)
======  =============  ==============================================

Heads are grouped: H query heads share K key-value heads, G = H/K each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.cache import LessLayer, layer_of

BLOCK = 256
"""Queries at a time: memory grows with the number of keys, not with its square."""


def less_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend, then let the policy evict: the function that transformers calls in each layer.

    Parameters
    ----------
    module
        The model's attention module.
    query, key, value
        (B, H, q, D), and (B, K, n, D) as :class:`LessLayer` returned them.
    attention_mask
        As ``sdpa_mask`` makes it, (B, 1, q, n) or None.
    options
        ``scaling``, and what else a model hands on.

    Returns
    -------
    output : Tensor
        (B, q, H, D).
    weights : None

    Raises
    ------
    InvalidArgumentError
        The keys don't come from a LESS cache, or the model's attention has a term that (1) lacks.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    _check_options(options)
    layer = layer_of(key)
    if layer is None:
        if getattr(module, "sliding_window", None) is None:
            raise InvalidArgumentError(
                "inside `with less(...) as make_cache` a forward pass needs past_key_values=make_cache(); it got another "
                "cache or none (leave out cache_implementation and use_cache=False)"
            )
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)  # type: ignore[no-any-return]
    layer.mark_padding(attention_mask, query.shape[2])
    if layer.seen == key.shape[2]:  # nothing was dropped yet, so the model's own mask fits
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        _look(layer, query, key, options)
    else:
        output = mixed_attention(layer, query, key, value, _scaling(query, options)).transpose(1, 2)
    layer.evict()
    return output, None


def mixed_attention(layer: LessLayer, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Return (1), (B, H, q, D), and show the policy the rows."""
    sparse, sizes = [], []
    for rows, log_sum in attention_rows(query, key, layer.valid, scaling):
        layer.look(rows)
        sparse.append(weigh(rows.to(value.dtype), value[:, :, : rows.shape[-1]]))
        sizes.append(log_sum)
    output = torch.cat(sparse, 2)
    if layer.H is None:
        return output
    phi = _grouped(layer.kernels.phi(query), layer.H.shape[1])
    return mix(output, torch.cat(sizes, 2), weigh(phi, layer.H), weigh(phi, layer.z)).to(query.dtype)


def mix(sparse: Tensor, log_sum: Tensor, H: Tensor, z: Tensor) -> Tensor:
    """Return (2) from attention over what is held, its log normaliser, phi H and phi z; the second and the last are (..., 1)."""
    tiny = torch.finfo(z.dtype).tiny
    share = torch.where(z > 0, torch.sigmoid(z.clamp(min=tiny).log() - log_sum), 0)
    return (1 - share) * sparse + share * (H / z.clamp(min=tiny))


def attention_rows(query: Tensor, key: Tensor, valid: Tensor, scaling: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the softmax rows of blocks of queries, the last of which belongs to the last slot.

    Yields
    ------
    rows : Tensor
        Over the slots up to the block's last query, (B, K, G, b, m); all zero for padding.
    log_sum : Tensor
        Logarithm of their normalisers, (B, H, b, 1).
    """
    new, held = query.shape[2], key.shape[2]
    wide = torch.promote_types(query.dtype, torch.float32)
    slots = torch.arange(held, device=key.device)
    for start in range(0, new, BLOCK):
        part = query[:, :, start : start + BLOCK]
        own = slots[held - new + start :][: part.shape[2]]
        stop = held - new + start + part.shape[2]
        visible = valid[:, :, None, :stop]
        if new > 1:
            visible = visible & (slots[:stop] <= own[:, None]) & valid[:, :, own, None]
        logits = logits_of(part, key[:, :, :stop], scaling).to(wide).masked_fill(~visible[:, :, None], -torch.inf)
        log_sum = logits.logsumexp(-1, keepdim=True).clamp(min=torch.finfo(wide).min)  # padding sees nothing: no -inf - -inf
        yield (logits - log_sum).exp(), log_sum.flatten(1, 2)


def logits_of(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return s q k^T, (B, K, G, q, n)."""
    return weigh_groups(_grouped(query, key.shape[1]) * scaling, key.transpose(2, 3))


def weigh(rows: Tensor, value: Tensor) -> Tensor:
    """Return the product of rows (B, K, G, q, n) and values (B, K, n, D) as heads, (B, H, q, D)."""
    return weigh_groups(rows, value).flatten(1, 2)


def weigh_groups(rows: Tensor, value: Tensor) -> Tensor:
    """Return the product of rows (B, K, G, q, n) and values (B, K, n, D), (B, K, G, q, D)."""
    product: Tensor = rows.flatten(2, 3) @ value
    return product.unflatten(2, rows.shape[2:4])  # type: ignore[no-any-return]


def _grouped(query: Tensor, kv_heads: int) -> Tensor:
    return query.unflatten(1, (kv_heads, -1))  # type: ignore[no-any-return]


def _look(layer: LessLayer, query: Tensor, key: Tensor, options: dict[str, Any]) -> None:
    if layer.policy.queries != "none":
        seen = query if layer.policy.queries == "all" else query[:, :, -1:]
        for rows, _ in attention_rows(seen, key, layer.valid, _scaling(query, options)):
            layer.look(rows)


def _scaling(query: Tensor, options: dict[str, Any]) -> float:
    scaling = options.get("scaling")
    return float(query.shape[-1] ** -0.5 if scaling is None else scaling)


def _check_options(options: dict[str, Any]) -> None:
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise InvalidArgumentError(f"this model's attention uses {name}, which LESS does not know; LESS needs plain softmax")
