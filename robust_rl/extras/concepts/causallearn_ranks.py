"""The tests of ranks of tables for searches of causal-learn, which count ranks in variables: r there is K^r here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.sample_ranks import SampleRanks


class CausalLearnRankTest:
    """What causal-learn's ``RLCD`` takes as ``ranktest_method``, for discrete columns.

    Parameters
    ----------
    data
        States from 0, shape (n, number of variables).
    n_states
        K, of each latent.
    method
        As :func:`rank_test` takes it.
    seed
        Of the choice of variables for each table; see :class:`SampleRanks`.

    Raises
    ------
    InvalidArgumentError
        A column has entries that are no states.

    Examples
    --------
    >>> from robust_rl.extras.concepts import DiscreteHierarchy
    >>> test = CausalLearnRankTest(DiscreteHierarchy.random("G1", seed=0).sample(2000, seed=0))
    >>> test.test([0, 1], [2, 3], 1, 0.001), test.test([0, 1], [2, 3], 0, 0.001)  # one latent between them, and not none
    (True, False)
    """

    def __init__(self, data: NDArray[np.int64], n_states: int = 2, *, method: str = "cca", seed: int = 0) -> None:
        self.data = np.asarray(data)
        if self.data.ndim != 2 or not np.all(self.data == np.floor(self.data)) or self.data.min(initial=0) < 0:
            raise InvalidArgumentError("data must be states from 0, one column a variable; sklearn's OrdinalEncoder makes them")
        self.n_states = n_states
        self.names = [str(i) for i in range(self.data.shape[1])]
        self.ranks = SampleRanks(self.data.astype(np.int64), self.names, test=method, seed=seed)

    def test(self, pcols: Sequence[int], qcols: Sequence[int], r: int, alpha: float) -> bool:
        """Return whether nothing contradicts that r variables separate two sets of columns.

        Columns in both are among the r; the others must be separated by those left under each joint state of these.
        """
        shared = sorted(set(pcols) & set(qcols))
        left, right = ([Block((self.names[i],), 1) for i in cols if i not in shared] for cols in (pcols, qcols))
        if r < len(shared):
            return False
        if not left or not right:
            return True
        slices = [self.ranks]
        for i in shared:
            slices = [part for ranks in slices for part in ranks.given(self.names[i])]
        rank = self.n_states ** (r - len(shared))
        return all(part.at_level(alpha / len(slices)).at_most(left, right, rank) for part in slices)
