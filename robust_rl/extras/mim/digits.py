"""Two small vision transformers on scikit-learn's digits: a masked autoencoder, and one that tells images apart.

Both see 8 x 8 pixels as 16 patches and have two layers of four heads. The masked autoencoder is transformers' ViTMAE (He et
al. 2022, arXiv:2111.06377) with half of the patches hidden. The other is transformers' ViT with InfoNCE between two
views of an image, at temperature 0.2, on the mean over patches and a projection (Chen et al. 2020, arXiv:2002.05709). The theory
covers one layer alone: what two layers do is what there is to see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, pad

from robust_rl.training.optional import require

WIDTH = 32
ENCODER = {
    "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "initializer_range": 0.2,
}  # fmt: skip
DECODER = {
    "decoder_hidden_size": WIDTH, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 64,
}  # fmt: skip
BATCH, RATE, TEMPERATURE = 64, 5e-3, 0.2


def digit_images() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits (1797, 1, 8, 8) in [-1, 1], and what they show (1797,).

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    """
    found = require("sklearn.datasets", "robust-rl[mim]").load_digits()
    return torch.tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(found.target)


def untrained_vit(seed: int = 0) -> Any:
    """Return the ViT before any training, in evaluation mode.

    Raises
    ------
    MissingDependencyError
        transformers is not installed.
    """
    transformers = require("transformers", "robust-rl[mim]")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.ViTConfig(**ENCODER)
        return transformers.ViTModel._from_config(config, attn_implementation="eager", add_pooling_layer=False).eval()


def train_mae(images: Tensor, epochs: int, seed: int = 0) -> tuple[Any, list[float]]:
    """Return a ViTMAE that has learned to fill in hidden patches of images (n, 1, 8, 8), and the mean loss of each epoch.

    Raises
    ------
    MissingDependencyError
        transformers is not installed.
    """
    transformers = require("transformers", "robust-rl[mim]")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.ViTMAEConfig(**ENCODER, **DECODER, mask_ratio=0.5)
        model = transformers.ViTMAEForPreTraining._from_config(config, attn_implementation="eager")
        _place(model)
        return model, _descend(model, images, epochs, lambda batch: model(batch).loss)


def train_contrastive(images: Tensor, epochs: int, seed: int = 0) -> tuple[Any, list[float]]:
    """Return a ViT that has learned to tell images (n, 1, 8, 8) apart by two views of each, and the mean loss of each epoch.

    Raises
    ------
    MissingDependencyError
        transformers is not installed.
    """
    model = untrained_vit(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

        def loss(batch: Tensor) -> Tensor:
            first, second = (normalize(projection(patch_mean(model(view(batch)))), dim=1) for _ in range(2))
            similarity, target = first @ second.T / TEMPERATURE, torch.arange(len(batch))
            return (cross_entropy(similarity, target) + cross_entropy(similarity.T, target)) / 2

        return model, _descend(nn.ModuleList([model, projection]), images, epochs, loss)


@torch.no_grad()
def _place(model: Any) -> None:
    """Tell a new ViTMAE where patches are, as He et al. do: transformers 5.23 leaves positions, class and mask tokens at zero."""
    embeddings, decoder = model.vit.embeddings, model.decoder
    for table in (embeddings.position_embeddings, decoder.decoder_pos_embed):
        table[0, 1:] = sine_positions(math.isqrt(table.shape[1] - 1), table.shape[2])
    for token in (embeddings.cls_token, decoder.mask_token):
        token.normal_(std=model.config.initializer_range)


def sine_positions(side: int, width: int) -> Tensor:
    """Return sines and cosines of rows and columns at width / 4 frequencies, (side^2, width)."""
    frequency = 10_000 ** -(torch.arange(width // 4) / (width // 4))
    row, column = torch.cartesian_prod(torch.arange(side), torch.arange(side)).T
    angles = [place[:, None] * frequency for place in (row, column)]
    return torch.cat([turn for angle in angles for turn in (angle.sin(), angle.cos())], 1)


def view(images: Tensor) -> Tensor:
    """Return images (n, 1, 8, 8) shifted by up to a pixel, fainter or stronger, with noise."""
    padded = pad(images, (1, 1, 1, 1), value=-1.0)
    corners = torch.randint(3, (len(images), 2)).tolist()
    shifted = torch.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, corners, strict=True)])
    strength = 0.7 + 0.6 * torch.rand(len(images), 1, 1, 1)
    return (shifted + 1) * strength - 1 + 0.1 * torch.randn_like(shifted)


def patch_mean(output: Any) -> Tensor:
    """Return the mean of the last layer over patches, (n, width)."""
    states: Tensor = output.last_hidden_state
    return states[:, 1:].mean(1)


def _descend(model: nn.Module, images: Tensor, epochs: int, loss_of: Callable[[Tensor], Tensor]) -> list[float]:
    """Train by AdamW, with a rate that falls along a cosine, and return the mean loss of each epoch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    model.train()
    course = []
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = loss_of(images[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        schedule.step()
        course.append(sum(losses) / len(losses))
    model.eval()
    return course
