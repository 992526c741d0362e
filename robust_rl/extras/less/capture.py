"""What attention layers of a model get and give, recorded without touching the model's code."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.context import attention_of

PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj")
"""What the families call the matrix after the heads."""


@dataclass(frozen=True)
class Captured:
    """One layer over N sequences of S tokens.

    Attributes
    ----------
    query, key, value : Tensor
        As they enter attention, after the rotation by position: (N, H, S, D) and (N, K, S, D).
    output : Tensor
        What the heads return, (N, S, H D); full attention.
    projection
        The module that follows, which mixes the heads.
    scaling
        Of the logits.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    projection: Any
    scaling: float


def capture(model: Any, tokens: Tensor, layers: Collection[int]) -> dict[int, Captured]:
    """Run sequences (N, S), without padding, up to the last of some layers, and return what passed through their attention.

    Raises
    ------
    InvalidArgumentError
        A layer's module has no projection of a known name.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: dict[int, Captured] = {}

    def record(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        if module.layer_idx in layers:
            scaling = options.get("scaling") or query.shape[-1] ** -0.5
            found[module.layer_idx] = Captured(query, key, value, output.flatten(2), projection_of(module), scaling)
            if module.layer_idx == max(layers):
                raise _Enough
        return output, None

    with attention_of(model, "less-record", record), suppress(_Enough), torch.no_grad():
        model(tokens, use_cache=False)
    return found


def projection_of(module: Any) -> Any:
    """Return the module that mixes the heads of an attention module."""
    for name in PROJECTIONS:
        if hasattr(module, name):
            return getattr(module, name)
    raise InvalidArgumentError(
        f"{type(module).__name__} has no output projection named {', '.join(PROJECTIONS)}; its kernels can't be fitted"
    )


class _Enough(Exception):
    """The layers after the one that was asked for need not run."""
