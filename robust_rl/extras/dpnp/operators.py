"""Linear operators whose proximal map is a formula. They work on [-1, 1], as diffusion models do.

Each has ``A``, ``A_adjoint``, ``prox_l2`` and a call that adds noise, as deepinv's operators do, which DPnP takes as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance, normal

PIXEL_RANGE = (-1.0, 1.0)


class GaussianNoise(ABC):
    """Measurements with noise of standard deviation ``sigma``: what the operators here share."""

    pixel_range = PIXEL_RANGE

    def __init__(self, sigma: float = 0.0) -> None:
        if not sigma >= 0:
            raise InvalidArgumentError(f"sigma is {sigma}; it must be at least 0")
        self.sigma = float(sigma)

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """Measure without noise."""

    def __call__(self, x: Tensor, generator: Chance) -> Tensor:
        """Measure pictures (N, ...)."""
        y = self.A(x)
        return y + self.sigma * normal(y, generator)


class Inpainting(GaussianNoise):
    """A x = mask * x: pixels are seen, or not.

    Parameters
    ----------
    mask : tensor
        Of the shape of a picture, or one that spreads to it; usually 0 and 1.
    sigma : float
        Standard deviation of the noise, also where nothing is seen.
    """

    def __init__(self, mask: Tensor, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        self.mask = mask

    def A(self, x: Tensor) -> Tensor:
        """Measure without noise."""
        return self._mask(x) * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose, which is the operator itself."""
        return self._mask(y) * y

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """Return argmin_x (gamma/2) |A x - y|^2 + (1/2) |x - z|^2, pixel by pixel."""
        mask = self._mask(z)
        return (z + gamma * mask * y) / (1 + gamma * mask**2)

    def _mask(self, x: Tensor) -> Tensor:
        return self.mask.to(x)


class SuperResolution(GaussianNoise):
    """A x = means of blocks of factor x factor pixels, (N, C, H, W) -> (N, C, H / factor, W / factor).

    Parameters
    ----------
    factor : int
        Side of a block; the picture's sides must be multiples.
    sigma : float
        Standard deviation of the noise.
    """

    def __init__(self, factor: int, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        if factor < 1:
            raise InvalidArgumentError(f"factor is {factor}; it must be at least 1")
        self.factor = factor

    def A(self, x: Tensor) -> Tensor:
        """Measure without noise."""
        if x.shape[-1] % self.factor or x.shape[-2] % self.factor:
            raise InvalidArgumentError(f"pictures of {x.shape[-2]} x {x.shape[-1]} don't divide into blocks of {self.factor}")
        return functional.avg_pool2d(x, self.factor)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: every pixel of a block takes its share."""
        return y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2) / self.factor**2

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """Return argmin_x (gamma/2) |A x - y|^2 + (1/2) |x - z|^2. A A^T = I / factor^2, so it moves blocks as a whole."""
        return z + gamma / (1 + gamma / self.factor**2) * self.A_adjoint(y - self.A(z))


class Blur(GaussianNoise):
    """A x = kernel convolved with x, the picture going on at the opposite edge.

    Parameters
    ----------
    kernel : (h, w) tensor
        Odd sides; its middle stays in place.
    sigma : float
        Standard deviation of the noise.
    """

    def __init__(self, kernel: Tensor, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
            raise InvalidArgumentError(f"kernel has shape {tuple(kernel.shape)}; it must be (h, w) with odd sides")
        self.kernel = kernel

    def A(self, x: Tensor) -> Tensor:
        """Measure without noise."""
        return _real(self._response(x) * torch.fft.rfft2(x), x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: convolve with the kernel turned around."""
        return _real(self._response(y).conj() * torch.fft.rfft2(y), y)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """Return argmin_x (gamma/2) |A x - y|^2 + (1/2) |x - z|^2, frequency by frequency."""
        H = self._response(z)
        found = (torch.fft.rfft2(z) + gamma * H.conj() * torch.fft.rfft2(y)) / (1 + gamma * H.abs().square())
        return _real(found, z)

    def _response(self, x: Tensor) -> Tensor:
        """The kernel's transfer function for pictures of that size."""
        height, width = self.kernel.shape
        if height > x.shape[-2] or width > x.shape[-1]:
            raise InvalidArgumentError(f"the kernel, {height} x {width}, is larger than the picture, {tuple(x.shape[-2:])}")
        padded = torch.zeros(x.shape[-2:], dtype=x.dtype, device=x.device)
        padded[:height, :width] = self.kernel.to(padded)
        response: Tensor = torch.fft.rfft2(padded.roll((-(height // 2), -(width // 2)), (0, 1)))
        return response


def _real(spectrum: Tensor, like: Tensor) -> Tensor:
    picture: Tensor = torch.fft.irfft2(spectrum, s=like.shape[-2:])
    return picture


def gaussian_kernel(width: float) -> Tensor:
    """Return a Gaussian kernel of that standard deviation in pixels, cut at three of them, sum 1."""
    reach = max(1, round(3 * width))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / width) ** 2)
    return torch.outer(line, line) / line.sum() ** 2
