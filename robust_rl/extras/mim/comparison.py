"""Models beside each other: how diverse the attention of each layer is on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.diversity import Diversity, diversities
from robust_rl.extras.mim.viewing import Forward, attention_maps, prefix_tokens_of
from robust_rl.training import Table
from robust_rl.training.optional import require

LABELS = {
    "cos": "cosine between rows\n(low: diverse)",
    "jsd": "Jensen-Shannon divergence\nbetween rows (high: diverse)",
    "nmi": "information on the query / log N\n(0: all rows alike)",
    "entropy": "entropy of a row, nats",
    "distance": "distance looked, pixels",
    "rank": "effective rank",
}


@dataclass(frozen=True)
class AttentionComparison:
    """What :func:`compare` found: model -> measure -> :class:`~robust_rl.extras.mim.Diversity`."""

    found: Mapping[str, Mapping[str, Diversity]]

    def rows(self) -> list[dict[str, Any]]:
        """Return one record a model, measure and layer: mean over heads and images; standard error, None for one image."""
        return [
            {
                "model": model,
                "measure": measure,
                "layer": layer,
                "mean": float(mean),
                "standard_error": float(error) if np.isfinite(error) else None,
            }
            for model, measures in self.found.items()
            for measure, diversity in measures.items()
            for layer, mean, error in zip(diversity.layers, *diversity.by_layer(), strict=True)
        ]

    def table(self) -> Table:
        """Return the records as a table of a report."""
        rows = self.rows()
        return Table(list(rows[0]), [list(row.values()) for row in rows])

    def frame(self) -> Any:
        """Return the records as a pandas DataFrame.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return require("pandas", "pandas").DataFrame(self.rows())

    def plot(self) -> Any:
        """Return a matplotlib figure: a panel a measure, a line a model, its heads as dots.

        Raises
        ------
        MissingDependencyError
            matplotlib is not installed.
        """
        measures = list(next(iter(self.found.values())))
        canvas = require("matplotlib.figure", "robust-rl[report]").Figure(
            figsize=(3.4 * len(measures), 3.2), layout="constrained"
        )
        for axes, measure in zip(canvas.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
            for i, (model, found) in enumerate(self.found.items()):
                mean, error = found[measure].by_layer()
                layers = np.arange(1, len(mean) + 1)
                axes.errorbar(layers, mean, np.nan_to_num(error), color=f"C{i}", marker="o", label=model)
                heads = found[measure].mean
                axes.plot(np.repeat(layers, heads.shape[1]), heads.ravel(), ".", color=f"C{i}", alpha=0.4, markersize=4)
            axes.set(xlabel="layer", ylabel=LABELS[measure])
            axes.xaxis.get_major_locator().set_params(integer=True)
        canvas.axes[0].legend(frameon=False)
        return canvas


def compare(
    models: Mapping[str, nn.Module],
    images: Tensor | Iterable[Tensor],
    *,
    measures: Sequence[str] = ("cos", "nmi", "entropy", "distance"),
    prefix_tokens: int | None = None,
    patch_size: float = 1.0,
    grid: tuple[int, int] | None = None,
    batch_size: int = 1,
    forward: Forward | None = None,
) -> AttentionComparison:
    """Measure the attention diversity of several models on the same images.

    Parameters
    ----------
    models
        Name -> model.
    images
        What all of them take, a batch in the first dimension; or batches of it that can be gone through once for each model.
    measures, patch_size, grid
        As :func:`~robust_rl.extras.mim.attention_diversity` takes them.
    prefix_tokens
        None: what each model says, timm's by a number, transformers' by the sizes of images and patches.
    batch_size, forward
        As :func:`~robust_rl.extras.mim.viewing.attention_maps` takes them.

    Raises
    ------
    InvalidArgumentError
        There is no model, measure or image, or as the functions above raise.
    UnknownNameError
        No measure of that name.
    """
    if not models or not measures:
        raise InvalidArgumentError(f"{len(models)} models, {len(measures)} measures; give one of each at least")
    found = {}
    for name, model in models.items():
        maps = attention_maps(model, images, batch_size=batch_size, forward=forward)
        first = next(maps, None)
        if first is None:
            raise InvalidArgumentError(f"there are no images for {name}")
        prefix = prefix_tokens_of(model, next(iter(first.values())).shape[-1]) if prefix_tokens is None else prefix_tokens
        found[name] = diversities(chain([first], maps), measures, prefix_tokens=prefix, patch_size=patch_size, grid=grid)
    return AttentionComparison(found)
