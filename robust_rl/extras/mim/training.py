"""Gradient descent on the one-layer model, on fresh images each step, with everything that the theory tracks logged.

    Q <- Q - eta grad L(Q),        Q = 0 at first

Plain gradient descent on purpose. Which correlation grows first is a matter of the sizes of gradients, and an optimiser that
divides them out, such as Adam, reaches the same end by another way, in which the two signs of the information gap look alike
(``benchmarks/mim.md``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest
from robust_rl.extras.mim.data import SpatialPatchData
from robust_rl.extras.mim.model import OneLayerMIM
from robust_rl.extras.mim.objectives import ContrastiveObjective, MIMObjective, Objective
from robust_rl.extras.mim.roles import Roles
from robust_rl.training import (
    Callback,
    RunDirectory,
    Trainer,
    check_same_problem,
    load_arrays,
    load_torch_arrays,
    save_arrays,
    torch_arrays,
)

FILE = "mim.safetensors"
FORMAT = "robust-rl mim"
OBJECTIVES = {"mae": MIMObjective, "contrastive": ContrastiveObjective}


class MIMTraining:
    """A Trainable whose step is one of gradient descent.

    A step's metrics are ``train/loss``, what the objective adds (``train/floor``, ``train/zero_loss`` or ``train/accuracy``), and
    the means of :class:`~robust_rl.extras.mim.roles.Roles`, after the step.

    Parameters
    ----------
    model
        A :class:`OneLayerMIM` or :class:`CorrelationMIM`, trained in place.
    data
        Where images come from.
    objective
        A :class:`MIMObjective` or :class:`ContrastiveObjective`.
    learning_rate
        eta.
    steps
        Steps in all.
    batch_size
        Images a step.
    seed
        Of images and masks.

    Raises
    ------
    InvalidArgumentError
        A number is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        data: SpatialPatchData,
        objective: Objective,
        *,
        learning_rate: float = 1.0,
        steps: int = 800,
        batch_size: int = 48,
        seed: int = 0,
    ) -> None:
        if not 0 < learning_rate < math.inf:
            raise InvalidArgumentError(f"learning_rate is {learning_rate}; it must be above 0")
        for name, value in (("steps", steps), ("batch_size", batch_size)):
            if value < 1:
                raise InvalidArgumentError(f"{name} is {value}; it must be at least 1")
        self.model, self.data, self.objective = model, data, objective
        self.learning_rate, self.steps, self.batch_size, self.seed = learning_rate, steps, batch_size, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.roles = Roles(data)
        self.count = 0

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.count >= self.steps

    def step(self) -> Mapping[str, float]:
        """Descend the gradient on one batch."""
        batch = self.data.sample(self.batch_size, self.generator)
        loss, beside = self.objective(self.model, batch, self.generator)
        parameters = list(self.model.parameters())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(gradient, alpha=self.learning_rate)
        self.count += 1
        beside = {f"train/{name}": value for name, value in beside.items()}
        return {"train/loss": loss.item()} | beside | self.roles.means(self.model)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the parameters and the generator."""
        arrays = torch_arrays(model=self.model)
        arrays["generator"] = self.generator.get_state()
        save_arrays(directory / FILE, arrays, {"count": self.count, "problem": self._problem()}, format=FORMAT)

    def load_checkpoint(self, directory: Path) -> None:
        """Take over what :meth:`save_checkpoint` wrote.

        Raises
        ------
        InvalidArgumentError
            The file is of another training.
        """
        arrays, metadata = load_arrays(directory / FILE, format=FORMAT)
        check_same_problem(metadata["problem"], self._problem())
        load_torch_arrays(arrays, model=self.model)
        self.generator.set_state(torch.from_numpy(arrays["generator"]))
        self.count = metadata["count"]

    def _problem(self) -> dict[str, Any]:
        return {
            "data": repr(self.data), "objective": repr(self.objective), "model": type(self.model).__name__,
            "keys": getattr(self.model, "keys", None), "learning_rate": self.learning_rate, "steps": self.steps,
            "batch_size": self.batch_size, "seed": self.seed,
        }  # fmt: skip


def train(
    data: SpatialPatchData,
    objective: str | MIMObjective | ContrastiveObjective = "mae",
    *,
    model: nn.Module | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int = 48,
    seed: int = 0,
    run: RunDirectory | str | os.PathLike[str] | None = None,
    callbacks: tuple[Callback, ...] = (),
    progress: bool = False,
) -> MIMTraining:
    """Train a one-layer model from Q = 0 and return the training, with the model in it.

    Parameters
    ----------
    data
        Where images come from.
    objective
        ``"mae"``, ``"contrastive"``, or an objective with other options.
    model
        Trained in place. None: a new :class:`OneLayerMIM`.
    learning_rate, steps
        None takes what suits the objective at 36 patches: 1 and 800, or 50 and 600.
    batch_size, seed
        As :class:`MIMTraining` takes them.
    run, callbacks, progress
        As :class:`~robust_rl.training.Trainer` takes them; an unfinished run is resumed.

    Raises
    ------
    UnknownNameError
        No objective of that name.
    InvalidArgumentError
        A number is out of range.
    """
    training = make_training(
        data, objective, model=model, learning_rate=learning_rate, steps=steps, batch_size=batch_size, seed=seed
    )
    return Trainer(run, callbacks=callbacks, progress=progress).fit(training)


def make_training(
    data: SpatialPatchData,
    objective: str | MIMObjective | ContrastiveObjective,
    *,
    model: nn.Module | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int = 48,
    seed: int = 0,
) -> MIMTraining:
    """Return the training that :func:`train` runs; raises as it does."""
    loss = _named(objective) if isinstance(objective, str) else objective
    usual_rate, usual_steps = loss.USUAL
    return MIMTraining(
        OneLayerMIM(data) if model is None else model,
        data,
        loss,
        learning_rate=usual_rate if learning_rate is None else learning_rate,
        steps=usual_steps if steps is None else steps,
        batch_size=batch_size,
        seed=seed,
    )


def _named(name: str) -> MIMObjective | ContrastiveObjective:
    if name not in OBJECTIVES:
        known = list(OBJECTIVES)
        raise UnknownNameError(f"no objective {name!r}{nearest(name, known)}; known are {', '.join(known)}")
    return OBJECTIVES[name]()  # type: ignore[no-any-return, abstract]
