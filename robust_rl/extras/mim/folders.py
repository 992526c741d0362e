"""A vision transformer from a folder, and the images of another: what the command line measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, loadable, sound
from robust_rl.training import read_json
from robust_rl.training.optional import require

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def load_vision_model(name: str) -> Any:
    """Return a transformers model in evaluation mode that forms its attention maps.

    Parameters
    ----------
    name
        A folder, or a name on the Hugging Face hub. Weights are read from safetensors alone, and code that comes with a model is
        not run.

    Raises
    ------
    InvalidArgumentError
        There is no such model, or it takes no square images.
    MissingDependencyError
        transformers is not installed.
    """
    transformers = require("transformers", "robust-rl[mim]")
    with loadable(name, "a vision model"):
        model = transformers.AutoModel.from_pretrained(
            name, attn_implementation="eager", use_safetensors=True, trust_remote_code=False
        )
    for field in ("image_size", "patch_size"):
        if not isinstance(getattr(model.config, field, None), int):
            raise InvalidArgumentError(f"{name} is no vision transformer for square images: its config has no {field}")
    return model.eval()


def image_files(folder: Path, limit: int | None = None) -> list[Path]:
    """Return the pictures in a folder, by name.

    Raises
    ------
    InvalidArgumentError
        There is none, or ``limit`` is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidArgumentError(f"limit is {limit}; it must be at least 1")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise InvalidArgumentError(f"{folder} is no folder with pictures ({', '.join(SUFFIXES)})")
    return files[:limit]


def image_batches(files: Sequence[Path], model: Any, name: str, batch_size: int = 1) -> Iterator[Tensor]:
    """Yield pictures as a model takes them, (B, channels, size, size): resized, and normalised as its folder says.

    Raises
    ------
    InvalidArgumentError
        A file is no picture.
    """
    size, channels = model.config.image_size, model.config.num_channels
    mean, deviation = normalisation(Path(name), channels)
    for start in range(0, len(files), batch_size):
        pixels = torch.stack([_pixels(path, size, channels) for path in files[start : start + batch_size]])
        yield (pixels - mean) / deviation


def normalisation(folder: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation by channel, (channels, 1, 1), from ``preprocessor_config.json``, or 0.5 and 0.5."""
    path = folder / "preprocessor_config.json"
    stated = read_json(path) if path.exists() else {}
    with sound(path, "description of pictures"):
        found = [torch.tensor(stated.get(key) or [0.5] * channels, dtype=torch.float32) for key in ("image_mean", "image_std")]
    if any(each.shape != (channels,) for each in found):
        raise InvalidArgumentError(f"{path} has not {channels} values in image_mean and image_std, one a channel")
    return found[0][:, None, None], found[1][:, None, None]


def _pixels(path: Path, size: int, channels: int) -> Tensor:
    pillow = require("PIL.Image", "robust-rl[mim]")
    with loadable(path, "a picture"), pillow.open(path) as picture:
        shown = picture.convert("L" if channels == 1 else "RGB").resize((size, size), pillow.Resampling.BICUBIC)
    flat = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8)
    return flat.view(size, size, channels).permute(2, 0, 1).float() / 255
