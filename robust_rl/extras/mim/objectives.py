"""The two losses that the theory compares: filling in what is hidden, and telling images apart.

Masked autoencoding, with a random mask M for each image:

    L(Q) = 1/2 E sum_{p in M} || F_p(X; Q) - X_p ||^2                                                        (4)

Its least value is not 0: hidden patches whose whole area is hidden can't be known, 1/2 E sum_{p in M} z^2 1[area all hidden] (5).

Contrastive learning, with the average over patches F_cl(X) = 1/P sum_p F_p as representation, two masked views a, b of each
image, and the other images of the batch as negatives (InfoNCE at temperature tau):

    L(Q) = - E log [ exp(<a_i, b_i> / tau) / sum_j exp(<a_i, b_j> / tau) ]                                   (6)

Source: Huang, Wen, Chi and Liang, arXiv:2403.02233 (the contrastive half: version 3). How the two views are masked, and that no
gradient flows through b, are our choices, and options.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.data import Patches, all_hidden, random_masks

VIEWS = ("complementary", "independent")


class Objective(Protocol):
    """A loss on a batch, and numbers to log beside it."""

    def __call__(self, model: nn.Module, batch: Patches, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss, (), and numbers by name."""
        ...


@dataclass(frozen=True)
class MIMObjective:
    """Eq. 4, with its floor and what filling in zeros would cost on the same batch.

    Attributes
    ----------
    mask_ratio
        Share of the patches that are hidden.
    """

    mask_ratio: float = 0.5
    USUAL: ClassVar[tuple[float, int]] = (1.0, 800)
    """Learning rate, and the number of steps that bring 36 patches to their end."""

    def __call__(self, model: nn.Module, batch: Patches, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss, and ``floor`` and ``zero_loss``."""
        x = batch["x"]
        mask = random_masks(len(x), x.shape[1], self.mask_ratio, generator)
        recon, _ = model(x, mask)
        hidden = mask[..., None]
        loss = 0.5 * (recon - x).masked_fill(~hidden, 0).square().sum() / len(x)  # eq. 4
        zero_loss = 0.5 * x.masked_fill(~hidden, 0).square().sum() / len(x)
        return loss, {"floor": batch_floor(batch, mask), "zero_loss": zero_loss.item()}


@dataclass(frozen=True)
class ContrastiveObjective:
    """Eq. 6.

    Attributes
    ----------
    mask_ratio
        Share of the patches that the first view hides.
    views
        ``"complementary"``: the second view hides what the first shows. ``"independent"``: it hides as many, drawn anew.
    temperature
        tau.
    detach
        Whether the second view is a constant.

    Raises
    ------
    InvalidArgumentError
        An option is out of range.
    """

    mask_ratio: float = 0.5
    views: str = "complementary"
    temperature: float = 1.0
    detach: bool = True
    USUAL: ClassVar[tuple[float, int]] = (50.0, 600)

    def __post_init__(self) -> None:
        if self.views not in VIEWS:
            raise InvalidArgumentError(f'views is {self.views!r}; it must be "complementary" or "independent"')
        if not 0 < self.temperature < math.inf:
            raise InvalidArgumentError(f"temperature is {self.temperature}; it must be above 0")

    def __call__(self, model: nn.Module, batch: Patches, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss, and the share of images whose second view is told from the others' (``accuracy``)."""
        x = batch["x"]
        mask = random_masks(len(x), x.shape[1], self.mask_ratio, generator)
        other = ~mask if self.views == "complementary" else random_masks(len(x), x.shape[1], self.mask_ratio, generator)
        first, second = (model(x, m)[0].mean(1) for m in (mask, other))
        similarity = first @ (second.detach() if self.detach else second).T / self.temperature
        target = torch.arange(len(x))
        accuracy = similarity.argmax(1).eq(target).double().mean().item()
        return cross_entropy(similarity, target), {"accuracy": accuracy}  # eq. 6


def batch_floor(batch: Patches, mask: Tensor) -> float:
    """Return eq. 5 on a batch, for masks (B, P)."""
    area, z = batch["area"], batch["z"]
    unknown = mask & all_hidden(area, mask, z.shape[1]).gather(1, area)
    return float(0.5 * (z.gather(1, area).square() * unknown).sum() / len(z))
