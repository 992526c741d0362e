"""An invertible map between a latent variable and its noise, given a context.

    noise = r^-1(z; context),      log |det d noise / d z|

Two autoregressive layers of zuko, one each way through the dimensions: affine, so that a domain may shift, scale and correlate,
then rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032), so that it may bend. Both have inverses in closed form,
one pass a dimension. The last layers start at zero, and so the map starts as the identity.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows import MaskedAutoregressiveTransform
from zuko.lazy import LazyTransform
from zuko.transforms import MonotonicRQSTransform


class LatentFlow(nn.Module):
    """r^-1 and r of one latent block.

    Parameters
    ----------
    dim
        Dimensions of the block.
    context
        Dimensions of what the map depends on, at least 1.
    bins, bound
        Of the splines.
    hidden
        Units of each hidden layer of the networks that give the maps' parameters.
    """

    def __init__(self, dim: int, context: int, *, bins: int = 8, bound: float = 5.0, hidden: int = 64) -> None:
        super().__init__()
        forwards = torch.arange(dim)
        spline = {
            "univariate": partial(MonotonicRQSTransform, bound=bound),
            "shapes": [(bins,), (bins,), (bins - 1,)],
        }
        self.affine = _layer(dim, context, hidden, order=forwards)
        self.spline = _layer(dim, context, hidden, order=forwards.flip(0), **spline)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise (B, dim) and the logarithm of the determinant (B,)."""
        halfway, first = self.affine(context).call_and_ladj(z)
        noise, second = self.spline(context).call_and_ladj(halfway)
        return noise, first + second

    def inverse(self, noise: Tensor, context: Tensor) -> Tensor:
        """Return r(noise; context), (B, dim)."""
        z: Tensor = self.affine(context).inv(self.spline(context).inv(noise))
        return z


def _layer(dim: int, context: int, hidden: int, **options: Any) -> LazyTransform:
    layer = MaskedAutoregressiveTransform(dim, context, hidden_features=(hidden, hidden), **options)
    nn.init.zeros_(layer.hyper[-1].weight)
    nn.init.zeros_(layer.hyper[-1].bias)
    return layer
