"""A cache whose layers hold a fixed number of tokens, and a state of constant size into which all others were folded.

    H <- H + sum_{(k,v) dropped} psi(k)^T v            z <- z + sum_{(k,v) dropped} psi(k)^T

A layer tells tokens *seen* (which give the next one its position) from those *held*. The slots of heads are chosen apart, so that
slot 3 of two heads may hold different tokens; padding is dropped first and never folded.

======  ===========  =========================================================================
symbol  here         meaning, shape
======  ===========  =========================================================================
C       ``keys``     tokens held, (B, K, n, D), n <= budget + the tokens of the present step
H       ``H``        (B, K, R, D), None before the first eviction and without kernels
z       ``z``        (B, K, R, 1)
======  ===========  =========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.policies import Policy, select


class LessLayer(DynamicLayer):
    """The cache of one layer.

    Parameters
    ----------
    policy
        What to keep.
    kernels
        With ``phi`` and ``psi``, as :class:`~robust_rl.extras.less.kernels.LayerKernels`; None drops tokens for good.
    """

    is_croppable = False
    keys: Any
    values: Any

    def __init__(self, policy: Policy, kernels: Any = None) -> None:
        super().__init__()
        self.policy, self.kernels = policy, kernels
        self._forget()

    def _forget(self) -> None:
        self.seen = 0
        self.score: Any = None  # the policy's, (B, K, n)
        self.valid: Any = None  # which slots hold a token rather than padding, (B, K, n)
        self.H: Any = None
        self.z: Any = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new tokens, and return all that are held; the keys know their layer, see :func:`layer_of`."""
        super().update(key_states, value_states)
        shape = key_states.shape[:3]
        wide = torch.promote_types(key_states.dtype, torch.float32)
        score, valid = key_states.new_zeros(shape, dtype=wide), key_states.new_ones(shape, dtype=torch.bool)
        self.score = score if self.score is None else torch.cat([self.score, score], -1)
        self.valid = valid if self.valid is None else torch.cat([self.valid, valid], -1)
        self.seen += shape[2]
        # An attention function gets no cache. A view carries the mark: a tensor that the layer itself holds would make a cycle.
        keys = self.keys.view_as(self.keys)
        keys.less_layer = self
        return keys, self.values

    def mark_padding(self, attention_mask: Tensor | None, new: int) -> None:
        """Take note of which of the ``new`` tokens are padding: the end of the last query's row of a mask.

        Raises
        ------
        InvalidArgumentError
            A sequence is padded on the right.
        """
        if attention_mask is None:
            return
        valid = attention_mask[:, 0, -1, -new:]
        valid = valid if valid.dtype == torch.bool else valid == 0
        if new > 1 and not bool(valid[:, -1].all()):
            raise InvalidArgumentError('a sequence is padded on the right; LESS needs tokenizer.padding_side = "left"')
        self.valid[..., -new:] = valid[:, None]

    def look(self, rows: Tensor) -> None:
        """Let the policy see the attention rows of some queries, (B, K, G, q, m)."""
        self.score = self.policy.look(self.score, rows.detach())

    @torch.no_grad()
    def evict(self) -> None:
        """Keep what the policy chooses, and fold the rest into the state."""
        if self.valid.shape[-1] <= self.policy.budget:
            return
        keep, drop = select(self.policy, self.score, self.valid)
        if self.kernels is not None:
            self.fold(_take(self.keys, drop), _take(self.values, drop), self.valid.gather(-1, drop))
        self.keys, self.values = _take(self.keys, keep), _take(self.values, keep)
        self.score, self.valid = self.score.gather(-1, keep), self.valid.gather(-1, keep)

    def fold(self, keys: Tensor, values: Tensor, valid: Tensor) -> None:
        """Add dropped tokens (B, K, m, D), those that are valid, to the state."""
        psi = self.kernels.psi(keys).masked_fill(~valid[..., None], 0).transpose(2, 3)
        H, z = psi @ values.masked_fill(~valid[..., None], 0).to(psi.dtype), psi.sum(-1, keepdim=True)
        self.H, self.z = (H, z) if self.H is None else (self.H + H, self.z + z)

    def get_seq_length(self) -> int:
        """Return the number of tokens seen."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many slots the next queries will meet, and how many earlier tokens are gone."""
        held = 0 if self.valid is None else self.valid.shape[-1]
        return held + query_length, self.seen - held

    def nbytes(self) -> int:
        """Return the memory of keys, values and state."""
        return sum(each.numel() * each.element_size() for each in (self.keys, self.values, self.H, self.z) if each is not None)

    def reset(self) -> None:
        """Forget all tokens."""
        super().reset()
        self._forget()

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: a dropped token can't come back, so neither can an earlier state.

        Raises
        ------
        InvalidArgumentError
            Always, unless there is nothing to remove.
        """
        if tokens_to_remove:
            raise InvalidArgumentError("a LESS cache can't take tokens back; generate without an assistant or prompt lookup")

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take over the beams of another order."""
        self._each(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each sequence."""
        self._each(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some sequences."""
        self._each(lambda tensor: tensor[indices])

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        for name in ("keys", "values", "score", "valid", "H", "z"):
            if getattr(self, name) is not None:
                setattr(self, name, change(getattr(self, name)))


class LessCache(Cache):
    """What ``past_key_values`` takes; made by :func:`~robust_rl.extras.less.less`."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__(layers=layers)

    def nbytes(self) -> int:
        """Return the memory of keys, values and states of all layers."""
        return sum(layer.nbytes() if isinstance(layer, LessLayer) else _plain_bytes(layer) for layer in self.layers)


def layer_of(keys: Tensor) -> LessLayer | None:
    """Return the layer whose update returned these keys."""
    return getattr(keys, "less_layer", None)


def _take(tensor: Tensor, slots: Tensor) -> Tensor:
    """Return the chosen slots of each head; whole rows at a time, which is several times as fast as ``gather``."""
    batch, heads, held, size = tensor.shape
    first = torch.arange(0, batch * heads * held, held, device=slots.device).view(batch, heads, 1)
    return tensor.reshape(-1, size).index_select(0, (slots + first).flatten()).view(*slots.shape, size)


def _plain_bytes(layer: Any) -> int:
    return sum(each.numel() * each.element_size() for each in (layer.keys, layer.values) if each is not None)
