"""One softmax attention layer that fills in hidden patches: the model of the theory, on Q and on what Q amounts to.

    x~_q  = M(X)_q + e_q                        M(X)_q = X_q where q is visible, else 0                     tokens
    score(p, q) = e_p^T Q x~_q                  attn_{p->.} = softmax_q score(p, .)                         (1)
    F_p(X; Q)   = sum_q attn_{p->q} M(X)_q                                                                  (2)

Only Q is learned, from 0. The positions e_p are orthonormal and orthogonal to every feature, so that two families of numbers say
all that Q does:

    Phi_{p->v} = e_p^T Q v        Upsilon_{p->q} = e_p^T Q e_q
    score(p, q) = z 1[q visible] Phi_{p->v} + Upsilon_{p->q}          v, z: feature and coefficient of q      (3)

and gradient descent on them (:class:`CorrelationMIM`) is gradient descent on Q (:class:`OneLayerMIM`), step by step.

=======  ===========  ====================================================================
symbol   here         meaning, shape
=======  ===========  ====================================================================
Q        Q            key and query in one, (d + P, d + P); the last P coordinates are e_p
Phi      phi()        feature-position (FP) correlations, (P, K N)
Upsilon  upsilon()    position-position (PP) correlations, (P, P)
F        recon        what is filled in, (B, P, d)
attn     attn         attention, (B, P, P)
=======  ===========  ====================================================================

Source: Huang, Wen, Chi and Liang, arXiv:2403.02233. Whether hidden patches are keys is an option here (``keys``): the theory's
model has them as keys without a feature, a masked autoencoder's encoder never sees them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim.data import SpatialPatchData

KEYS = ("all", "visible")


class OneLayerMIM(nn.Module):
    """The layer on Q.

    Parameters
    ----------
    data
        Says P, d and the features.
    keys
        ``"all"``: every patch is a key, a hidden one by its position alone. ``"visible"``: hidden ones are none.

    Raises
    ------
    InvalidArgumentError
        ``keys`` is neither.
    """

    features: Tensor

    def __init__(self, data: SpatialPatchData, *, keys: str = "all") -> None:
        super().__init__()
        self.keys = _known(keys)
        size = data.dim + data.n_patches
        self.Q = nn.Parameter(torch.zeros(size, size, dtype=data.features.dtype))
        self.register_buffer("features", data.features, persistent=False)
        self.attention = KeySoftmax()

    @property
    def n_patches(self) -> int:
        """P."""
        return len(self.Q) - self.features.shape[1]

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is filled in (B, P, d), and the attention (B, P, P), for patches (B, P, d) and masks (B, P)."""
        shown = x.masked_fill(mask[..., None], 0)
        positions = torch.eye(self.n_patches, dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
        tokens = torch.cat((shown, positions), 2)
        scores = self.Q[x.shape[2] :] @ tokens.transpose(1, 2)  # eq. 1: the rows e_p^T Q
        return _fill_in(self.attention, scores, shown, mask if self.keys == "visible" else None)

    def phi(self) -> Tensor:
        """Return the FP correlations, (P, K N)."""
        dim = self.features.shape[1]
        return self.Q[dim:, :dim] @ self.features.T

    def upsilon(self) -> Tensor:
        """Return the PP correlations, (P, P)."""
        dim = self.features.shape[1]
        return self.Q[dim:, dim:]


class CorrelationMIM(nn.Module):
    """The layer on (Phi, Upsilon); takes and gives the same as :class:`OneLayerMIM`."""

    features: Tensor

    def __init__(self, data: SpatialPatchData, *, keys: str = "all") -> None:
        super().__init__()
        self.keys = _known(keys)
        kind = data.features.dtype
        self.Phi = nn.Parameter(torch.zeros(data.n_patches, len(data.features), dtype=kind))
        self.Upsilon = nn.Parameter(torch.zeros(data.n_patches, data.n_patches, dtype=kind))
        self.register_buffer("features", data.features, persistent=False)
        self.attention = KeySoftmax()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is filled in (B, P, d), and the attention (B, P, P), for patches (B, P, d) and masks (B, P)."""
        shown = x.masked_fill(mask[..., None], 0)
        scores = self.Phi @ (shown @ self.features.T).transpose(1, 2) + self.Upsilon  # eq. 3
        return _fill_in(self.attention, scores, shown, mask if self.keys == "visible" else None)

    def phi(self) -> Tensor:
        """Return the FP correlations, (P, K N)."""
        return self.Phi

    def upsilon(self) -> Tensor:
        """Return the PP correlations, (P, P)."""
        return self.Upsilon


class KeySoftmax(nn.Softmax):
    """Softmax over keys (B, P, P): a module of its own, so that :func:`~robust_rl.extras.mim.capture_attention` can hook it."""

    def __init__(self) -> None:
        super().__init__(dim=-1)


def _fill_in(softmax: KeySoftmax, scores: Tensor, shown: Tensor, no_key: Tensor | None) -> tuple[Tensor, Tensor]:
    if no_key is not None:
        scores = scores.masked_fill(no_key[:, None], -torch.inf)
    attn: Tensor = softmax(scores)
    return attn @ shown, attn  # eq. 2


def _known(keys: str) -> str:
    if keys not in KEYS:
        raise InvalidArgumentError(f'keys is {keys!r}; it must be "all" or "visible"')
    return keys
