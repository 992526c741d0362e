"""How much each latent dimension influences what the decoder makes of it, and the penalties on that.

    J = d h / d z,   summed over time where h has it                                  (columns, B, n)
    sparse  = mean_B sum_i sum_{j in s} |J_ij|                                        style touches little: "l1"
            = mean_{j in s} ||mean_B |J_.j| ||_1 / ||mean_B |J_.j| ||_2                  or "ratio"
    partial = mean_B sum_{i in top_k(style) and bottom_k(content)} sum_{j in c} |J_ij|    content leaves alone what style touches

where top_k(style) are the k hidden units that style influences most, and bottom_k(content) those that content influences least,
on average over the batch. With ``scale_free`` column j of J is multiplied by the standard deviation of z_j over the batch: the
prior's flows absorb any rescaling of s, and without it the penalty would fall by stretching s, with nothing learned.

Source: MATTE, arXiv:2402.15309, section 4 (relative sparsity, partial intersection); its program takes finite differences.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

Decode = Callable[[Tensor], Tensor]
"""z (B, d) -> hidden (B, n) or (B, T, n)."""


def jacobian_columns(decode: Decode, z: Tensor, method: str = "forward", step: float = 1e-3) -> Tensor:
    """Return d decode / d z_j, summed over time, for every column j.

    Parameters
    ----------
    decode
        Row b of its output depends on row b of its input alone.
    z
        Where, (B, d).
    method
        ``"forward"`` (exact) or ``"differences"`` (one-sided, by ``step``).

    Returns
    -------
    Tensor, (d, B, n)
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, len(z), -1)
    if method == "forward":
        tangents = vmap(lambda tangent: jvp(decode, (z,), (tangent,))[1])(basis)
    else:
        here = decode(z)
        tangents = torch.stack([(decode(z + step * direction) - here) / step for direction in basis])
    return tangents.sum(2) if tangents.dim() == 4 else tangents


def deviation(z: Tensor) -> Tensor:
    """Return the standard deviation of each column; the small term keeps its gradient finite where a column is constant."""
    return (z.var(0, unbiased=False) + 1e-8).sqrt()


def penalties(columns: Tensor, c_dim: int, share: float, sparsity: str = "l1") -> tuple[Tensor, Tensor]:
    """Return the terms ``sparse`` and ``partial`` of columns (d, B, n), the content's first."""
    content, style = columns[:c_dim].abs().sum(0), columns[c_dim:].abs().sum(0)  # (B, n)
    k = max(1, round(share * content.shape[1]))
    most = torch.zeros(content.shape[1], dtype=torch.bool, device=content.device)
    least = most.clone()
    most[style.mean(0).topk(k).indices] = True
    least[content.mean(0).topk(k, largest=False).indices] = True
    sparse = style.sum(1).mean() if sparsity == "l1" else touched(columns[c_dim:]).mean()
    return sparse, content[:, most & least].sum(1).mean()


def touched(columns: Tensor) -> Tensor:
    """Return the L1 over the L2 norm of each column's mean influence, (d,): from 1, one output touched, to sqrt(n), all alike."""
    influence = columns.abs().mean(1)
    return influence.sum(1) / (influence.square().sum(1) + 1e-8).sqrt()
