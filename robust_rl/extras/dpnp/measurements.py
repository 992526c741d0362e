"""The operators of ``robust-rl dpnp``, by name, for a picture of the model's size. Noise is on [-1, 1], as the pictures are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from robust_rl.errors import UnknownNameError, nearest
from robust_rl.extras.dpnp.nonlinear import CodedPhaseRetrieval, QuantizedSensing, coded_masks
from robust_rl.extras.dpnp.operators import Blur, Inpainting, SuperResolution, gaussian_kernel

Shape = tuple[int, int, int]


def inpainting(shape: Shape, noise: float, chance: torch.Generator) -> Inpainting:
    """Half of the pixels are seen."""
    return Inpainting((torch.rand(shape[1:], generator=chance) < 0.5).float(), noise)


def super_resolution(shape: Shape, noise: float, chance: torch.Generator) -> SuperResolution:
    """Means of blocks, 4 x 4; 2 x 2 for pictures below 16 pixels."""
    return SuperResolution(4 if min(shape[1:]) >= 16 else 2, noise)


def blur(shape: Shape, noise: float, chance: torch.Generator) -> Blur:
    """A Gaussian of a sixteenth of the picture, at least one pixel wide."""
    return Blur(gaussian_kernel(max(1.0, min(shape[1:]) / 16)), noise)


def phase_retrieval(shape: Shape, noise: float, chance: torch.Generator) -> CodedPhaseRetrieval:
    """Amplitudes behind two masks that block a quarter of the pixels each, padded to twice the size."""
    return CodedPhaseRetrieval(coded_masks(shape[1:], chance, count=2, seen=0.75), min(shape[1:]) // 2, noise)


def quantized(shape: Shape, noise: float, chance: torch.Generator) -> QuantizedSensing:
    """One bit for each pixel; the dither is twice the noise, 0.4 in the paper."""
    return QuantizedSensing(2 * noise)


OPERATORS: dict[str, Callable[[Shape, float, torch.Generator], Any]] = {
    "phase-retrieval": phase_retrieval,
    "super-resolution": super_resolution,
    "quantized": quantized,
    "inpainting": inpainting,
    "blur": blur,
}
ETA_MAX = {"phase-retrieval": 2.0}
"""Where the posterior has modes far apart; elsewhere the settings' own."""


def operator(name: str, shape: Shape, noise: float, chance: torch.Generator) -> Any:
    """Return the operator of that name; masks are drawn with ``chance``.

    Raises
    ------
    UnknownNameError
        There is none.
    """
    if name not in OPERATORS:
        raise UnknownNameError(f"no operator {name!r}{nearest(name, list(OPERATORS))}; there are {', '.join(OPERATORS)}")
    return OPERATORS[name](shape, noise, chance)
