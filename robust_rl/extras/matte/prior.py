"""The prior that depends on the domain.

    c~, s~ ~ N(0, I)       c = r_c(c~; u)        s = r_s(s~; c, u)
    log p(c | u)    = log N(r_c^-1(c; u); 0, I)    + log |det d r_c^-1 / dc|
    log p(s | c, u) = log N(r_s^-1(s; c, u); 0, I) + log |det d r_s^-1 / ds|

======  =============  ====================================================
symbol  here           meaning, shape
======  =============  ====================================================
u       domain         number of the domain, (B,)
U(u)    embedding      learned vector of the domain, (B, domain_dim)
c, s    c, s           content (B, dc), style (B, ds)
c~, s~  c_noise, ...   the exogenous noises, as c and s
======  =============  ====================================================

Source: MATTE, arXiv:2402.15309, section 3. The authors' program steps no parameter of its flows and can't invert the conditional
one; here both are trained, and inverted in tests.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.flows import LatentFlow


class DomainPrior(nn.Module):
    """p(c, s | u). See the module for its parts, and :class:`MatteConfig` for what ``prior`` may be."""

    def __init__(self, config: MatteConfig, domains: int) -> None:
        super().__init__()
        self.kind = config.prior
        if self.kind == "standard":
            return
        spline = {"bins": config.bins, "bound": config.bound, "hidden": config.flow_hidden}
        self.embedding = nn.Embedding(domains, config.domain_dim)
        self.flow_c = LatentFlow(config.c_dim, config.domain_dim, **spline)  # type: ignore[arg-type]
        self.flow_s = LatentFlow(config.s_dim, config.c_dim + config.domain_dim, **spline)  # type: ignore[arg-type]

    def content_noise(self, c: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Return c~ and the log-determinant."""
        if self.kind == "standard":
            return c, c.new_zeros(len(c))
        noise, log_det = self.flow_c(c, self._embed(domain))
        return noise, log_det

    def style_noise(self, s: Tensor, c: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Return s~ and the log-determinant."""
        if self.kind == "standard":
            return s, s.new_zeros(len(s))
        noise, log_det = self.flow_s(s, self._context(c, domain))
        return noise, log_det

    def content(self, c_noise: Tensor, domain: Tensor) -> Tensor:
        """Return c = r_c(c~; u)."""
        return c_noise if self.kind == "standard" else self.flow_c.inverse(c_noise, self._embed(domain))

    def style(self, s_noise: Tensor, c: Tensor, domain: Tensor) -> Tensor:
        """Return s = r_s(s~; c, u)."""
        return s_noise if self.kind == "standard" else self.flow_s.inverse(s_noise, self._context(c, domain))

    def _embed(self, domain: Tensor) -> Tensor:
        # "shared" shows every row the same embedding: as many parameters, and no knowledge of the domain.
        found: Tensor = self.embedding(torch.zeros_like(domain) if self.kind == "shared" else domain)
        return found

    def _context(self, c: Tensor, domain: Tensor) -> Tensor:
        return torch.cat([c, self._embed(domain)], dim=-1)


def standard_normal_log_density(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), summed over the last axis."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def normal_log_density(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log N(z; mean, diag exp(log_var)), summed over the last axis."""
    return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + math.log(2 * math.pi)).sum(-1)
