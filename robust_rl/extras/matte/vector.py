"""MATTE for vectors: networks of two hidden layers in place of the LSTMs, the same objective.

Here identification can be measured, since synthetic data tells the true c and s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.interventions import intervene
from robust_rl.extras.matte.model import Code, Matte
from robust_rl.extras.matte.network import MatteNetwork
from robust_rl.training import RunDirectory

Array = NDArray[np.float64]


class VectorEncoder(nn.Module):
    """(x, u) -> mean and log-variance of z."""

    def __init__(self, config: MatteConfig, dim: int, domains: int) -> None:
        super().__init__()
        self.domains = domains
        self.layers = _layers(dim + domains, config.enc_hidden, 2 * (config.c_dim + config.s_dim))

    def forward(self, data: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance."""
        told = nn.functional.one_hot(domain, self.domains).to(data)
        mean, log_var = self.layers(torch.cat([data, told], dim=1)).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)


class VectorDecoder(nn.Module):
    """z -> the mean of x, whose deviation is learned, one for each dimension."""

    def __init__(self, config: MatteConfig, dim: int) -> None:
        super().__init__()
        self.layers = _layers(config.c_dim + config.s_dim, config.dec_hidden, dim)
        self.log_deviation = nn.Parameter(torch.zeros(dim))

    def inputs(self, data: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return nothing to read beside z."""
        return data[:, :0]

    def hidden(self, z: Tensor, inputs: Tensor) -> Tensor:
        """Return the mean of x."""
        found: Tensor = self.layers(z)
        return found

    def distance(self, hidden: Tensor, other: Tensor) -> Tensor:
        """Return by how much each value differs, (B, n)."""
        return (hidden - other).abs()

    def negative_log_likelihood(self, hidden: Tensor, data: Tensor) -> Tensor:
        """Return -log N(x; mean, deviation) of each row."""
        log_deviation = self.log_deviation.clamp(min=-4)
        error = (data - hidden) * (-log_deviation).exp()
        return (0.5 * error.square() + log_deviation + 0.5 * math.log(2 * math.pi)).sum(1)


class VectorMatte(Matte):
    """MATTE for continuous data.

    Parameters
    ----------
    config
        Sizes, weights and the course of training. Of the sizes, ``embedding`` and those of words don't count here.

    Examples
    --------
    >>> from robust_rl.extras.matte import MatteConfig, VectorMatte, synthetic_vectors
    >>> data = synthetic_vectors(200, seed=0)
    >>> model = VectorMatte(MatteConfig(c_dim=3, s_dim=2, enc_hidden=16, dec_hidden=16, steps=5))
    >>> model.fit(data.x, data.domain).encode(data.x[:4], data.domain[:4]).c.shape
    torch.Size([4, 3])
    """

    def fit(self, x: ArrayLike, domain: Sequence[Any], *, run: RunDirectory | str | None = None, **trainer: Any) -> Self:
        """Train on vectors.

        Parameters
        ----------
        x
            (n, d); standardised inside.
        domain
            Name or number of each row's domain, (n,).
        run
            Where to log, save and resume: see :class:`~robust_rl.training.Trainer`, whose further arguments are taken too.

        Raises
        ------
        InvalidArgumentError
            Rows don't fit, aren't finite, or are of one domain.
        """
        rows = np.asarray(x, dtype=np.float64)
        _check(rows, domain)
        number = self._start([str(name) for name in domain])
        self.mean, self.deviation = rows.mean(0), rows.std(0) + 1e-8
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            encoder = VectorEncoder(self.config, rows.shape[1], len(self.domains))
            self._network = MatteNetwork(self.config, len(self.domains), encoder, VectorDecoder(self.config, rows.shape[1]))
        return self._fit(self._standardised(rows), number, run, trainer)

    def encode(self, x: ArrayLike, domain: Sequence[Any]) -> Code:
        """Return content, style and their noises.

        Raises
        ------
        UnknownNameError
            A domain is none of those that it was fitted to.
        """
        rows = np.asarray(x, dtype=np.float64)
        _check(rows, domain)
        return self._encode(self._standardised(rows), self._numbers([str(name) for name in domain]))

    def counterfactual(
        self,
        x: ArrayLike,
        domain: Sequence[Any],
        *,
        to: Code | None = None,
        source: Code | None = None,
        to_domain: Any = None,
        direction: str = "prototype",
        strength: float = 1.0,
    ) -> Array:
        """Return what the rows would be in another style, another domain, or both; see :func:`intervene`.

        Parameters
        ----------
        x, domain
            As for :meth:`encode`.
        to, source
            Codes of examples of the style that is wanted, and of the one to leave (default: of the rows themselves).
        to_domain
            Another domain, in which content and style take their noises with them.
        direction, strength
            Of the intervention on style's noise.

        Returns
        -------
        array (n, d)
        """
        code = self.encode(x, domain)
        noise = code.s_noise
        if to is not None:
            noise = intervene(noise, to.s_noise, (source or code).s_noise, direction=direction, strength=strength)
        if to_domain is None:
            return self.decode(self._restyled(code, noise, self._numbers([str(name) for name in domain])))
        return self.decode(self._moved(code, noise, self._numbers([str(to_domain)] * len(noise))))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Array:
        """Return the mean of x given z = [c, s], (n, d)."""
        found: Array = self.network.decoder.layers(z).double().numpy() * self.deviation + self.mean
        return found

    def _standardised(self, rows: Array) -> Tensor:
        return torch.from_numpy((rows - self.mean) / self.deviation).float()


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def _check(rows: Array, domain: Sequence[Any]) -> None:
    if rows.ndim != 2 or len(rows) == 0 or len(rows) != len(domain):
        raise InvalidArgumentError(f"x has shape {rows.shape} for {len(domain)} domains; give (n, d) and n domains, n at least 1")
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise InvalidArgumentError(f"x[{bad[0]}] is not finite; leave such rows out")
