"""Pictures that lie inside installed packages: nothing is downloaded.

Grey values run from -1 (black) to 1 (white), as diffusion models have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.training.optional import require

Pictures = NDArray[np.float32]

_EXTRA = "robust-rl[diffusion]"
HELD_OUT_PICTURES = ("camera", "chelsea", "coins")
"""Pictures of scikit-image that no network of ours is trained on."""

TRAINING_PICTURES = (
    *("astronaut", "brick", "coffee", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket", "stereo_motorcycle"),
)


@dataclass(frozen=True)
class PictureSet:
    """Pictures to train on and pictures to judge by, (n, 1, size, size) each, in [-1, 1]."""

    train: Pictures
    held_out: Pictures


def digits(held_out: int = 297) -> PictureSet:
    """Return scikit-learn's 1,797 handwritten digits, 8 by 8.

    Parameters
    ----------
    held_out
        How many of them, the last ones (other writers), to keep out of training.

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    """
    images = require("sklearn.datasets", _EXTRA).load_digits().images  # 0 to 16
    pictures = (images / 8 - 1).astype(np.float32)[:, None]
    cut = len(pictures) - held_out
    if not 0 < cut < len(pictures):
        raise InvalidArgumentError(f"held_out is {held_out}; it must be from 1 to {len(pictures) - 1}")
    return PictureSet(pictures[:cut], pictures[cut:])


def patches(size: int = 32, train: int = 6000, held_out: int = 500, seed: int = 0) -> PictureSet:
    """Return random grey patches of scikit-image's photographs at half their size, some mirrored.

    The two parts come from different pictures: ``TRAINING_PICTURES`` and ``HELD_OUT_PICTURES``.

    Parameters
    ----------
    size
        Edge in pixels.
    train, held_out
        How many patches.
    seed
        Where they lie.

    Raises
    ------
    MissingDependencyError
        scikit-image is not installed.
    InvalidArgumentError
        ``size`` is larger than the smallest picture.
    """
    rng = np.random.default_rng(seed)
    return PictureSet(
        _crops([_photograph(name) for name in TRAINING_PICTURES], size, train, rng),
        _crops([_photograph(name) for name in HELD_OUT_PICTURES], size, held_out, rng),
    )


def _photograph(name: str) -> Pictures:
    """Return a picture, grey, at half its size."""
    picture: Any = getattr(require("skimage.data", _EXTRA), name)()
    picture = picture[0] if isinstance(picture, tuple) else picture  # the left one of the stereo pair
    grey = picture @ np.array([0.299, 0.587, 0.114]) if picture.ndim == 3 else picture
    height, width = (edge // 2 * 2 for edge in grey.shape)
    halved = grey[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return np.asarray(halved / 127.5 - 1, dtype=np.float32)


def _crops(pictures: list[Pictures], size: int, count: int, rng: np.random.Generator) -> Pictures:
    """Cut as many patches from each picture, as far as the count divides."""
    smallest = min(min(picture.shape) for picture in pictures)
    if not 1 <= size <= smallest:
        raise InvalidArgumentError(f"size is {size}; patches may have 1 to {smallest} pixels an edge")
    cut = np.empty((count, 1, size, size), dtype=np.float32)
    for k in range(count):
        picture = pictures[k % len(pictures)]
        row, column = (int(rng.integers(edge - size + 1)) for edge in picture.shape)
        patch = picture[row : row + size, column : column + size]
        cut[k, 0] = patch[:, ::-1] if rng.random() < 0.5 else patch
    return cut
