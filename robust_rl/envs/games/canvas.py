"""Pictures out of rectangles and discs, with numpy alone, so that rendering asks for no optional package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FINE = 3  # drawn so many times larger, then averaged: smooth edges


class Canvas:
    """A picture being drawn; lengths in pixels, points as (down, right), colours as ``"#rrggbb"``."""

    def __init__(self, height: int, width: int, colour: str = "#ffffff") -> None:
        self._fine = np.empty((height * FINE, width * FINE, 3))
        self._fine[:] = rgb(colour)

    def rectangle(self, corner: tuple[float, float], height: float, width: float, colour: str) -> None:
        """Fill a rectangle, given its upper left corner."""
        top, left, bottom, right = (round(FINE * x) for x in (*corner, corner[0] + height, corner[1] + width))
        self._fine[max(top, 0) : bottom, max(left, 0) : right] = rgb(colour)

    def disc(self, centre: tuple[float, float], radius: float, colour: str, squash: float = 1.0) -> None:
        """Fill a disc; ``squash`` scales its height."""
        down, right = np.ogrid[: self._fine.shape[0], : self._fine.shape[1]]
        y, x = (down + 0.5) / FINE - centre[0], (right + 0.5) / FINE - centre[1]
        self._fine[(y / squash) ** 2 + x**2 <= radius**2] = rgb(colour)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture, (height, width, 3)."""
        height, width = (n // FINE for n in self._fine.shape[:2])
        mean = self._fine.reshape(height, FINE, width, FINE, 3).mean(axis=(1, 3))
        return np.asarray(mean.round(), dtype=np.uint8)


def rgb(colour: str) -> tuple[int, ...]:
    """Return red, green and blue of ``"#rrggbb"``."""
    return tuple(bytes.fromhex(colour[1:]))
