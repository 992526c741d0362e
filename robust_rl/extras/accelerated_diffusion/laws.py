"""The law of what a sampler gives, in one dimension, without drawing a single sample.

A deterministic sampler carries quantiles to quantiles: run ``sample_ode`` on a grid of them and compare with
:func:`wasserstein`. A stochastic step is a map between two convolutions with Gaussians; :func:`sde_law` carries the
density through both, on a grid: spectrally through the noise, by change of variables through the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.levels import check_levels
from robust_rl.extras.accelerated_diffusion.sde import METHODS, accelerated_step, ddpm_step
from robust_rl.extras.diffusion_common import Array


def wasserstein(points: Array, reference: Array) -> float:
    """Return the 2-Wasserstein distance of two laws on the line from points of equal mass each.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([3.0, 2.0]))
    2.0
    """
    return float(np.sqrt(np.mean((np.sort(points, axis=None) - np.sort(reference, axis=None)) ** 2)))


def total_variation(density: Array, reference: Array, grid: Array) -> float:
    """Return half the L1 distance of two densities on a uniform grid, from 0 to 1."""
    return float(np.abs(density - reference).sum() * (grid[1] - grid[0]) / 2)


def sde_law(
    score: Callable[[Any, int], Any],
    density: Array,
    grid: Array,
    alpha_bars: Sequence[float] | Array,
    method: str = "accelerated",
    *,
    late_outside: bool = False,
) -> Array:
    """Return the density of a stochastic sampler's output, with its last noise.

    Parameters
    ----------
    score
        As :func:`~robust_rl.extras.accelerated_diffusion.sample_sde` takes it, for points (n, 1).
    density
        Of the state at ``alpha_bars[-1]``, (n,).
    grid
        Where, (n,), uniform and wide enough that all mass stays within.
    alpha_bars
        Levels, (T + 1,), decreasing.
    method
        ``"accelerated"`` or ``"ddpm"``.
    late_outside
        Put the late noise outside of the bracket, as the authors' README prints it; only to show what is lost.

    Raises
    ------
    InvalidArgumentError
        The method is unknown, or a step isn't monotone: it folds the line, and its law needs other means.
    """
    levels = check_levels(alpha_bars)
    if method not in METHODS:
        raise InvalidArgumentError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    points = grid[:, None]
    for t in range(len(levels) - 1, 0, -1):
        alpha = levels[t] / levels[t - 1]
        early, late = ((1 - alpha) / 2, (1 - alpha) / 2) if method == "accelerated" else (0.0, 1 - alpha)
        density = _noised(density, grid, early)
        if method == "accelerated":
            image = accelerated_step(score, points, t, levels, 0.0, 0.0)[:, 0]
        else:
            image = ddpm_step(score, points, t, levels, 0.0)[:, 0]
        density = _noised(_pushed(density, grid, image), grid, late if late_outside else late / alpha)
    return density


def _noised(density: Array, grid: Array, variance: float) -> Array:
    """Return the density after adding N(0, variance), spectrally."""
    if variance == 0:
        return density
    frequency = 2 * math.pi * np.fft.rfftfreq(len(grid), grid[1] - grid[0])
    return np.asarray(np.fft.irfft(np.fft.rfft(density) * np.exp(-variance * frequency**2 / 2), len(grid)))


def _pushed(density: Array, grid: Array, image: Array) -> Array:
    """Return the density of image(Y): p(y) / image'(y), at image(y) = grid."""
    slope = CubicSpline(grid, image)(grid, 1)
    heavy = density > 1e-12 * density.max()
    if (slope[heavy] <= 0).any():
        where = grid[heavy][np.argmin(slope[heavy])]
        raise InvalidArgumentError(f"a step folds the line near {where:.3g}; take more steps, so that each is monotone")
    inside = slice(np.flatnonzero(heavy)[0], np.flatnonzero(heavy)[-1] + 1)
    pushed = CubicSpline(image[inside], density[inside] / slope[inside], extrapolate=False)(grid)
    return np.asarray(np.nan_to_num(pushed, nan=0.0))
