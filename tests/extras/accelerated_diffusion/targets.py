"""Data with known scores."""

import numpy as np

from robust_rl.extras.accelerated_diffusion.mixtures import GaussianMixture

MIXTURE = GaussianMixture([0.3, 0.5, 0.2], [-1.2, 0.4, 1.5], [0.25, 0.35, 0.15])
PLANE = GaussianMixture([0.3, 0.5, 0.2], [[-1.2, 0.5], [0.4, -0.6], [1.5, 0.3]], [0.25, 0.35, 0.15])


def slope(steps, errors):
    """Of log error over log steps, by least squares."""
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]
