"""What both ways of pruning need of a model: its calls read, and one pruning at a time."""

from __future__ import annotations

import inspect
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from robust_rl.errors import InvalidArgumentError

_ACTIVE: weakref.WeakSet[Any] = weakref.WeakSet()
"""Models inside a block: their weights may not be the whole ones."""


class Hooked(ABC):
    """A context that hooks into a model and leaves nothing behind."""

    needs_cache = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self._names = list(inspect.signature(model.forward).parameters)
        self.hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        check_free(self.model)
        _ACTIVE.add(self.model)
        self.hooks.append(self.model.register_forward_pre_hook(self._read, with_kwargs=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while self.hooks:
            self.hooks.pop().remove()
        _ACTIVE.discard(self.model)

    @abstractmethod
    def before_forward(self, valid: Tensor, held: int) -> None:
        """Prepare for a pass over tokens, of which ``valid`` (B, S) don't pad, on a cache that holds ``held`` tokens."""

    def _read(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = kwargs | dict(zip(self._names, args))
        tokens, mask, cache = given.get("input_ids"), given.get("attention_mask"), given.get("past_key_values")
        if model.training:
            raise InvalidArgumentError("griffin: the model is in training mode; call model.eval() first")
        if self.needs_cache and given.get("use_cache") is False:
            raise InvalidArgumentError("griffin: use_cache=False makes every forward pass a prompt; leave it out")
        if cache is not None and cache.is_compileable:
            raise InvalidArgumentError(f"griffin: {type(cache).__name__} is for compiled models; use a DynamicCache")
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
            raise InvalidArgumentError("griffin: the attention mask doesn't tell which tokens pad; give one of (batch, tokens)")
        tokens = given["inputs_embeds"] if tokens is None else tokens
        shape = tokens.shape[:2]
        valid = torch.ones(shape, dtype=torch.bool, device=tokens.device) if mask is None else mask[:, -shape[1] :] != 0
        self.before_forward(valid, 0 if cache is None else cache.get_seq_length())


def check_free(model: Any) -> None:
    """Raise InvalidArgumentError if a model is inside a block."""
    if model in _ACTIVE:
        raise InvalidArgumentError(f"{type(model).__name__} is inside another griffin block; leave that one first")
