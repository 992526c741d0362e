"""Small epsilon-networks trained here, so that samplers have something to sample from without a download.

Names are looked up when first used, so that importing this package loads neither torch nor diffusers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
