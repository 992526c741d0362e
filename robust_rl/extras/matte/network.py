"""The model and its objective: a variational autoencoder with a divided code and a prior that depends on the domain.

    q(z | x, u) = N(mu, diag exp(log_var)),   z = [c, s],   c_seen = m * c
    KL_c = log q(c | x, u) - log p(c | u)            KL_s = log q(s | x, u) - log p(s | c_seen, u)
    loss = mean_B [ -log p(x | c_seen, s) + beta_c KL_c + beta_s KL_s ]
           + w_sparse L_sparse + w_partial L_partial + w_mask mean |importance|

with one sample of z a row. m = importance * 1[importance > 0.1] closes content dimensions that the decoder does without.

======  ===========  ==========================================
symbol  here         meaning, shape
======  ===========  ==========================================
x       data         vectors (B, d) or token ids (B, T)
u       domain       number of the domain, (B,)
c, s    z            content first, (B, dc + ds)
m       mask()       what the decoder sees of content, (dc,)
h       hidden       decoder's hidden states (B, T, n), or its output (B, n) for vectors
======  ===========  ==========================================

Source: MATTE, arXiv:2402.15309. Where the authors' program departs from the paper, the paper is followed: log q(c) is taken at c
before the mask, KL_s sees u, both flows are trained.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.influence import deviation, jacobian_columns, partners, penalties, swap_penalties, swapped
from robust_rl.extras.matte.prior import DomainPrior, normal_log_density, standard_normal_log_density

OPEN = 0.1
"""Importance above which a content dimension is open."""


class Decoder(Protocol):
    """A module that turns z into hidden states, and those into the likelihood of the data."""

    def inputs(self, data: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return what it reads beside z, rows first; a generator hides words."""
        ...

    def hidden(self, z: Tensor, inputs: Tensor) -> Tensor:
        """Return h, (B, n) or (B, T, n)."""
        ...

    def negative_log_likelihood(self, hidden: Tensor, data: Tensor) -> Tensor:
        """Return -log p(x | z) of each row, (B,)."""
        ...

    def distance(self, hidden: Tensor, other: Tensor) -> Tensor:
        """Return how far apart what two hidden states say is at each place, (B, n) or (B, T)."""
        ...


class MatteNetwork(nn.Module):
    """Encoder, decoder, prior and mask; see the module for the objective.

    Parameters
    ----------
    config
        Weights and sizes.
    domains
        Number of domains.
    encoder
        A module, (data, domain) -> mean and logarithm of the variance of z, (B, dc + ds) each.
    decoder
        A module that is a :class:`Decoder`.
    """

    def __init__(self, config: MatteConfig, domains: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder: Any = encoder
        self.decoder: Any = decoder
        self.prior = DomainPrior(config, domains)
        self.importance = nn.Parameter(torch.ones(config.c_dim))

    def mask(self) -> Tensor:
        """Return m, (dc,)."""
        return self.importance * (self.importance > OPEN)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return c and s."""
        return z[:, : self.config.c_dim], z[:, self.config.c_dim :]

    def terms(
        self, data: Tensor, domain: Tensor, generator: torch.Generator, *, jacobian: bool = True, style: bool = True
    ) -> dict[str, Tensor]:
        """Return each term of the loss, unweighted, and ``mean``, the posterior's mean of each row.

        Without ``jacobian`` the terms ``sparse`` and ``partial`` are left out; without ``style`` the decoder sees zeros for it.
        """
        mean, log_var = self.encoder(data, domain)
        z = mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=generator).to(mean)
        c, s = self.split(z)
        seen = self.mask() * c
        kl_c, kl_s = self.kl(c, s, seen, domain, mean, log_var)
        inputs, code = self.decoder.inputs(data, generator), torch.cat([seen, s if style else torch.zeros_like(s)], dim=1)
        hidden = self.decoder.hidden(code, inputs)
        found = {
            "reconstruction": self.decoder.negative_log_likelihood(hidden, data).mean(),
            "kl_c": kl_c.mean(),
            "kl_s": kl_s.mean(),
            "mask": self.importance.abs().mean(),
            "mean": mean,
        }
        return found | (self.penalties(code, inputs, domain) if jacobian else {})

    def kl(self, c: Tensor, s: Tensor, seen: Tensor, domain: Tensor, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two KL terms of each row, by the sample at hand."""
        (mean_c, mean_s), (log_var_c, log_var_s) = self.split(mean), self.split(log_var)
        c_noise, log_det_c = self.prior.content_noise(c, domain)
        s_noise, log_det_s = self.prior.style_noise(s, seen, domain)
        kl_c = normal_log_density(c, mean_c, log_var_c) - standard_normal_log_density(c_noise) - log_det_c
        kl_s = normal_log_density(s, mean_s, log_var_s) - standard_normal_log_density(s_noise) - log_det_s
        return kl_c, kl_s

    def influence(self, code: Tensor, inputs: Tensor) -> Tensor:
        """Return |J| by column of the code, (dc + ds, B, outputs), in the units that the configuration says."""
        columns = jacobian_columns(lambda z: self.decoder.hidden(z, inputs), code, self.config.jacobian)
        return (columns * deviation(code)[:, None, None] if self.config.scale_free else columns).abs()

    def swaps(self, code: Tensor, inputs: Tensor, domain: Tensor) -> Tensor:
        """Return how much each output changes with the content, and with the style, of another row: (2, B, outputs)."""
        here, *changed = self.decoder.hidden(swapped(*self.split(code), partners(domain)), inputs.repeat(3, 1)).chunk(3)
        return torch.stack([self.decoder.distance(here, one) for one in changed])

    def penalties(self, code: Tensor, inputs: Tensor, domain: Tensor) -> dict[str, Tensor]:
        """Return the terms ``sparse`` and ``partial``."""
        rows = max(2, math.ceil(self.config.jacobian_fraction * len(code)))
        if self.config.influence == "swap":
            sparse, partial = swap_penalties(self.swaps(code[:rows], inputs[:rows], domain[:rows]), self.config.free_influence)
            return {"sparse": sparse, "partial": partial}
        columns = self.influence(code[:rows], inputs[:rows])
        sparse, partial = penalties(columns, self.config.c_dim, self.config.partial_share, self.config.free_influence)
        return {"sparse": sparse, "partial": partial}

    def loss(self, terms: dict[str, Tensor], anneal: float, penalty: float) -> Tensor:
        """Return the weighted sum of the terms, the KL terms times ``anneal`` and the Jacobian's times ``penalty``."""
        config = self.config
        kl_c, kl_s = terms["kl_c"], terms["kl_s"]
        if config.free_bits:  # else a sample below 0 must still move the prior
            kl_c, kl_s = kl_c.clamp(min=config.free_bits), kl_s.clamp(min=config.free_bits)
        loss = terms["reconstruction"] + anneal * (config.beta_c * kl_c + config.beta_s * kl_s) + config.w_mask * terms["mask"]
        if "sparse" in terms:
            influence = config.w_sparse * terms["sparse"] + config.w_partial * terms["partial"]
            loss = loss + penalty * config.jacobian_every * influence
        return loss
