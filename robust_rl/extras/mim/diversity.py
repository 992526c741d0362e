"""Attention diversity of any vision transformer, layer by layer and head by head, from its attention maps.

Maps are (B, H, T, T): images, heads, tokens. Tokens that are no patches (a class token, registers) come first; their rows and
columns are dropped, and what is left of a row is made to sum to 1 again. The measures are in
:mod:`~robust_rl.extras.mim.measures`. Images are taken one at a time, in float64, so that memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest
from robust_rl.extras.mim.measures import MEASURES

Maps = Tensor | Mapping[str, Tensor] | Sequence[Tensor]


@dataclass(frozen=True)
class Diversity:
    """A measure of each layer and head, over images.

    Attributes
    ----------
    measure
        Its name.
    layers
        Names of the L layers.
    per_image
        (images, L, H); nan where a layer has fewer heads than another.
    """

    measure: str
    layers: tuple[str, ...]
    per_image: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over images, (L, H)."""
        return np.asarray(self.per_image.mean(0))

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Standard error of the mean over images, (L, H); nan for a single image."""
        count = len(self.per_image)
        if count < 2:
            return np.full(self.per_image.shape[1:], math.nan)
        return np.asarray(self.per_image.std(0, ddof=1) / math.sqrt(count))

    def by_layer(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean over heads and images, and its standard error over images, (L,) each."""
        heads = np.nanmean(self.per_image, axis=2)
        error = heads.std(0, ddof=1) / math.sqrt(len(heads)) if len(heads) > 1 else np.full(heads.shape[1], math.nan)
        return heads.mean(0), error


def attention_diversity(
    attention: Maps | Iterator[Maps],
    measure: str = "cos",
    *,
    prefix_tokens: int = 1,
    renormalize: bool = True,
    patch_size: float = 1.0,
    grid: tuple[int, int] | None = None,
) -> Diversity:
    """Measure how alike the attention of different patches is.

    Parameters
    ----------
    attention
        Maps of one batch: a tensor (B, H, T, T) or (B, T, T), or several layers in a mapping (what
        :func:`~robust_rl.extras.mim.capture_attention` gives) or a list (a transformers output's ``attentions``). Or an iterator
        over such batches, of which one is held at a time.
    measure
        ``cos`` (low is diverse), ``jsd``, ``nmi``, ``entropy``, ``distance`` or ``rank``.
    prefix_tokens
        Tokens before the patches, dropped: 1 for a class token, 0 if there is none.
    renormalize
        Whether rows sum to 1 again after that.
    patch_size
        The edge of a patch in pixels: the unit of ``distance``.
    grid
        Rows and columns of patches, for ``distance``. None: a square.

    Raises
    ------
    UnknownNameError
        No measure of that name.
    InvalidArgumentError
        Maps are not square, or leave fewer than two patches, or batches have other layers, or ``grid`` doesn't fit.

    Examples
    --------
    >>> import torch
    >>> attention_diversity(torch.eye(5)[None, None], prefix_tokens=0).mean.item()
    0.0
    >>> round(attention_diversity(torch.full((1, 1, 5, 5), 0.2)).mean.item(), 9)
    1.0
    """
    batches = attention if isinstance(attention, Iterator) else iter((attention,))
    found = diversities(
        batches, (measure,), prefix_tokens=prefix_tokens, renormalize=renormalize, patch_size=patch_size, grid=grid
    )
    return found[measure]


def diversities(
    batches: Iterable[Maps],
    measures: Sequence[str],
    *,
    prefix_tokens: int = 1,
    renormalize: bool = True,
    patch_size: float = 1.0,
    grid: tuple[int, int] | None = None,
) -> dict[str, Diversity]:
    """Return several measures from one pass over batches; see :func:`attention_diversity`."""
    for measure in measures:
        if measure not in MEASURES:
            raise UnknownNameError(f"no measure {measure!r}{nearest(measure, list(MEASURES))}; known are {', '.join(MEASURES)}")
    names: tuple[str, ...] = ()
    values: dict[str, list[NDArray[np.float64]]] = {measure: [] for measure in measures}
    for batch in batches:
        layers = _layers(batch)
        names = names or tuple(layers)
        if tuple(layers) != names:
            raise InvalidArgumentError(f"a batch has layers {', '.join(layers)}, the ones before had {', '.join(names)}")
        for image in range(len(next(iter(layers.values())))):
            found: list[list[NDArray[np.float64]]] = [[] for _ in measures]  # measure -> layer -> (H,)
            for layer in layers.values():
                maps = patch_maps(layer[image], prefix_tokens, renormalize)
                for place, measure in zip(found, measures, strict=True):
                    place.append(_measured(maps, measure, patch_size, grid))
            for measure, of_layers in zip(measures, found, strict=True):
                values[measure].append(_heads(of_layers))
    if not names:
        raise InvalidArgumentError("there are no attention maps: the iterator gave no batch")
    return {measure: Diversity(measure, names, np.stack(images)) for measure, images in values.items()}


def patch_maps(maps: Tensor, prefix_tokens: int, renormalize: bool = True) -> Tensor:
    """Return the maps (H, N, N) of an image's patches alone, in float64, from those of all tokens (H, T, T)."""
    if maps.shape[-1] != maps.shape[-2]:
        raise InvalidArgumentError(
            f"attention maps of shape {tuple(maps.shape)} are not square: queries and keys must be the same"
        )
    if prefix_tokens < 0 or maps.shape[-1] - prefix_tokens < 2:
        raise InvalidArgumentError(f"prefix_tokens {prefix_tokens} of {maps.shape[-1]} tokens leaves no two patches to compare")
    kept = maps.detach()[..., prefix_tokens:, prefix_tokens:].double()
    return kept / kept.sum(-1, keepdim=True).clamp_min(1e-300) if renormalize else kept


def _layers(batch: Maps) -> dict[str, Tensor]:
    if isinstance(batch, Tensor):
        layers = {"attention": batch}
    else:
        layers = dict(batch) if isinstance(batch, Mapping) else {str(i): layer for i, layer in enumerate(batch)}
    if not layers:
        raise InvalidArgumentError(
            'there are no attention maps; a transformers model needs attn_implementation="eager" to give any'
        )
    layers = {name: layer[:, None] if layer.ndim == 3 else layer for name, layer in layers.items()}
    for name, layer in layers.items():
        if layer.ndim != 4:
            raise InvalidArgumentError(f"attention of {name} has shape {tuple(layer.shape)}; it must be (images, heads, T, T)")
    if len({len(layer) for layer in layers.values()}) > 1:
        sizes = ", ".join(f"{name}: {len(layer)}" for name, layer in layers.items())
        raise InvalidArgumentError(
            f"layers have different numbers of images ({sizes}); leave out those that don't see whole images"
        )
    return layers


def _measured(maps: Tensor, measure: str, patch_size: float, grid: tuple[int, int] | None) -> NDArray[np.float64]:
    """Return a measure of maps (H, N, N), (H,)."""
    if measure == "distance":
        value = MEASURES[measure](maps, positions(maps.shape[-1], patch_size, grid).to(maps.device))
    else:
        value = MEASURES[measure](maps)
    return np.asarray(value.cpu())


def positions(count: int, patch_size: float = 1.0, grid: tuple[int, int] | None = None) -> Tensor:
    """Return where patches are, (N, 2), in pixels, row by row."""
    rows, columns = (math.isqrt(count), math.isqrt(count)) if grid is None else grid
    if rows * columns != count:
        raise InvalidArgumentError(f"{count} patches are no grid of {rows} x {columns}; give grid=(rows, columns)")
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return place.double() * patch_size


def _heads(layers: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return layers (H_l,) as one array (L, H), with nan where a layer has fewer heads."""
    most = max(map(len, layers))
    return np.stack([np.pad(layer, (0, most - len(layer)), constant_values=math.nan) for layer in layers])
