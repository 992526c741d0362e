"""Training MATTE, an optimiser step at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import CollapseWarning, InvalidArgumentError
from robust_rl.extras.matte.network import MatteNetwork
from robust_rl.training import check_same_problem, load_arrays, load_torch_arrays, save_arrays, torch_arrays

STATE = "training.safetensors"
FORMAT = "robust-rl matte training"
COLLAPSED = 0.01
"""Nats of a KL term below which its block carries nothing."""
ACTIVE = 0.01
"""Variance of a posterior mean over rows above which a dimension is in use (Burda et al. 2016)."""
MEMORY = {"loss": 0.98, "kl_c": 0.95, "kl_s": 0.95}
"""Of the running means: they are of the last fifty, or twenty, steps or so."""


class MatteTraining:
    """A Trainable whose step is one of Adam, on every parameter of the network.

    Parameters
    ----------
    network
        What to train.
    data
        Rows: vectors (N, d), or token ids (N, T) padded with 0.
    domain
        Number of each row's domain, (N,).

    Attributes
    ----------
    count : int
        Steps done.
    recent : dict
        Running means of ``loss``, ``kl_c`` and ``kl_s``.
    """

    def __init__(self, network: MatteNetwork, data: Tensor, domain: Tensor) -> None:
        self.network, self.data, self.domain = network, data, domain
        self.config, self.count = network.config, 0
        self.generator = torch.Generator().manual_seed(self.config.seed)
        self.optimiser = torch.optim.Adam(network.parameters(), lr=self.config.learning_rate)
        self.recent = {"loss": math.nan, "kl_c": math.nan, "kl_s": math.nan}

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.count >= self.config.steps

    def step(self) -> dict[str, float]:
        """Descend the gradient of one batch's loss.

        Returns
        -------
        dict
            The loss, each of its terms unweighted, and what they are weighted with; ``train/active_c`` and ``active_s``:
            dimensions in use; ``train/open_c``: content dimensions that the mask leaves open.

        Warns
        -----
        CollapseWarning
            At the last step, if a KL term has fallen to nothing.
        """
        rows = torch.randint(len(self.data), (self.config.batch_size,), generator=self.generator)
        style, due = self.count >= self.config.style_from * self.config.steps, self._jacobian_due()
        terms = self.network.terms(self._trimmed(rows), self.domain[rows], self.generator, jacobian=style and due, style=style)
        anneal, penalty, rate = self._anneal(), self._penalty(), self._rate()
        loss = self.network.loss(terms, anneal, penalty)
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.count += 1
        mean = terms.pop("mean").detach()
        numbers = {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}
        self._watch(numbers)
        more = {"gradient_norm": norm.item(), "anneal": anneal, "penalty": penalty, "learning_rate": rate}
        return {f"train/{name}": number for name, number in {**numbers, **more, **self._usage(mean)}.items()}

    def save_checkpoint(self, directory: Path) -> None:
        """Write the network, Adam's moments and the generator."""
        arrays = torch_arrays(network=self.network, optimiser=self.optimiser)
        arrays["generator"] = self.generator.get_state()
        recent = {name: None if math.isnan(value) else value for name, value in self.recent.items()}
        metadata: dict[str, Any] = {"count": self.count, "recent": recent, "problem": self._problem()}
        save_arrays(directory / STATE, arrays, metadata, format=FORMAT)

    def load_checkpoint(self, directory: Path) -> None:
        """Take over what :meth:`save_checkpoint` wrote.

        Raises
        ------
        InvalidArgumentError
            The file is of another training.
        """
        arrays, metadata = load_arrays(directory / STATE, format=FORMAT)
        check_same_problem(metadata["problem"], self._problem())
        self.count = metadata["count"]
        self.recent = {name: math.nan if value is None else value for name, value in metadata["recent"].items()}
        self.generator.set_state(torch.from_numpy(arrays["generator"]))
        load_torch_arrays(arrays, network=self.network, optimiser=self.optimiser)

    def _trimmed(self, rows: Tensor) -> Tensor:
        """Return the batch's rows; of token ids, without the columns that are padding in all of them."""
        data = self.data[rows]
        return data if data.is_floating_point() else data[:, : int((data != 0).sum(1).max())]

    def _jacobian_due(self) -> bool:
        weighted = self.config.w_sparse > 0 or self.config.w_partial > 0
        return weighted and self.count % self.config.jacobian_every == 0

    def _anneal(self) -> float:
        rise, start = self.config.warm_up * self.config.steps, self.config.kl_start
        if self.count >= rise:
            return 1.0
        left = 1 - self.count / rise
        return float(start**left) if self.config.kl_course == "geometric" else 1 - (1 - start) * left

    def _penalty(self) -> float:
        return self._anneal() if self.config.penalty_course == "rise" else 1.0

    def _rate(self) -> float:
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.count / self.config.steps))

    def _usage(self, mean: Tensor) -> dict[str, float]:
        active_c, active_s = self.network.split((mean.var(0, unbiased=False) > ACTIVE)[None])
        return {"active_c": int(active_c.sum()), "active_s": int(active_s.sum()), "open_c": int((self.network.mask() > 0).sum())}

    def _watch(self, numbers: Mapping[str, float]) -> None:
        """Keep running means, and say so at the end if a KL term has collapsed."""
        for name, before in self.recent.items():
            kept = 0.0 if math.isnan(before) else MEMORY[name]
            self.recent[name] = numbers[name] if kept == 0 else kept * before + (1 - kept) * numbers[name]
        if not self.done:
            return
        for name, block in (("kl_c", "content"), ("kl_s", "style")):
            if self.recent[name] < COLLAPSED:
                warnings.warn(
                    f"the posterior of {block} has collapsed: its KL term is {self.recent[name]:.2g} nats, so {block} says "
                    f"nothing of the data; lower beta_{name[-1]}, give free_bits, or raise word_dropout for sentences",
                    CollapseWarning,
                    stacklevel=2,
                )

    def _problem(self) -> dict[str, Any]:
        return asdict(self.config) | {"data": list(self.data.shape), "parameters": _size(self.network)}


def check_domains(domains: int) -> None:
    """Refuse a single domain: the prior's variation over domains is what tells content from style."""
    if domains < 2:
        raise InvalidArgumentError(
            "all rows are of one domain; MATTE needs at least two, since the change of the prior between domains is what "
            "identifies content and style"
        )


def _size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
