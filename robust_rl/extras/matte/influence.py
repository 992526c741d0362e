"""How much each latent dimension influences what the decoder makes of it, and the penalties on that.

    J = d h / d z,   h at every place of a sentence counting as outputs of its own    (columns, B, n)
    sparse  = sum_{j in s} max(0, mean_B sum_i |J_ij| - free)                         style touches little
    partial = mean_B sum_{i in top_k(style) and bottom_k(content)} sum_{j in c} |J_ij|    content leaves alone what style touches

where top_k(style) are the k outputs of a row that style influences most, and bottom_k(content) those that content influences
least. ``free`` is 0 in the paper. The L1 norm weakens what it thins out, and a style dimension that it
brought to 0 stays there; what may be touched at no cost keeps it alive. With ``scale_free`` column j of J is multiplied by the
standard deviation of z_j over the batch: the prior's flows absorb any rescaling of s, and without it the penalty would fall by
stretching s, with nothing learned.

Where data is discrete, codes lie in clusters, and a derivative inside one doesn't say how many words differ in the next. There a
step as long as the prior is wide does. A row gets the style, or the content, of another row of its domain, and the change of the
output is measured at every place t (the total variation between the distributions of the word), which over a sentence counts the
words that change:

    S_bt = TV(p_t(. | c_b, s_b), p_t(. | c_b, s_b')),    C_bt = TV(p_t(. | c_b, s_b), p_t(. | c_b', s_b))
    sparse  = mean_B max(0, sum_t S_bt - free)           partial = mean_B sum_t S_bt C_bt,  no gradient through S here

The other row is of the same domain, else s could hold what differs within a domain in a form that other domains' content makes
the decoder ignore, at no cost. This option is ours.

Source: MATTE, arXiv:2402.15309, section 4 (relative sparsity, partial intersection); its program takes finite differences,
and adds J up over time before it takes the absolute value, in which effects of opposite sign at two places cancel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

Decode = Callable[[Tensor], Tensor]
"""z (B, d) -> hidden (B, n) or (B, T, n)."""


def jacobian_columns(decode: Decode, z: Tensor, method: str = "forward", step: float = 1e-3) -> Tensor:
    """Return d decode / d z_j for every column j.

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
    Tensor, (d, B, n), or (d, B, T n)
    """
    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, len(z), -1)
    if method == "forward":
        tangents = vmap(lambda tangent: jvp(decode, (z,), (tangent,))[1])(basis)
    else:
        here = decode(z)
        tangents = torch.stack([(decode(z + step * direction) - here) / step for direction in basis])
    columns: Tensor = tangents.flatten(2)
    return columns


def deviation(z: Tensor) -> Tensor:
    """Return the standard deviation of each column; the small term keeps its gradient finite where a column is constant."""
    return (z.var(0, unbiased=False) + 1e-8).sqrt()


def partners(domain: Tensor) -> Tensor:
    """Return for each row the row before it of the same domain, (B,); the first gets the last."""
    found = torch.empty_like(domain)
    for number in domain.unique():
        rows = (domain == number).nonzero()[:, 0]
        found[rows] = rows.roll(1)
    return found


def swapped(c: Tensor, s: Tensor, other: Tensor) -> Tensor:
    """Return codes (3 B, d): as they are, with the content of the rows ``other``, with the style of the rows ``other``."""
    return torch.cat([torch.cat(pair, dim=1) for pair in ((c, s), (c[other], s), (c, s[other]))])


def swap_penalties(columns: Tensor, free: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the terms ``sparse`` and ``partial`` of changes (2, B, n), the content's first."""
    content, style = columns
    return (style.sum(1) - free).clamp(min=0).mean(), (style.detach() * content).sum(1).mean()


def penalties(columns: Tensor, c_dim: int, share: float, free: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the terms ``sparse`` and ``partial`` of columns (d, B, n), the content's first."""
    content, style = columns[:c_dim].abs().sum(0), columns[c_dim:].abs().sum(0)  # (B, n)
    k = max(1, round(share * content.shape[1]))
    most, least = (torch.zeros_like(style, dtype=torch.bool) for _ in range(2))
    most.scatter_(1, style.topk(k).indices, True)
    least.scatter_(1, content.topk(k, largest=False).indices, True)
    touched = columns[c_dim:].abs().mean(1).sum(1)
    return (touched - free).clamp(min=0).sum(), (content * (most & least)).sum(1).mean()
