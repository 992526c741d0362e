"""Problems whose posteriors the oracles know."""

import numpy as np
import torch

from robust_rl.extras.dpnp import GaussianMixture, linear_levels
from tests.extras.dpnp.oracles import Line, Plane

LEVELS = linear_levels()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def run(chains):
    while not chains.done:
        chains.step()
    return chains.x.flatten(1).numpy()


class Amplitude:
    """A(x) = |x|, with Gaussian noise."""

    pixel_range = (-1.0, 1.0)

    def __init__(self, sigma):
        self.sigma = sigma

    def A(self, x):
        return x.abs()


class Matrix:
    """A(x) = M x of vectors, Gaussian noise; its prox_l2 is what the test wants it to be."""

    pixel_range = (-1.0, 1.0)

    def __init__(self, entries, sigma):
        self.M, self.sigma = torch.as_tensor(entries, dtype=torch.float64), sigma

    def A(self, x):
        return x @ self.M.T

    def A_adjoint(self, y):
        return y @ self.M

    def prox_l2(self, z, y, gamma):
        return z  # as loose as can be


# 1-D phase retrieval: y = |x| + noise
W1, M1, S1, Y1, NOISE1 = [0.5, 0.3, 0.2], [1.0, -1.1, -0.2], [0.35, 0.25, 0.2], 1.25, 0.15
line = Line(W1, M1, S1, lambda x: -0.5 * ((Y1 - np.abs(x)) / NOISE1) ** 2)
prior_on_line = GaussianMixture(W1, [[m] for m in M1], [s**2 for s in S1])

# one linear measurement in the plane
W2, M2, S2 = [0.3, 0.3, 0.2, 0.2], [[-0.8, -0.4], [0.6, 0.5], [-0.3, 0.9], [0.7, -0.3]], [0.3, 0.3, 0.35, 0.25]
ROW, Y2, NOISE2 = [0.8, 0.6], 0.5, 0.3
plane = Plane(W2, M2, S2, lambda x: -0.5 * ((Y2 - x @ np.array(ROW)) / NOISE2) ** 2)
prior_in_plane = GaussianMixture(W2, M2, [s**2 for s in S2])
