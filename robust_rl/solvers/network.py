"""A multilayer perceptron on plain arrays, NumPy's or torch's alike: trained in torch, asked without it.

    x_0 = encoded observation,    x_{j+1} = max(x_j W_j + b_j, 0),    output = x_J W_J + b_J                               (1)

An observation that is an index stands for a one-hot vector, whose product with W_0 is a row of it. Without hidden layers that is
a table: one number a state and output. A table has no b, which its entries would share.

======  ===============  ===================================================
symbol  here             meaning, shape
======  ===============  ===================================================
W_j     layers[j][0]     (width of x_j, width of x_{j+1})
b_j     layers[j][1]     (width of x_{j+1},), or None in a table
======  ===============  ===================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError

Layers = Sequence[tuple[Any, Any]]


def forward(layers: Layers, x: Any) -> Any:
    """Return eq. (1), (n, outputs), for encoded observations: indices (n,) or numbers (n, width)."""
    for j, (weight, bias) in enumerate(layers):
        x = weight[x] if x.ndim == 1 else x @ weight
        x = x if bias is None else x + bias
        x = x.clip(min=0) if j < len(layers) - 1 else x
    return x


@dataclass(frozen=True, eq=False)
class Encoder:
    """How observations enter a network.

    ============  =====================================================================================
    shape         of one observation
    num_states    how many there are, if they are indices, else None
    mean, spread  (width,) what numbers are standardised by; of no use to indices
    ============  =====================================================================================
    """

    shape: tuple[int, ...]
    num_states: int | None
    mean: NDArray[np.float32]
    spread: NDArray[np.float32]

    @property
    def width(self) -> int:
        """Width of x_0."""
        return len(self.mean) if self.num_states is None else self.num_states

    def __call__(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Return a batch (n, ...) of observations as indices (n,) or standardised numbers (n, width).

        Raises
        ------
        InvalidArgumentError
            If an index is out of range.
        """
        if self.num_states is None:
            flat = observations.reshape(len(observations), -1).astype(np.float32)
            return (flat - self.mean) / self.spread
        wrong = observations[(observations < 0) | (observations >= self.num_states)]
        if wrong.size or observations.dtype.kind not in "iu":
            offender = wrong.flat[0] if wrong.size else f"of type {observations.dtype}"
            raise InvalidArgumentError(f"observation {offender} is no state; states are indices 0..{self.num_states - 1}")
        return observations.astype(np.int64)


def make_encoder(observations: NDArray[Any], num_states: int | None) -> Encoder:
    """Return the encoder for observations like the given: indices if they are integers (n,), else numbers to be standardised.

    ``num_states`` may be more than the observations show.
    """
    shape = observations.shape[1:]
    if observations.ndim == 1 and observations.dtype.kind in "iu":
        seen = int(observations.max()) + 1
        return Encoder(shape, seen if num_states is None else num_states, np.zeros(0, np.float32), np.ones(0, np.float32))
    flat = observations.reshape(len(observations), -1).astype(np.float64)
    spread = flat.std(axis=0)
    spread[spread == 0] = 1.0  # a constant says nothing, and divides by itself
    return Encoder(shape, None, flat.mean(axis=0).astype(np.float32), spread.astype(np.float32))
