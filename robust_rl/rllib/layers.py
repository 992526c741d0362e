"""The layers of a small network, in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@dataclass(frozen=True)
class Layer:
    """One step of a network.

    ``kind`` is "linear" (``weight`` (n, m) and ``bias`` (n,)), "layernorm" (both (m,), and ``eps``) or an activation's name.
    """

    kind: str
    weight: Array | None = None
    bias: Array | None = None
    eps: float = 0.0

    def __call__(self, x: Array) -> Array:
        """Return the layer's output, (batch, n)."""
        if self.kind == "linear":
            assert self.weight is not None
            out = x @ self.weight.T
            return np.asarray(out if self.bias is None else out + self.bias)
        if self.kind == "layernorm":
            assert self.weight is not None
            centred = x - x.mean(axis=-1, keepdims=True)
            spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.eps)
            return np.asarray(centred / spread * self.weight + self.bias)
        return ACTIVATIONS[self.kind](x)


@dataclass(frozen=True)
class Normalisation:
    """A running filter, frozen: ``clip((x - mean) / scale, -limit, limit)``."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    limit: float | None

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the observations, normalised in double precision."""
        y = (x - self.mean) / self.scale
        return y if self.limit is None else np.clip(y, -self.limit, self.limit)


def softmax(x: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities from logits, by rows."""
    shifted = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
