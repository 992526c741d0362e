"""What MATTE for vectors and MATTE for sentences share: training, the code of an input, changes of the code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest
from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.network import MatteNetwork
from robust_rl.extras.matte.training import MatteTraining, check_domains
from robust_rl.training import RunDirectory, Trainer

CHUNK = 512
MEASURED = 64
"""Rows on which the influence is measured: its memory is that of rows times dimensions."""


@dataclass(frozen=True)
class Code:
    """Posterior means of inputs, and their noises under the prior of their domain.

    Attributes
    ----------
    c, s
        Content (n, dc) and style (n, ds). c is what the decoder sees, closed dimensions at 0.
    c_noise, s_noise
        c~ and s~, as c and s.
    """

    c: Tensor
    s: Tensor
    c_noise: Tensor
    s_noise: Tensor


class Matte:
    """A fitted or unfitted MATTE; see :class:`VectorMatte` and :class:`TextMatte`.

    Attributes
    ----------
    domains : list of str
        Those that it was fitted to, in the order of their numbers.
    steps_done : int
        Of the fit: fewer than the configuration's if it was interrupted.
    objective : float
        Of the fit: mean of the loss over its last steps; nan before.
    """

    def __init__(self, config: MatteConfig | None = None) -> None:
        self.config = config or MatteConfig()
        self.domains: list[str] = []
        self._influence: dict[str, float] = {}
        self.steps_done, self.objective = 0, math.nan
        self._network: MatteNetwork | None = None

    @property
    def network(self) -> MatteNetwork:
        """The network. Raises InvalidArgumentError before :meth:`fit`."""
        if self._network is None:
            raise InvalidArgumentError(f"this {type(self).__name__} is not fitted; call fit(data), or load a saved one")
        return self._network

    def influence(self) -> dict[str, float]:
        """Return what the assumption of relative sparsity rests on, as the training data shows it.

        Returns
        -------
        dict
            ``style`` and ``content``: mean L1 norm of a Jacobian column of each block, closed content dimensions left out.
            Style's should be the smaller.
        """
        return dict(self._influence)

    def _start(self, names: Sequence[str]) -> Tensor:
        """Take over the domains of the data and return the number of each row's."""
        self.domains = sorted(set(names))
        check_domains(len(self.domains))
        return self._numbers(names)

    def _numbers(self, names: Sequence[str]) -> Tensor:
        for name in dict.fromkeys(names):
            if name not in self.domains:
                raise UnknownNameError(
                    f"unknown domain {name!r}{nearest(str(name), self.domains)}; the model knows {', '.join(self.domains)}"
                )
        return torch.tensor([self.domains.index(name) for name in names])

    def _fit(self, data: Tensor, domain: Tensor, run: RunDirectory | str | None, trainer: dict[str, Any]) -> Self:
        training = MatteTraining(self.network, data, domain)
        Trainer(run, **trainer).fit(training)
        self.steps_done, self.objective = training.count, training.recent["loss"]
        self.network.eval()
        self._influence = self._measure(data[:MEASURED], domain[:MEASURED])
        return self

    @torch.no_grad()
    def _encode(self, data: Tensor, domain: Tensor) -> Code:
        parts = [self._encode_chunk(data[i : i + CHUNK], domain[i : i + CHUNK]) for i in range(0, len(data), CHUNK)]
        return Code(*(torch.cat([getattr(part, name) for part in parts]) for name in ("c", "s", "c_noise", "s_noise")))

    def _encode_chunk(self, data: Tensor, domain: Tensor) -> Code:
        c, s = self.network.split(self.network.encoder(data, domain)[0])
        seen = self.network.mask() * c
        c_noise, _ = self.network.prior.content_noise(c, domain)
        s_noise, _ = self.network.prior.style_noise(s, seen, domain)
        return Code(seen, s, c_noise, s_noise)

    @torch.no_grad()
    def _restyled(self, code: Code, s_noise: Tensor, domain: Tensor) -> Tensor:
        """Return z with content kept and style from another noise."""
        return torch.cat([code.c, self.network.prior.style(s_noise, code.c, domain)], dim=1)

    @torch.no_grad()
    def _moved(self, code: Code, s_noise: Tensor, domain: Tensor) -> Tensor:
        """Return z in another domain, both noises given."""
        seen = self.network.mask() * self.network.prior.content(code.c_noise, domain)
        return torch.cat([seen, self.network.prior.style(s_noise, seen, domain)], dim=1)

    @torch.no_grad()
    def _measure(self, data: Tensor, domain: Tensor) -> dict[str, float]:
        code = self._encode(data, domain)
        z, inputs = torch.cat([code.c, code.s], dim=1), self.network.decoder.inputs(data, None)
        if self.config.influence == "swap":
            content, style = self.network.swaps(z, inputs, domain).sum(2).mean(1).tolist()
            return {"style": style, "content": content}
        columns = self.network.influence(z, inputs).mean(1).sum(1)
        content, style = columns[: self.config.c_dim], columns[self.config.c_dim :]
        opened = content[self.network.mask() > 0]
        return {"style": float(style.mean()), "content": float(opened.mean()) if len(opened) else 0.0}
