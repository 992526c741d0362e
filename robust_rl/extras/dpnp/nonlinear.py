"""The paper's two nonlinear measurements, on [-1, 1]: coded amplitudes, and one bit for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance
from robust_rl.extras.dpnp.operators import PIXEL_RANGE, GaussianNoise


class CodedPhaseRetrieval(GaussianNoise):
    """A(x) = |F(pad(mask * x))|: amplitudes of the orthonormal Fourier transform of the coded, padded picture.

    (N, C, H, W) -> (N, M C, H + 2 padding, W + 2 padding) for M masks. Amplitudes of x and -x are the same, in each channel.

    Parameters
    ----------
    masks : (M, H, W) tensor
        See :func:`coded_masks`.
    padding : int
        Zeros on each side; H / 2 doubles the sampling in both directions.
    sigma : float
        Standard deviation of the noise, added to the amplitudes.

    Examples
    --------
    >>> physics = CodedPhaseRetrieval(coded_masks((8, 8), torch.Generator().manual_seed(0)), padding=4, sigma=0.1)
    >>> x = torch.rand(2, 1, 8, 8)
    >>> physics.A(x).shape, torch.equal(physics.A(x), physics.A(-x))
    (torch.Size([2, 1, 16, 16]), True)
    """

    def __init__(self, masks: Tensor, padding: int, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        if masks.ndim != 3 or padding < 0:
            raise InvalidArgumentError(f"masks {tuple(masks.shape)} must be (M, H, W), and padding {padding} at least 0")
        self.masks, self.padding = masks, padding

    def A(self, x: Tensor) -> Tensor:
        """Measure without noise. At amplitude 0 the gradient is 0."""
        if x.shape[-2:] != self.masks.shape[1:]:
            raise InvalidArgumentError(f"pictures of {tuple(x.shape[-2:])} don't fit masks of {tuple(self.masks.shape[1:])}")
        coded = (self.masks.to(x)[:, None] * x[:, None]).flatten(1, 2)
        spectrum: Tensor = torch.fft.fft2(functional.pad(coded, [self.padding] * 4), norm="ortho")
        return spectrum.abs()


def coded_masks(
    size: tuple[int, int], generator: torch.Generator, *, count: int = 1, seen: float = 0.25, signs: tuple[int, int] = (-1, 1)
) -> Tensor:
    """Draw (count, *size) masks: a pixel is coded by either sign with probability ``seen`` / 2 each, and blocked otherwise.

    ``seen=0.25`` and one mask are the paper's setting.
    """
    if not 0 < seen <= 1 or count < 1:
        raise InvalidArgumentError(f"seen is {seen} and count {count}; they must be in (0, 1] and at least 1")
    dice = torch.rand((count, *size), generator=generator, dtype=torch.float64)
    return torch.where(dice < seen / 2, float(signs[0]), torch.where(dice < seen, float(signs[1]), 0.0))


class QuantizedSensing:
    """One bit for each pixel, with logistic dither: P(y = 1 | x) = 1 / (1 + exp(-x / dither)), y in {-1, 1}.

    Parameters
    ----------
    dither : float
        Above 0; 0.4 in the paper.
    """

    pixel_range = PIXEL_RANGE

    def __init__(self, dither: float = 0.4) -> None:
        if not dither > 0:
            raise InvalidArgumentError(f"dither is {dither}; it must be above 0")
        self.dither = float(dither)

    def A(self, x: Tensor) -> Tensor:
        """Return the mean of y."""
        return torch.tanh(x / (2 * self.dither))

    def __call__(self, x: Tensor, generator: Chance) -> Tensor:
        """Measure pictures (N, ...)."""
        generators = [generator] if isinstance(generator, torch.Generator) else list(generator)
        dice = torch.cat([torch.rand(part.shape, generator=one) for one, part in zip(generators, x.chunk(len(generators)))])
        return torch.where(dice.to(x) < torch.sigmoid(x / self.dither), 1.0, -1.0).to(x)

    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """Return -sum log(1 + exp(-y x / dither)) of each picture, (N,)."""
        return functional.logsigmoid(y * x / self.dither).flatten(1).sum(1)
