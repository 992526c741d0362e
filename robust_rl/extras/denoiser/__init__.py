"""Small epsilon-networks trained here, so that samplers have something to sample from without a download.

Names are looked up when first used, so that importing this package loads neither torch nor diffusers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_rl.extras.denoiser.data import PictureSet, digits, patches
    from robust_rl.extras.denoiser.recipes import RECIPES, Recipe, denoiser_training, recipe
    from robust_rl.extras.denoiser.samples import SampleSheets, contact_sheet
    from robust_rl.extras.denoiser.training import DenoiserTraining

_HOMES = {
    "DenoiserTraining": "training",
    "PictureSet": "data",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "SampleSheets": "samples",
    "contact_sheet": "samples",
    "denoiser_training": "recipes",
    "digits": "data",
    "patches": "data",
    "recipe": "recipes",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "RECIPES",
    "DenoiserTraining",
    "PictureSet",
    "Recipe",
    "SampleSheets",
    "contact_sheet",
    "denoiser_training",
    "digits",
    "patches",
    "recipe",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
