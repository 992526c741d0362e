"""The attention of a few patches of one image, kept while a model learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.extras.mim.data import Patches, SpatialPatchData, random_masks
from robust_rl.training import Callback, Trainer, load_arrays, save_arrays

STEPS = (0, 10, 30, 100, 300)
"""When to look, beside the end."""
FORMAT = "robust-rl mim map"


@dataclass(frozen=True)
class Scene:
    """An image, its mask (1, P), and three hidden patches that have visible mates: of two local areas, and of the global one."""

    image: Patches
    mask: Tensor
    queries: tuple[int, ...]


def choose_scene(data: SpatialPatchData, seed: int = 0) -> Scene:
    """Return the first image of a stream that has such patches; fewer patches if the areas are too small for it."""
    generator = torch.Generator().manual_seed(seed)
    best: Scene | None = None
    for _ in range(200):
        image, mask = data.sample(1, generator), random_masks(1, data.n_patches, 0.5, generator)
        area, hidden = image["area"][0], mask[0]
        first: dict[int, int] = {}
        for p in hidden.nonzero().flatten().tolist():
            if (~hidden & (area == area[p])).any():
                first.setdefault(int(area[p]), p)
        queries = tuple(first[j] for j in sorted(first, key=lambda j: (j == 0, j)) if j)[:2] + ((first[0],) if 0 in first else ())
        if best is None or len(queries) > len(best.queries):
            best = Scene(image, mask, queries)
        if len(queries) == 3:
            break
    assert best is not None
    return best


class MapSnapshots(Callback):
    """Keeps the attention of a scene at some steps and at the end: ``<directory>/step_000100.safetensors``.

    Parameters
    ----------
    directory
        Where maps go; made if need be.
    scene
        The image that the model looks at.
    """

    def __init__(self, directory: Path, scene: Scene) -> None:
        self.directory, self.scene = directory, scene

    def on_start(self, trainer: Trainer) -> None:
        """Look before the first step."""
        if trainer.step == 0:
            self._look(trainer)

    def on_step(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Look when it is time, and after the last step."""
        if trainer.step in STEPS or trainer.trainable.done:
            self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            _, attn = trainer.trainable.model(self.scene.image["x"], self.scene.mask)
        arrays = {"attention": attn[0], "mask": self.scene.mask[0], "area": self.scene.image["area"][0]}
        arrays["queries"] = torch.tensor(self.scene.queries)
        save_arrays(self.directory / f"step_{trainer.step:06d}.safetensors", arrays, format=FORMAT)


def load_snapshots(directory: Path) -> dict[int, dict[str, NDArray[np.generic]]]:
    """Return step -> arrays ``attention`` (P, P), ``mask`` (P,), ``area`` (P,) and ``queries``, in the order of steps."""
    files = sorted(directory.glob("step_*.safetensors"))
    return {int(file.stem[5:]): load_arrays(file, format=FORMAT)[0] for file in files}
