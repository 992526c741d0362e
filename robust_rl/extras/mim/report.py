"""What a one-layer model attends to at the end, beside what attending to all patches alike would give."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.data import SpatialPatchData, random_masks
from robust_rl.extras.mim.measures import cosine
from robust_rl.extras.mim.objectives import batch_floor

QUERIES = ("masked", "all")


@dataclass(frozen=True)
class AttentionReport:
    """Shares of attention that fall on *visible* patches, and the masked loss.

    Only patches of whose area something is visible are asked.

    Attributes
    ----------
    own_area
        From patches of a local area to that area.
    to_global
        From the same patches to the global area.
    global_own_area
        From patches of the global area to that area.
    chance_own_area, chance_to_global, chance_global_own_area
        The same shares if every patch attended to all alike.
    cosine
        Mean cosine between the attention rows of two patches: near 1 where all attend alike.
    loss, floor, zero_loss
        The masked loss on the batch, its least possible value, and that of filling in zeros.
    """

    own_area: float
    to_global: float
    global_own_area: float
    chance_own_area: float
    chance_to_global: float
    chance_global_own_area: float
    cosine: float
    loss: float
    floor: float
    zero_loss: float

    def summary(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


@torch.no_grad()
def attention_report(
    model: nn.Module,
    data: SpatialPatchData,
    *,
    queries: str = "masked",
    mask_ratio: float = 0.5,
    batch: int = 512,
    seed: int = 0,
) -> AttentionReport:
    """Measure a model on fresh images.

    Parameters
    ----------
    model
        A :class:`~robust_rl.extras.mim.OneLayerMIM` or :class:`~robust_rl.extras.mim.CorrelationMIM`.
    data
        Where images come from.
    queries
        Whose attention is measured: ``"masked"`` patches, which are what masked autoencoding trains, or ``"all"``, which
        contrastive learning trains alike.
    mask_ratio, batch, seed
        Of the images and masks.

    Raises
    ------
    InvalidArgumentError
        ``queries`` is neither, or ``mask_ratio`` hides none or all.
    """
    if queries not in QUERIES:
        raise InvalidArgumentError(f'queries is {queries!r}; it must be "masked" or "all"')
    generator = torch.Generator().manual_seed(seed)
    images = data.sample(batch, generator)
    x, area = images["x"], images["area"]
    mask = random_masks(batch, data.n_patches, mask_ratio, generator)
    recon, attn = model(x, mask)
    visible = ~mask[:, None]
    own = visible & (area[:, :, None] == area[:, None])  # (B, P, P): key in the query's area
    in_global = visible & (area == 0)[:, None].expand_as(own)
    asked = own.any(2) & (mask if queries == "masked" else torch.ones_like(mask))
    local_asked, global_asked = asked & (area != 0), asked & (area == 0)
    uniform = torch.full_like(attn, 1 / data.n_patches)
    hidden = mask[..., None]
    return AttentionReport(
        own_area=_share(attn, own, local_asked),
        to_global=_share(attn, in_global, local_asked),
        global_own_area=_share(attn, own, global_asked),
        chance_own_area=_share(uniform, own, local_asked),
        chance_to_global=_share(uniform, in_global, local_asked),
        chance_global_own_area=_share(uniform, own, global_asked),
        cosine=cosine(attn.double()).mean().item(),
        loss=float(0.5 * (recon - x).masked_fill(~hidden, 0).square().sum() / batch),
        floor=batch_floor(images, mask),
        zero_loss=float(0.5 * x.masked_fill(~hidden, 0).square().sum() / batch),
    )


def _share(attn: Tensor, keys: Tensor, asked: Tensor) -> float:
    """Return how much attention falls on the keys (B, P, P), mean over the queries asked (B, P)."""
    return (attn * keys).sum(2)[asked].mean().item()
