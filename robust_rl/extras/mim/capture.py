"""Attention maps of a vision transformer, recorded while it runs, without touching its code.

    with capture_attention(model) as maps:
        model(images)
    maps["layers.0.attention"]          # (B, heads, T, T)

======================================  ===================================================================================
module                                  how its map is reached
======================================  ===================================================================================
transformers: ViT, ViTMAE and others    the second value that it returns; None unless the model is "eager", which is an error
timm: Attention and its kin             the input of ``attn_drop``, with ``fused_attn`` off while the block lasts
torch.nn.MultiheadAttention             asked for the weights of each head; its caller gets what it asked for
one-layer models of this package        the output of their softmax
======================================  ===================================================================================

Whatever happens in the block, hooks and flags are as before after it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.model import KeySoftmax

TIMM = ("Attention", "AttentionRope", "EvaAttention", "ParallelScalingBlock")
"""timm's classes in which every token of an image attends to every other. Windowed ones see parts of images."""
MHA_ARGUMENTS = list(inspect.signature(nn.MultiheadAttention.forward).parameters)[1:]
TOLERANCE = 0.02
"""Of a row's sum, for half precision."""

Record = Callable[[Tensor], None]


@contextmanager
def capture_attention(model: nn.Module, modules: Collection[str] | None = None) -> Iterator[dict[str, Tensor]]:
    """Record the attention maps of each forward pass within the block.

    Parameters
    ----------
    model
        A transformer in evaluation mode: dropout in its attention would leave rows that don't sum to 1, which is an error.
    modules
        Names of the attention modules to record, as ``model.named_modules()`` has them. None: all that are known. A masked
        autoencoder's encoder attends among visible patches alone, whose numbers are ``ids_restore.argsort(1)[:, :visible]`` in
        transformers; for whole images see :func:`~robust_rl.extras.mim.attention_maps`.

    Yields
    ------
    dict of str to Tensor
        Module's name -> map (B, H, T, T) of the latest pass, detached, in the order in which modules ran.

    Raises
    ------
    InvalidArgumentError
        No module is known, or one that was named isn't; a transformers model isn't eager; in a pass, a map's rows don't sum to 1.
    """
    found = {name: module for name, module in model.named_modules() if _hook_of(module) is not None}
    found = {name: module for name, module in found.items() if not any(other.startswith(f"{name}.") for other in found)}
    if modules is not None:
        for name in modules:
            if name not in found:
                raise InvalidArgumentError(f"{name!r} is no attention module; there are {', '.join(found) or 'none'}")
        found = {name: module for name, module in found.items() if name in modules}
    if not found:
        raise InvalidArgumentError(
            f"{type(model).__name__} has no attention module of transformers, timm, torch.nn.MultiheadAttention or this package"
        )
    maps: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in found.items():
            hook = _hook_of(module)
            assert hook is not None
            hook(module, _recorder(maps, name), stack)
        yield maps


def _recorder(maps: dict[str, Tensor], name: str) -> Record:
    def record(attn: Tensor) -> None:
        attn = attn.detach()
        worst = (attn.sum(-1, dtype=torch.float32) - 1).abs().max().item()
        if not worst < TOLERANCE:
            raise InvalidArgumentError(
                f"attention of {name} has a row that sums to 1 only within {worst:.2g}; call model.eval(), as dropout does that"
            )
        maps.pop(name, None)  # so that the order is that of the latest pass
        maps[name] = attn

    return record


def _hook_of(module: nn.Module) -> Callable[[Any, Record, ExitStack], None] | None:
    """Return what records a module's maps, or None if it is no attention module that we know."""
    home, name = type(module).__module__.split(".")[0], type(module).__name__
    if isinstance(module, nn.MultiheadAttention):
        return _hook_torch
    if isinstance(module, KeySoftmax):
        return _hook_ours
    if home == "timm" and name in TIMM and hasattr(module, "fused_attn") and isinstance(module.attn_drop, nn.Module):
        return _hook_timm
    if home == "transformers" and name.endswith("Attention") and hasattr(getattr(module, "config", None), "_attn_implementation"):
        return _hook_transformers
    return None


def _hook_transformers(module: Any, record: Record, stack: ExitStack) -> None:
    if module.config._attn_implementation != "eager":
        raise InvalidArgumentError(
            f"{type(module).__name__} runs {module.config._attn_implementation!r}, which forms no attention maps; load the model "
            'with attn_implementation="eager", or call model.set_attn_implementation("eager")'
        )

    def take(_module: nn.Module, _args: Any, output: Any) -> None:
        if not isinstance(output, tuple) or len(output) < 2 or output[1] is None:
            raise InvalidArgumentError(f"{type(module).__name__} gives no attention maps of itself; pass output_attentions=True")
        record(output[1])

    stack.callback(module.register_forward_hook(take).remove)


def _hook_timm(module: Any, record: Record, stack: ExitStack) -> None:
    stack.callback(setattr, module, "fused_attn", module.fused_attn)
    module.fused_attn = False
    stack.callback(module.attn_drop.register_forward_pre_hook(lambda _module, args: record(args[0])).remove)


def _hook_ours(module: Any, record: Record, stack: ExitStack) -> None:
    stack.callback(module.register_forward_hook(lambda _module, _args, output: record(output[:, None])).remove)


def _hook_torch(module: nn.MultiheadAttention, record: Record, stack: ExitStack) -> None:
    asked: dict[str, bool] = {}

    def ask(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = dict(zip(MHA_ARGUMENTS, args)) | kwargs
        asked["weights"], asked["average"] = given.get("need_weights", True), given.get("average_attn_weights", True)
        return (), given | {"need_weights": True, "average_attn_weights": False}

    def answer(_module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        mixed, attn = output
        record(attn if attn.ndim == 4 else attn[None])  # a sequence alone has no batch
        if not asked["weights"]:
            return mixed, None
        return mixed, attn.mean(-3) if asked["average"] else attn

    stack.callback(module.register_forward_pre_hook(ask, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(answer).remove)
