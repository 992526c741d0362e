"""The operator's scale and the model's: deepinv's pictures lie in [0, 1], a diffusion model's in [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance
from robust_rl.extras.dpnp.pcs import PCS


@dataclass(frozen=True)
class PixelRange:
    """The values of black and white for an operator. The model's own are -1 and 1.

    Attributes
    ----------
    low, high : float
        low below high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InvalidArgumentError(f"pixel_range is ({self.low:g}, {self.high:g}); black must be below white")

    @property
    def scale(self) -> float:
        """What a unit of the model's scale is for the operator."""
        return (self.high - self.low) / 2

    def from_model(self, x: Tensor) -> Tensor:
        """Return pictures of the model as the operator wants them."""
        return self.low + self.scale * (x + 1)

    def to_model(self, x: Tensor) -> Tensor:
        """Return pictures of the operator as the model wants them."""
        return (x - self.low) / self.scale - 1


def pixel_range(physics: Any, given: tuple[float, float] | None = None) -> PixelRange:
    """Return the range given, or the operator's own, or (0, 1) as deepinv has it."""
    return PixelRange(*(getattr(physics, "pixel_range", (0.0, 1.0)) if given is None else given))


class InRange:
    """A PCS on the operator's scale, as the loop on the model's scale sees it: eta shrinks with the pictures.

    Parameters
    ----------
    inner : PCS
        On the operator's scale.
    pixels : PixelRange
    """

    def __init__(self, inner: PCS, pixels: PixelRange) -> None:
        self.inner, self.pixels = inner, pixels

    def __call__(self, x: Tensor, eta: float, chance: Chance) -> tuple[Tensor, Mapping[str, float]]:
        """Draw z given x."""
        z, numbers = self.inner(self.pixels.from_model(x), self.pixels.scale * eta, chance)
        return self.pixels.to_model(z), numbers

    def fit(self, x: Tensor) -> dict[str, float]:
        """Return how well the chains explain the measurement."""
        return self.inner.fit(self.pixels.from_model(x))

    def __repr__(self) -> str:
        return f"InRange({self.inner!r}, {self.pixels!r})"

    def state(self) -> dict[str, Tensor]:
        """Return what the sampler inside remembers."""
        return self.inner.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hand it back."""
        self.inner.restore(state)
