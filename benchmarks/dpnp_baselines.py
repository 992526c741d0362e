"""DPS, DiffPIR and DDRM of deepinv around a network from diffusers, for the study of DPnP. They work on pictures in [0, 1]."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch


def import_deepinv():
    """Import deepinv; beside a CPU build of torch its torchvision needs operators declared that nothing here calls."""
    if importlib.util.find_spec("torchvision") is None:
        sys.path.append(str(Path(sys.prefix) / "vision"))
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import_deepinv.library = library
    import deepinv

    return deepinv


deepinv = import_deepinv()


class Denoiser(deepinv.models.Denoiser):
    """The network as deepinv asks it: x in [0, 1] with noise sigma there -> x without."""

    def __init__(self, pipeline):
        super().__init__()
        self.unet, ab = pipeline.unet, pipeline.scheduler.alphas_cumprod.double()
        self.ab, self.levels = ab, ((1 - ab) / ab).sqrt()

    def forward(self, x, sigma, **_):
        """Denoise."""
        noise = 2 * float(torch.as_tensor(sigma).flatten()[0])
        t = int((self.levels.log() - np.log(max(noise, 1e-6))).abs().argmin())
        m = 2 * x - 1
        eps = self.unet(float(self.ab[t].sqrt()) * m, t, return_dict=False)[0]
        return (m - float(self.levels[t]) * eps + 1) / 2


class Unit:
    """An operator of [-1, 1] as one of [0, 1]."""

    def __init__(self, physics):
        self.physics, self.noise_model = physics, deepinv.physics.GaussianNoise(physics.sigma)

    def A(self, x, **_):
        """Measure pictures in [0, 1]."""
        return self.physics.A(2 * x - 1)


class UnitLinear(Unit):
    """A linear one stays linear: y = A (2 u - 1) is y' = (y + A 1) / 2 = A u, with half the noise."""

    def __init__(self, physics, y, ones):
        super().__init__(physics)
        self.noise_model = SimpleNamespace(sigma=physics.sigma / 2)
        self.y = (y + physics.A(ones)) / 2

    def A(self, x, **_):
        """Measure pictures in [0, 1]."""
        return self.physics.A(x)

    def A_adjoint(self, y, **_):
        """Apply the transpose."""
        return self.physics.A_adjoint(y)

    def prox_l2(self, z, y, gamma, **_):
        """Return argmin_x (gamma/2) |A x - y|^2 + (1/2) |x - z|^2."""
        return self.physics.prox_l2(z, y, float(torch.as_tensor(gamma).flatten()[0]))


def dps(pipeline, physics, y, shape, *, weight, steps, seed, guidance="norm"):
    """One sample for each measurement, on [-1, 1]."""
    model = deepinv.sampling.DPS(
        Denoiser(pipeline),
        weight=weight,
        num_steps=steps,
        guidance=guidance,
        rng=torch.Generator(pipeline.device).manual_seed(seed),
        device=pipeline.device,
    )
    return 2 * model(y, Unit(physics), x_init=torch.Size(shape)).detach().float() - 1


def diffpir(pipeline, physics, y, shape, *, weight, steps, seed):
    """One sample for each measurement, on [-1, 1]; linear operators."""
    linear = UnitLinear(physics, y, torch.ones(shape, device=y.device))
    model = deepinv.sampling.DiffPIR(
        Denoiser(pipeline), deepinv.optim.L2(), sigma=physics.sigma / 2, max_iter=steps, lambda_=weight, device=pipeline.device
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        return 2 * model(linear.y, linear).float() - 1


def ddrm(pipeline, physics, y, shape, *, weight, steps, seed):
    """One sample for each measurement, on [-1, 1]; inpainting, whose singular vectors are pixels. ``weight`` is its eta."""
    linear = UnitLinear(physics, y, torch.ones(shape, device=y.device))
    mask = physics.mask.to(y).expand(1, *shape[1:])
    decomposed = deepinv.physics.Inpainting(
        tuple(shape[1:]), mask=mask, noise_model=deepinv.physics.GaussianNoise(physics.sigma / 2)
    )
    model = deepinv.sampling.DDRM(Denoiser(pipeline), sigmas=np.linspace(1, 0, steps), eta=weight)
    torch.manual_seed(seed)
    with torch.no_grad():
        return 2 * model(linear.y, decomposed.to(y.device)).float() - 1
