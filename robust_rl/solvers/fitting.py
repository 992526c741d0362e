"""A network of :mod:`robust_rl.solvers.network` that is fitted by Adam in torch, and goes on from a file to the same bits.

Each fit is a regression problem of its own, so its step size falls linearly to 0: what is returned has no noise of the last
minibatches in it. Adam's moments and the parameters are kept from fit to fit, since one problem is close to the one before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.solvers.network import forward


class Fit:
    """A network and its optimiser.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, the hidden layers, and the output.
    table : bool
        The input is an index and there is no hidden layer: one number an entry.
    rate : float
        Adam's step size at the start of each fit.
    generator : torch.Generator
        On the processor, whatever the device: initial weights, the last layer's are 0, and then minibatches.
    device : torch.device
    """

    def __init__(self, sizes: Sequence[int], table: bool, rate: float, generator: torch.Generator, device: torch.device) -> None:
        self.rate, self.generator, self.device = rate, generator, device
        self.layers = []
        for j, (width, following) in enumerate(pairwise(sizes)):
            weight = _weight(width, following, j == len(sizes) - 2, generator)
            self.layers.append((weight.to(device), None if table else torch.zeros(following, device=device)))
        self.parameters = [part.requires_grad_() for layer in self.layers for part in layer if part is not None]
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the network's outputs, (n, outputs)."""
        return forward(self.layers, x)  # type: ignore[no-any-return]

    def fit(self, loss: Callable[[Tensor], Tensor], rows: int, *, updates: int, batch_size: int, share: float = 1.0) -> float:
        """Take so many steps on the mean loss of minibatches, or of all rows if they are no more; return the mean of it.

        Parameters
        ----------
        loss : callable
            From numbers of rows, (n,), to one loss each, (n,).
        rows, updates, batch_size : int
        share : float
            Of ``rate``, to start with.
        """
        total = torch.zeros((), device=self.device)
        for step in range(updates):
            at = self._minibatch(rows, batch_size)
            mean = loss(at).mean()
            self.optimizer.param_groups[0]["lr"] = share * self.rate * (1 - step / updates)
            self.optimizer.zero_grad()
            mean.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += mean.detach()
        return float(total) / updates

    def numpy_layers(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Return the layers as plain arrays."""
        return [tuple(None if part is None else part.detach().cpu().numpy().copy() for part in layer) for layer in self.layers]  # type: ignore[misc]

    def save(self, name: str) -> dict[str, Any]:
        """Return parameters and moments as named arrays."""
        arrays = {f"{name}.{i}": part.detach().cpu() for i, part in enumerate(self.parameters)}
        for i, moments in self.optimizer.state_dict()["state"].items():
            arrays |= {f"{name}.{i}.{moment}": value.cpu() for moment, value in moments.items()}
        return arrays

    def restore(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Take over what :meth:`save` returned."""
        moments: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for i, part in enumerate(self.parameters):
                part.copy_(torch.from_numpy(arrays[f"{name}.{i}"]))
                begin = f"{name}.{i}."
                moments[i] = {key[len(begin) :]: torch.from_numpy(arrays[key]) for key in arrays if key.startswith(begin)}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments if moments[0] else {}})

    def _minibatch(self, rows: int, batch_size: int) -> Tensor:
        if rows <= batch_size:
            return torch.arange(rows, device=self.device)
        return torch.randint(rows, (batch_size,), generator=self.generator).to(self.device)


def _weight(width: int, following: int, last: bool, generator: torch.Generator) -> Tensor:
    """Return He's initial weights, or zeros for the last layer, so that a network starts at 0."""
    if last:
        return torch.zeros(width, following)
    return torch.randn(width, following, generator=generator).mul_(math.sqrt(2 / width))
