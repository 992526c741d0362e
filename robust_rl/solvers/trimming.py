"""Two-fold subsampling: transitions of a stage that are independent of later ones (Shi and Chi, 2022).

Half of the episodes only says how often a state can be counted on, the other half gives the transitions:

    N_trim_h(s) = max{ N_aux_h(s) - c sqrt(N_aux_h(s) log(K H / delta)), 0 },    c = 10                                       (1)

and of the main half min{N_trim_h(s), N_main_h(s)} transitions of each (h, s) are kept, drawn uniformly. With c = 10 nothing is
kept where N_aux < 100 log(K H / delta), hence ``trim``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError


def trimmed_rows(
    main: OfflineDataset, aux: OfflineDataset, horizon: int, *, delta: float, trim: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which transitions of ``main`` are kept, (n,).

    Raises
    ------
    InvalidArgumentError
        If observations aren't state indices, which alone can be counted.
    """
    for part in (main, aux):
        if part.observations.ndim != 1 or part.observations.dtype.kind not in "iu":
            raise InvalidArgumentError("subsample=True counts visits to states; observations must be state indices, (n,)")
    states = int(max(main.observations.max(), aux.observations.max())) + 1
    cells = [part.stage * states + part.observations.astype(np.intp) for part in (main, aux)]
    size = states * max(main.horizon, aux.horizon)
    counted = np.bincount(cells[1], minlength=size)
    slack = trim * np.sqrt(counted * np.log((main.num_episodes + aux.num_episodes) * horizon / delta))
    allowed = np.floor(np.maximum(counted - slack, 0.0))  # eq. 1
    shuffled = rng.permutation(len(main))
    order = shuffled[np.argsort(cells[0][shuffled], kind="stable")]  # cell by cell, in random order within
    sorted_cells = cells[0][order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_cells, sorted_cells)
    kept = np.zeros(len(main), dtype=bool)
    kept[order] = rank < allowed[sorted_cells]
    return kept
