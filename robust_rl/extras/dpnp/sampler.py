"""DPnP: draws from the posterior of a picture, with an unconditional diffusion model as the prior.

    x_0 ~ N(0, (eta_0 / 2)^2 I)
    for k = 0 .. K-1:
        z_k     ~ exp( L(z) - |z - x_k|^2 / (2 eta_k^2) )                   PCS                                (1)
        x_{k+1} ~ p*(x) exp( -|x - z_k|^2 / (2 eta_k^2) )                   DDS                                (2)

A Gibbs sampler on p*(x) exp(L(z)) exp(-|x - z|^2 / (2 eta^2)), while eta falls. It ends in DDS, so the chains lie where the
prior does.

=======  ==============  =============================================================
symbol   here            meaning, shape
=======  ==============  =============================================================
x        ``x``           chains, independent, on the batch axis: (N, ...)
eta_k    ``etas``        K levels of the model, also used as such in PCS
L        ``pcs``         log-likelihood of the measurement
p*       ``model``       the prior, through its noise predictor
=======  ==============  =============================================================

Source: Xu and Chi, "Provably Robust Score-Based Diffusion Posterior Sampling for Plug-and-Play Image Reconstruction",
arXiv:2403.17042, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp.chance import Chance, check_chance, normal
from robust_rl.extras.dpnp.dds import DDS, DDSDDIM
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor
from robust_rl.extras.dpnp.pcs import PCS
from robust_rl.extras.dpnp.posterior import Posterior
from robust_rl.training import check_same_problem, load_arrays, save_arrays

FILE = "dpnp.safetensors"


class DPnP:
    """The loop, equations 1 and 2: a :class:`~robust_rl.training.Trainable` whose step is one PCS and one DDS.

    Parameters
    ----------
    model : NoisePredictor
        The prior.
    pcs : PCS
        Draws z, equation 1.
    etas : sequence of float
        Wanted eta_k, K of them, not rising: see :func:`~robust_rl.extras.dpnp.geometric_schedule`. Each becomes the model's
        nearest level.
    shape : tuple of int
        (N, ...): chains, and the shape of a picture.
    dds : DDS, optional
        Draws x, equation 2. Default: ``DDSDDIM(model)``.
    start : (N, ...) tensor, optional
        x_0; its type and device are those of the chains.
    generator : torch.Generator or sequence of them
        All chance comes from it: one generator, or one for each chain, which then doesn't depend on its neighbours.
    dtype, device
        Of the chains, without a start.

    Attributes
    ----------
    x : (N, ...) tensor
        The chains.
    iteration : int
        k.
    history : list of dict
        Numbers of each step.

    Raises
    ------
    InvalidArgumentError
        An eta is beyond the model's levels, or an argument contradicts another.

    Examples
    --------
    A point on a line, known to be near -1 or 1, measured as 0.5 with noise 0.3:

    >>> import torch
    >>> from robust_rl.extras.dpnp import GaussianMixture, GaussianPCS, Inpainting, geometric_schedule, linear_levels
    >>> prior = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.2])
    >>> pcs = GaussianPCS(torch.tensor([[0.5]], dtype=torch.float64), Inpainting(torch.ones(1)), sigma=0.3)
    >>> chains = DPnP(
    ...     prior.predictor(linear_levels()), pcs, geometric_schedule(2.0, 0.05, k=15), (500, 1),
    ...     generator=torch.Generator().manual_seed(0), dtype=torch.float64,
    ... )
    >>> while not chains.done:
    ...     numbers = chains.step()
    >>> share = float((chains.x > 0).double().mean())  # exact: 0.969
    >>> 0.94 < share < 0.99
    True
    """

    def __init__(
        self,
        model: NoisePredictor,
        pcs: PCS,
        etas: Sequence[float],
        shape: Sequence[int],
        *,
        generator: Chance,
        dds: DDS | None = None,
        start: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not etas or any(b > a * (1 + 1e-9) for a, b in pairwise(etas)):
            raise InvalidArgumentError("etas must hold at least one value, and none above the one before")
        if len(shape) < 2 or shape[0] < 1:
            raise InvalidArgumentError(f"shape is {tuple(shape)}; it must be (chains, ...) with at least 1 chain")
        check_chance(generator, shape[0])
        self.model, self.pcs, self.dds = model, pcs, DDSDDIM(model) if dds is None else dds
        self.levels = [model.nearest(eta) for eta in etas]
        self.etas: list[float] = model.levels[self.levels].tolist()
        self.chance, self.iteration, self.calls = generator, 0, 0
        self.history: list[dict[str, float]] = []
        if start is None:
            start = self.etas[0] / 2 * normal(torch.empty(*shape, dtype=dtype, device=device), generator)
        elif tuple(start.shape) != tuple(shape):
            raise InvalidArgumentError(f"start has shape {tuple(start.shape)}, the chains {tuple(shape)}")
        self.x = start
        self._problem: dict[str, Any] = {
            "etas": self.etas,
            "shape": list(shape),
            "type": str(start.dtype),
            "samplers": [repr(pcs), repr(self.dds)],
            "fit at the start": pcs.fit(start),
        }

    @property
    def done(self) -> bool:
        """Whether all levels are passed."""
        return self.iteration >= len(self.etas)

    @torch.no_grad()
    def step(self) -> Mapping[str, float]:
        """Do one PCS and one DDS; return eta, network calls so far, what PCS reports, and how well the chains fit."""
        level, eta = self.levels[self.iteration], self.etas[self.iteration]
        before = self.model.calls
        z, numbers = self.pcs(self.x, eta, self.chance)  # eq. 1
        self.x = self.dds(z, level, self.chance)  # eq. 2
        self.calls += self.model.calls - before
        self.iteration += 1
        self.history.append({"eta": eta, "network_calls": self.calls, **numbers, **self.pcs.fit(self.x)})
        return {f"dpnp/{name}": value for name, value in self.history[-1].items()}

    def posterior(self) -> Posterior:
        """Return where the chains are, as samples."""
        return Posterior(self.x, list(self.history))

    def save_checkpoint(self, directory: Path) -> None:
        """Write the chains, what PCS remembers, and the generators."""
        generators = [self.chance] if isinstance(self.chance, torch.Generator) else self.chance
        arrays = {"x": self.x.cpu()} | {f"pcs.{name}": value.cpu() for name, value in self.pcs.state().items()}
        arrays |= {f"generator.{k}": one.get_state() for k, one in enumerate(generators)}
        state: dict[str, Any] = {"iteration": self.iteration, "calls": self.calls, "history": self.history}
        state["columns"] = list(self.history[0]) if self.history else []  # the file sorts names, and a report shows their order
        save_arrays(directory / FILE, arrays, state | self._problem)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, state = load_arrays(directory / FILE)
        check_same_problem(state, self._problem)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        generators = [self.chance] if isinstance(self.chance, torch.Generator) else self.chance
        for k, one in enumerate(generators):
            one.set_state(tensors[f"generator.{k}"])
        device = self.x.device
        self.x = tensors["x"].to(device)
        self.pcs.restore({name[4:]: value.to(device) for name, value in tensors.items() if name.startswith("pcs.")})
        self.iteration, self.calls = state["iteration"], state["calls"]
        self.history = [{name: line[name] for name in state.get("columns", line)} for line in state["history"]]
