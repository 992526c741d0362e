"""Fitting the kernels, one layer after the other, so that a layer's output with its policy comes near that of full attention.

For each layer: q, k, v and the output O = W_o a of the full model are recorded on some sequences, and the policy is played
through them. With lifetime_j the step at which token j is gone (history.py), the kernels minimise

    mean_i || W_o a'_i - O_i ||^2 / the same of the policy alone,         positions i >= budget
    a'_i = [ sum_{j: lifetime_j <= i} phi(q_i) psi(k_j)^T v_j + sum_{j seen} e_ij v_j ]  /  [ the same sums without v_j ]

by Adam; the rate is halved from time to time, and the epoch that does best on sequences held out is kept. The model does not
change, and layers don't know of each other. A loss of 1 is the policy alone.

Queries go in blocks, whose gradients add up, so that memory grows with the length of a sequence and not its square: psi is
computed once a sequence and its gradient is gathered over the blocks.

Source: Dong et al., arXiv:2402.09398, and the authors' code for the settings: 40 epochs, 2 sequences a step, rate 1e-3 halved
every 10 epochs, dropout 0.3 before the first GELU of both networks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.attention import BLOCK, mix, weigh, weigh_groups
from robust_rl.extras.less.capture import Captured, capture
from robust_rl.extras.less.context import check_model
from robust_rl.extras.less.history import play
from robust_rl.extras.less.kernels import LayerKernels, LessKernels
from robust_rl.extras.less.policies import Policy
from robust_rl.training import (
    RunDirectory,
    Trainer,
    check_same_problem,
    load_arrays,
    load_torch_arrays,
    save_arrays,
    torch_arrays,
)

FILE = "less.safetensors"
SEQUENCES = 8
"""Recorded at a time."""


@dataclass(frozen=True)
class LayerData:
    """What fitting one layer needs, for N sequences; see :class:`Captured` and :class:`History` for the tensors."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    lifetime: Tensor
    sparse: Tensor
    log_sum: Tensor

    @classmethod
    def of(cls, batches: Sequence[Captured], policy: Policy) -> LayerData:
        """Play a policy through what was recorded."""
        parts = []
        for one in batches:
            history = play(policy, one.query, one.key, one.value, one.scaling)
            parts.append((one.query, one.key, one.value, one.output, history.lifetime, history.sparse, history.log_sum))
        return cls(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def take(self, rows: Any) -> LayerData:
        """Return some sequences."""
        return LayerData(*(getattr(self, field.name)[rows] for field in fields(self)))


def squared_errors(
    data: LayerData,
    projection: Any,
    kernels: LayerKernels | None,
    first: int,
    psi: Tensor | None = None,
    drop: Callable[[Tensor], Tensor] = lambda hidden: hidden,
) -> Iterator[Tensor]:
    """Yield the sum of squares of W_o a' - O over blocks of queries from position ``first`` on; no kernels: the policy alone."""
    if kernels is not None and psi is None:
        psi = kernels.psi(data.key)
    for start in range(first, data.query.shape[2], BLOCK):
        stop = min(start + BLOCK, data.query.shape[2])
        heads = data.sparse[:, :, start:stop]
        if kernels is not None and psi is not None:
            heads = _with_state(data, kernels, psi, start, stop, drop)
        wrong = heads.transpose(1, 2).flatten(2) - data.output[:, start:stop]
        yield _linear(projection, wrong).square().sum()


def _with_state(
    data: LayerData, kernels: LayerKernels, psi: Tensor, start: int, stop: int, drop: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return a' for queries from ``start`` to ``stop``, (B, H, b, D)."""
    phi = kernels.phi(data.query[:, :, start:stop], drop).unflatten(1, (psi.shape[1], -1))
    steps = torch.arange(start, stop, device=psi.device)
    gone = data.lifetime[:, :, None, :stop] <= steps[:, None]
    weights = weigh_groups(phi, psi[:, :, :stop].transpose(2, 3)).masked_fill(~gone[:, :, None], 0)
    z = weights.sum(-1, keepdim=True).flatten(1, 2)
    return mix(data.sparse[:, :, start:stop], data.log_sum[:, :, start:stop], weigh(weights, data.value[:, :, :stop]), z)


def _linear(projection: Any, difference: Tensor) -> Tensor:
    """Return W_o times a difference, in which the bias cancels."""
    return projection(difference) - projection(torch.zeros_like(difference[:1, :1]))  # type: ignore[no-any-return]


class LessFit:
    """The fit of a model's kernels: a :class:`~robust_rl.training.Trainable`, one optimiser step of one layer a step.

    Parameters
    ----------
    kernels
        Fitted in place, on the model's device.
    model
        Not changed; in evaluation mode.
    tokens
        Token ids (N, S), N >= 2 sequences without padding, longer than the policy's budget.
    policy
        What the cache keeps. Kernels are best at the budget they were fitted for.
    epochs, batch_size, learning_rate, halve_every, dropout
        As in the paper; ``halve_every`` counts epochs.
    held_out
        Share of the sequences, the last ones, that choose the epoch: at least one.
    seed
        Of the order of sequences and of dropout.
    layers_at_once
        Layers that are recorded in one pass of the model: more take more memory, and less time. The result is the same.

    Raises
    ------
    InvalidArgumentError
        An argument is out of range, or LESS can't serve the model.
    """

    def __init__(
        self,
        kernels: LessKernels,
        model: Any,
        tokens: Tensor,
        policy: Policy,
        *,
        epochs: int = 40,
        batch_size: int = 2,
        learning_rate: float = 1e-3,
        halve_every: int = 10,
        dropout: float = 0.3,
        held_out: float = 0.1,
        seed: int = 0,
        layers_at_once: int = 1,
    ) -> None:
        check_model(model)
        kernels.check_fits(model.config)
        counts = {"epochs": epochs, "batch_size": batch_size, "halve_every": halve_every, "layers_at_once": layers_at_once}
        _check(tokens, policy, counts, {"dropout": dropout, "held_out": held_out}, learning_rate)
        self.kernels, self.model, self.policy = kernels.to(model.device), model, policy
        self.tokens = tokens.to(model.device)
        self.epochs, self.batch_size, self.halve_every, self.dropout = epochs, batch_size, halve_every, dropout
        self.learning_rate, self.seed = learning_rate, seed
        self.train = len(tokens) - max(1, round(held_out * len(tokens)))
        self.generator = torch.Generator(device=model.device).manual_seed(seed)
        self.turn = self.epoch = self.batch = 0
        self.order = torch.zeros(0, dtype=torch.long)
        self.layers_at_once = layers_at_once
        self._captured: dict[int, list[Captured]] = {}
        self._data: Any = None
        self.best: dict[str, Tensor] = {}
        self._begin_layer()

    @property
    def done(self) -> bool:
        """Whether all layers are fitted."""
        return self.turn >= len(self.kernels.layers)

    @property
    def steps(self) -> int:
        """Number of steps of the whole fit."""
        return len(self.kernels.layers) * self.epochs * math.ceil(self.train / self.batch_size)

    def step(self) -> Mapping[str, float]:
        """Take one optimiser step; after an epoch's last one also see how the layer does on the sequences held out."""
        if self._data is None:
            self._record()
        if self.batch == 0:
            self.order = torch.randperm(self.train, generator=self.generator, device=self.generator.device)
        rows = self.order[self.batch * self.batch_size :][: self.batch_size]
        numbers = {"fit/layer": float(self.kernels.layers[self.turn]), "train/loss": self._descend(self._data.take(rows))}
        self.batch += 1
        if self.batch * self.batch_size >= self.train:
            numbers |= {"eval/loss": self._end_epoch()}
        return numbers

    def save_checkpoint(self, directory: Path) -> None:
        """Write all kernels, the best ones of the present layer, Adam's moments and the generator."""
        arrays = torch_arrays(kernels=self.kernels, adam=self.optimiser)
        arrays |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        arrays |= {"order": self.order, "generator": self.generator.get_state()}
        counters = {"turn": self.turn, "epoch": self.epoch, "batch": self.batch, "best": repr(self.best_loss)}
        save_arrays(directory / FILE, {name: tensor.cpu() for name, tensor in arrays.items()}, self._problem() | counters)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another fit."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem())
        tensors = {name: torch.from_numpy(array).to(self.tokens.device) for name, array in arrays.items()}
        self.generator.set_state(tensors.pop("generator").cpu())
        self.order = tensors.pop("order")
        load_torch_arrays(tensors, kernels=self.kernels)
        self.turn, self.epoch, self.batch = state["turn"], state["epoch"], state["batch"]
        self._begin_layer()
        self.best = {n.removeprefix("best."): t for n, t in tensors.items() if n.startswith("best.")}
        self.best_loss = float(state["best"])
        load_torch_arrays(arrays, adam=self.optimiser)

    def _begin_layer(self) -> None:
        """Turn to the next layer, with fresh moments."""
        self._data, self.best, self.best_loss = None, {}, math.inf
        if not self.done:
            self.layer: LayerKernels = self.kernels.of(self.kernels.layers[self.turn])
            self.optimiser = torch.optim.Adam(self.layer.parameters(), lr=self.learning_rate)

    def _record(self) -> None:
        layer = self.kernels.layers[self.turn]
        if layer not in self._captured:
            group = self.kernels.layers[self.turn :][: self.layers_at_once]
            batches = [capture(self.model, batch, group) for batch in self.tokens.split(SEQUENCES)]
            self._captured = {i: [batch[i] for batch in batches] for i in group}
        captured = self._captured.pop(layer)
        self._data, self._projection = LayerData.of(captured, self.policy), captured[0].projection
        with torch.no_grad():
            self._unit = self._mean(self._data.take(slice(self.train)), None)
            self._eval_unit = self._mean(self._data.take(slice(self.train, None)), None)

    def _mean(self, data: LayerData, kernels: LayerKernels | None) -> float:
        """Return the mean over sequences of the summed squared errors; never 0, so that it can divide."""
        errors = [
            float(sum(squared_errors(data.take(slice(i, i + 1)), self._projection, kernels, self.policy.budget)))
            for i in range(len(data.query))
        ]
        return max(sum(errors) / len(errors), torch.finfo(torch.float32).tiny)

    def _descend(self, data: LayerData) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate * 0.5 ** (self.epoch // self.halve_every)
        self.optimiser.zero_grad()
        psi = self.layer.psi(data.key, self._drop)
        leaf, total = psi.detach().requires_grad_(), 0.0
        for error in squared_errors(data, self._projection, self.layer, self.policy.budget, leaf, self._drop):
            loss = error / (self._unit * len(data.query))
            loss.backward()  # adds to the gradients of phi's matrices and of the leaf
            total += loss.item()
        psi.backward(leaf.grad)
        self.optimiser.step()
        return total

    def _drop(self, hidden: Tensor) -> Tensor:
        if self.dropout == 0:
            return hidden
        keep = torch.rand(hidden.shape, generator=self.generator, device=hidden.device, dtype=hidden.dtype) >= self.dropout
        return hidden * keep / (1 - self.dropout)

    def _end_epoch(self) -> float:
        with torch.no_grad():
            loss = self._mean(self._data.take(slice(self.train, None)), self.layer) / self._eval_unit
        if loss < self.best_loss:
            self.best_loss, self.best = loss, {name: tensor.clone() for name, tensor in self.layer.state_dict().items()}
        self.epoch, self.batch = self.epoch + 1, 0
        if self.epoch == self.epochs:
            self.layer.load_state_dict(self.best or self.layer.state_dict())  # none is best if all were nan
            self.turn, self.epoch = self.turn + 1, 0
            self._begin_layer()
        return loss

    def _problem(self) -> dict[str, Any]:
        """Return what must be the same after a restart."""
        return {
            "policy": repr(self.policy),
            "sizes": {**asdict(self.kernels.geometry), "rank": self.kernels.rank, "hidden": self.kernels.hidden},
            "with_kernels": self.kernels.layers,
            "sequences": [*self.tokens.shape, int(self.tokens.sum())],
            "settings": [
                self.epochs, self.batch_size, self.learning_rate, self.halve_every, self.dropout, self.train, self.seed,
            ],
        }  # fmt: skip


def fit_less(
    kernels: LessKernels,
    model: Any,
    tokens: Tensor,
    policy: Policy,
    *,
    run: RunDirectory | str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: bool = False,
    **settings: Any,
) -> LessKernels:
    """Fit kernels in place, and return them; after Ctrl-C as far as the fit went.

    Parameters
    ----------
    kernels, model, tokens, policy, settings
        As :class:`LessFit` takes them. :func:`~robust_rl.extras.less.token_windows` makes tokens of texts.
    run
        Where to log and save, as :class:`~robust_rl.training.Trainer` takes it; an unfinished run there is resumed.
    checkpoint_every
        Steps between checkpoints.
    progress
        Whether to show a bar.
    """
    fit = LessFit(kernels, model, tokens, policy, **settings)
    Trainer(run, checkpoint_every=checkpoint_every, progress=progress).fit(fit)
    return fit.kernels


def _check(tokens: Tensor, policy: Policy, counts: Mapping[str, int], shares: Mapping[str, float], rate: float) -> None:
    if tokens.ndim != 2 or len(tokens) < 2 or tokens.dtype != torch.long:
        raise InvalidArgumentError(f"tokens are {tuple(tokens.shape)} of {tokens.dtype}; give ids (N, S), N >= 2, of torch.long")
    if tokens.shape[1] <= policy.budget:
        raise InvalidArgumentError(
            f"sequences have {tokens.shape[1]} tokens and {policy} holds {policy.budget}, so that nothing is dropped; give "
            "longer sequences or a smaller budget"
        )
    for name, count in counts.items():
        if count < 1:
            raise InvalidArgumentError(f"{name} is {count}; it must be at least 1")
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise InvalidArgumentError(f"{name} is {share}; it must be in [0, 1)")
    if not 0 < rate < math.inf:
        raise InvalidArgumentError(f"learning_rate is {rate}; it must be above 0")
