"""Choices of a run, the presets, and the sampler that they make for a measurement.

``exact`` samples the posterior that the measurement has: true likelihood, exact or Metropolis-tested PCS, noise as wide as the
posterior's modes at first and well below the measurement's at last. ``paper-code`` is what the authors' program does: 4 + 12
iterations from 0.4 to 0.16, 1000 unadjusted Langevin steps each, and a likelihood sharper than the true one (noise 0.15 assumed
where it is 0.2; one-bit likelihoods multiplied by 3.9). It starts there from a DPS reconstruction: hand one in as ``start``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, nearest
from robust_rl.extras.dpnp.chance import Chance
from robust_rl.extras.dpnp.dds import DDS, DDSDDIM, DDSDDPM
from robust_rl.extras.dpnp.mala import LangevinPCS, released_step
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor
from robust_rl.extras.dpnp.pcs import GaussianPCS
from robust_rl.extras.dpnp.physics import (
    GaussianLikelihood,
    LogLikelihood,
    check_gradient,
    check_measurement,
    is_linear,
    likelihood,
    tempered,
)
from robust_rl.extras.dpnp.pixels import InRange, pixel_range
from robust_rl.extras.dpnp.sampler import DPnP
from robust_rl.extras.dpnp.schedule import geometric_schedule

KINDS = {"pcs": ("auto", "exact", "mala", "ula"), "dds": ("ddim", "ddpm")}


@dataclass(frozen=True)
class Settings:
    """How DPnP runs. Numbers are on the model's scale, pictures in [-1, 1].

    Attributes
    ----------
    eta_max, eta_min : float
        First and last coupling. eta_max must be of the order of the distance between modes. ``eta_min=None`` is a third of the
        noise's standard deviation, or 0.05 where the noise is not Gaussian; but no less than the model's smallest level.
    k_start, k : int
        Iterations at eta_max, and falling from there.
    pcs : "auto", "exact", "mala" or "ula"
        Exact for linear operators with Gaussian noise, otherwise Langevin steps with a Metropolis test, or without. ``"auto"``
        is exact where that can be, else mala.
    pcs_steps : int
        Langevin steps an iteration.
    step_scale : float
        Of unadjusted steps.
    dds : "ddim" or "ddpm"
    dds_steps, dds_order : int
        Network calls an iteration; order 1 or 2 of ddim.
    temperature : float
        The likelihood is raised to 1 / temperature; 1 is the posterior.
    """

    eta_max: float = 1.0
    eta_min: float | None = None
    k_start: int = 0
    k: int = 30
    pcs: str = "auto"
    pcs_steps: int = 50
    step_scale: float = 0.6
    dds: str = "ddim"
    dds_steps: int = 20
    dds_order: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name, known in KINDS.items():
            if getattr(self, name) not in known:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if not self.temperature > 0:
            raise InvalidArgumentError(f"temperature is {self.temperature:g}; it must be above 0")


EXACT = Settings()
PAPER_CODE = Settings(eta_max=0.4, eta_min=0.16, k_start=4, k=12, pcs="ula", pcs_steps=1000, dds_steps=1000)
PRESETS = {"exact": EXACT, "paper-code": PAPER_CODE}


def choose(preset: str, *, gaussian: bool, **changes: Any) -> Settings:
    """Return a preset with some settings changed.

    Parameters
    ----------
    preset : "exact" or "paper-code"
    gaussian : bool
        Whether the noise is Gaussian; ``paper-code`` sharpens other likelihoods more.
    **changes
        Fields of :class:`Settings`.

    Raises
    ------
    InvalidArgumentError
        A name is unknown or a value out of range.

    Examples
    --------
    >>> choose("paper-code", gaussian=True, k=3).temperature
    0.5625
    """
    if preset not in PRESETS:
        raise InvalidArgumentError(f"preset is {preset!r}; it must be one of {', '.join(PRESETS)}")
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in changes:
        if name not in known:
            raise InvalidArgumentError(f"there is no setting {name!r}{nearest(name, known)}; settings are {', '.join(known)}")
    if preset == "paper-code":
        changes = {"temperature": 0.75**2 if gaussian else 2 * 0.36**2} | changes
    return dataclasses.replace(PRESETS[preset], **changes)


def posterior_sampler(
    model: NoisePredictor,
    y: Tensor,
    physics: Any,
    *,
    shape: Sequence[int],
    generator: Chance,
    num_samples: int = 16,
    log_likelihood: Callable[[Tensor, Tensor], Tensor] | None = None,
    sigma: float | None = None,
    pixels: tuple[float, float] | None = None,
    start: Tensor | None = None,
    moves: Sequence[Callable[[Tensor], Tensor]] = (),
    preset: str = "exact",
    **settings: Any,
) -> DPnP:
    """Return the chains that sample the posterior of each measurement, ready to step.

    Parameters
    ----------
    model : NoisePredictor
    y : (B, ...) tensor
        Measurements; its type and device are those of the chains.
    physics
        What measured them: see :mod:`robust_rl.extras.dpnp.physics`.
    shape : tuple of int
        Of a picture of the model, (C, H, W).
    generator : torch.Generator or sequence of them
        One for all chains, or one for each.
    num_samples : int
        Chains for each measurement: B num_samples in all, those of a measurement together.
    log_likelihood : callable, optional
        (x, y) -> (N,), of pictures on the operator's scale; differentiable.
    sigma : float, optional
        Standard deviation of Gaussian noise, if the operator doesn't name it.
    pixels : (low, high), optional
        Black and white for the operator; default its own ``pixel_range``, or (0, 1).
    start : (B num_samples, C, H, W) tensor, optional
        Pictures to start from, on the operator's scale.
    moves : sequence of callables
        Of :class:`~robust_rl.extras.dpnp.LangevinPCS`, on the operator's scale.
    preset : "exact" or "paper-code"
    **settings
        Fields of :class:`Settings` to change.

    Raises
    ------
    InvalidArgumentError
        Operator, measurement and model don't fit, or a setting is out of range.
    """
    if num_samples < 1:
        raise InvalidArgumentError(f"num_samples is {num_samples}; it must be at least 1")
    scale = pixel_range(physics, pixels)
    x = scale.from_model(torch.zeros(len(y) * num_samples, *shape, dtype=y.real.dtype, device=y.device))
    check_measurement(y, physics, x[:1])
    L = likelihood(y.repeat_interleave(num_samples, 0) if len(y) > 1 else y, physics, log_likelihood, sigma)
    noise = L.sigma / scale.scale if isinstance(L, GaussianLikelihood) else None
    chosen = choose(preset, gaussian=noise is not None, **settings)
    eta_min = max(float(model.levels[0]), 0.05 if noise is None else noise / 3) if chosen.eta_min is None else chosen.eta_min
    return DPnP(
        model,
        InRange(_pcs(chosen, tempered(L, chosen.temperature), physics, x, moves), scale),
        geometric_schedule(chosen.eta_max, eta_min, chosen.k, chosen.k_start),
        x.shape,
        dds=_dds(chosen, model),
        start=None if start is None else scale.to_model(start),
        generator=generator,
        dtype=x.dtype,
        device=x.device,
    )


def _dds(chosen: Settings, model: NoisePredictor) -> DDS:
    if chosen.dds == "ddpm":
        return DDSDDPM(model, chosen.dds_steps)
    return DDSDDIM(model, chosen.dds_steps, chosen.dds_order)


def _pcs(
    chosen: Settings, L: LogLikelihood, physics: Any, x: Tensor, moves: Sequence[Callable[[Tensor], Tensor]]
) -> GaussianPCS | LangevinPCS:
    """Return the sampler of z for a likelihood of pictures like x, on the operator's scale."""
    linear = isinstance(L, GaussianLikelihood) and is_linear(physics)
    if chosen.pcs == "exact" and not linear:
        raise InvalidArgumentError("pcs='exact' needs a linear operator (A, A_adjoint, prox_l2) and Gaussian noise; use 'mala'")
    if isinstance(L, GaussianLikelihood) and linear and chosen.pcs in ("auto", "exact"):
        return GaussianPCS(L.y, physics, L.sigma)
    check_gradient(L, x)
    if chosen.pcs != "ula":
        return LangevinPCS(L, steps=chosen.pcs_steps, moves=moves)
    noise = L.sigma if isinstance(L, GaussianLikelihood) else (chosen.temperature / 2) ** 0.5
    rule = released_step(chosen.step_scale, noise)
    return LangevinPCS(L, steps=chosen.pcs_steps, adjust=False, step_rule=rule, moves=moves)
