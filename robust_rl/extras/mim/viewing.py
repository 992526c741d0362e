"""Models on images, one small batch at a time, with the attention maps of whole images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.capture import capture_attention
from robust_rl.extras.mim.data import random_masks
from robust_rl.extras.mim.model import CorrelationMIM, OneLayerMIM

Forward = Callable[[Any, Tensor], Any]


def attention_maps(
    model: nn.Module, images: Tensor | Iterable[Tensor], *, batch_size: int = 1, forward: Forward | None = None
) -> Iterator[dict[str, Tensor]]:
    """Yield the attention maps of images, batch by batch: layer's name -> (B, H, T, T).

    The model is in evaluation mode while it runs, and no gradients are kept. A transformers ViTMAE sees whole images, in
    their own order, and its decoder is left out. A one-layer model of this package sees images with the same half hidden.

    Parameters
    ----------
    model
        Whatever :func:`~robust_rl.extras.mim.capture_attention` knows.
    images
        What the model takes, a batch in the first dimension: pixels, or patches (B, P, d) for a one-layer model. Or batches of
        it, of which one is held at a time.
    batch_size
        Images at a time, if ``images`` is one tensor. Memory grows with it, and not with the number of images.
    forward
        ``forward(model, batch)`` instead of the above.

    Raises
    ------
    InvalidArgumentError
        ``batch_size`` is below 1, or as ``capture_attention`` raises.
    """
    if batch_size < 1:
        raise InvalidArgumentError(f"batch_size is {batch_size}; it must be at least 1")
    target = getattr(model, "vit", model) if _is_vit_mae(model) and forward is None else model
    run = forward or _forward_of(target)
    for batch in images.split(batch_size) if isinstance(images, Tensor) else images:
        with evaluating(target), torch.no_grad(), capture_attention(target) as maps:
            run(target, batch)
        yield maps


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every module of it back as it was."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def prefix_tokens_of(model: Any, tokens: int) -> int:
    """Return how many of the tokens in a model's maps come before the patches.

    Raises
    ------
    InvalidArgumentError
        The model doesn't say.
    """
    if isinstance(model, OneLayerMIM | CorrelationMIM):
        return 0
    if hasattr(model, "num_prefix_tokens"):  # timm
        return int(model.num_prefix_tokens)
    config = getattr(model, "config", None)
    size, patch = (getattr(config, name, None) for name in ("image_size", "patch_size"))
    if isinstance(size, int) and isinstance(patch, int) and tokens >= (size // patch) ** 2:  # transformers
        return tokens - (size // patch) ** 2
    raise InvalidArgumentError(
        f"{type(model).__name__} doesn't say how many of its {tokens} tokens come before the patches; give prefix_tokens"
    )


def _forward_of(model: Any) -> Forward:
    if isinstance(model, OneLayerMIM | CorrelationMIM):
        return _half_hidden
    return _whole if _is_vit_mae(model) else lambda network, batch: network(batch)


def _half_hidden(model: Any, batch: Tensor) -> None:
    mask = random_masks(1, batch.shape[1], 0.5, torch.Generator().manual_seed(0)).to(batch.device)
    model(batch, mask.expand(len(batch), -1))


def _is_vit_mae(model: Any) -> bool:
    return type(model).__module__.split(".")[0] == "transformers" and type(model).__name__.startswith("ViTMAE")


def _whole(model: Any, batch: Tensor) -> None:
    """Run a ViTMAE encoder on all patches in their order: nothing masked, and noise that sorts them as they are."""
    ratio = model.config.mask_ratio
    model.config.mask_ratio = 0.0
    try:
        count = model.embeddings.patch_embeddings.num_patches
        model(batch, noise=torch.arange(count, device=batch.device, dtype=torch.float32).expand(len(batch), -1))
    finally:
        model.config.mask_ratio = ratio
