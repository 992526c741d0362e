"""The sums over data that DROP's regressions rest on, block by block.

    G_h = sum_t phi_t phi_t^T,    over the transitions of stage h                                                            (1)

The rows of the data are cut into blocks of a fixed size, and the blocks' sums are added in their order: d x d numbers a block and
stage, whatever the number of rows, and the same bits wherever the blocks were worked out with one thread each.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError
from robust_rl.features import FeatureMap
from robust_rl.models.sampled_counts import Map

Array = NDArray[np.float64]
BLOCK = 1 << 16


def gram_sums(data: OfflineDataset, features: FeatureMap, horizon: int, *, block: int = BLOCK, map: Map = map) -> Array:
    """Return eq. (1) of every stage, (H, d, d).

    Parameters
    ----------
    data : OfflineDataset
    features : FeatureMap
    horizon : int
        H; later transitions are left out.
    block : int
        Rows a block.
    map : callable
        What calls a function on every block, in order: the built-in ``map``, or :func:`robust_rl.rllib.ray_map`.

    Raises
    ------
    InvalidArgumentError
        If the horizon isn't positive.
    """
    if horizon < 1:
        raise InvalidArgumentError(f"horizon is {horizon}; it must be at least 1")
    cuts = [*range(0, len(data), block), len(data)]
    total = np.zeros((horizon, features.dimension, features.dimension))
    for sums in map(partial(_block_sums, data, features, horizon), cuts[:-1], cuts[1:]):
        total += sums
    return total


def _block_sums(data: OfflineDataset, features: FeatureMap, horizon: int, first: int, last: int) -> Array:
    """Return eq. (1) over the rows ``first`` to ``last - 1``."""
    rows = slice(first, last)
    phi, stage = features(data.observations[rows], data.actions[rows]), data.stage[rows]
    return np.stack([part.T @ part for part in (phi[stage == h] for h in range(horizon))])
