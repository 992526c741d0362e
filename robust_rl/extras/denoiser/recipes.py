"""What to train on what: settings that give usable pictures within minutes on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robust_rl.errors import UnknownNameError, nearest
from robust_rl.extras.denoiser.data import PictureSet, digits, patches

if TYPE_CHECKING:
    import torch

    from robust_rl.extras.denoiser.training import DenoiserTraining


@dataclass(frozen=True)
class Recipe:
    """A picture set, a network for it, and how long to train.

    Attributes
    ----------
    pictures
        Loads them.
    network
        Arguments of ``diffusers.UNet2DModel``.
    steps, batch_size, learning_rate
        As :class:`~robust_rl.extras.denoiser.DenoiserTraining` takes them.
    """

    pictures: Callable[[], PictureSet]
    network: Mapping[str, Any]
    steps: int
    batch_size: int
    learning_rate: float


RECIPES = {
    "digits": Recipe(
        digits,
        {
            "block_out_channels": (32, 48), "layers_per_block": 1, "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        },
        steps=2500, batch_size=64, learning_rate=1e-3,
    ),
    "patches": Recipe(
        patches,
        {
            "block_out_channels": (16, 32, 64), "layers_per_block": 1, "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        },
        steps=3000, batch_size=16, learning_rate=1e-3,
    ),
}  # fmt: skip


def recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises
    ------
    UnknownNameError
        There is none.
    """
    if name not in RECIPES:
        raise UnknownNameError(f"no pictures named {name!r}{nearest(name, list(RECIPES))}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def denoiser_training(
    chosen: Recipe,
    pictures: PictureSet,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> DenoiserTraining:
    """Return the training of a recipe, with other numbers of steps or pictures a step if given.

    Raises
    ------
    InvalidArgumentError
        A number is out of range.
    """
    from robust_rl.extras.denoiser.training import DenoiserTraining

    return DenoiserTraining(
        pictures.train,
        network=chosen.network,
        steps=chosen.steps if steps is None else steps,
        batch_size=chosen.batch_size if batch_size is None else batch_size,
        learning_rate=chosen.learning_rate,
        seed=seed,
        device=device,
    )
