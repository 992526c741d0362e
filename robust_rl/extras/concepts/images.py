"""Images made by discrete concepts, to try the encoder on.

    x_b = g_b(d_b, d_{b+1}, c_b)         patch b, with a random invertible network g_b and a continuous c_b               (1)

Each concept shows in two neighbouring patches of a ring, and each patch shows two concepts, so that no patch tells one alone. The
concepts are the leaves of a hierarchy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy

Floats = NDArray[np.float64]
PATCH = 4
SPREAD = 0.5
"""Standard deviation of c, beside means at a distance of 2 to 3."""


def concept_images(
    n_concepts: int = 6, n: int = 4000, *, seed: int = 0, layers: int = 2
) -> tuple[Floats, NDArray[np.int64], DiscreteHierarchy]:
    """Draw images with their concepts.

    Parameters
    ----------
    n_concepts
        Binary concepts, from 3 to 6. Up to five have one common cause; six have two, of three each.
    n
        Number of images.
    seed
        Of the hierarchy's tables, the networks and the images.
    layers
        Of each network: a random rotation, then a leaky rectifier.

    Returns
    -------
    images : array (n, 8, 4 * ceil(n_concepts / 2))
        Patches of 4 x 4 pixels in two lines; one without a concept holds noise.
    codes : array (n, n_concepts)
        The concepts.
    truth : DiscreteHierarchy
        The hierarchy, whose leaves are called X1 and so on.
    """
    if not 3 <= n_concepts <= 6:
        raise InvalidArgumentError(f"n_concepts is {n_concepts}; images are made of 3 to 6 concepts")
    rng, names = np.random.default_rng(seed), [f"X{i}" for i in range(1, n_concepts + 1)]
    spec = {"L1": ["L2", *names[:3]], "L2": names[3:]} if n_concepts == 6 else {"L1": names}
    truth = DiscreteHierarchy.random(spec, seed=rng)
    codes = truth.sample(n, seed=rng)
    codes = codes[:, [truth.observed.index(name) for name in names]]
    patches = [_patch(codes[:, [b, (b + 1) % n_concepts]], layers, rng) for b in range(n_concepts)]
    if n_concepts % 2:
        patches.append(rng.normal(size=(n, PATCH, PATCH)))
    half = len(patches) // 2
    return np.concatenate([np.concatenate(patches[:half], axis=2), np.concatenate(patches[half:], axis=2)], axis=1), codes, truth


def _patch(pair: NDArray[np.int64], layers: int, rng: np.random.Generator) -> Floats:
    """Return eq. 1 for one patch, (n, 4, 4)."""
    size = PATCH * PATCH
    centres = rng.normal(size=(2, 2, size))
    x = 1.4 * centres[0, pair[:, 0]] + 1.4 * centres[1, pair[:, 1]] + SPREAD * rng.normal(size=(len(pair), size))
    for _ in range(layers):
        x = x @ np.linalg.qr(rng.normal(size=(size, size)))[0]
        x = np.where(x > 0, x, 0.5 * x)
    return np.asarray(x.reshape(-1, PATCH, PATCH), float)
