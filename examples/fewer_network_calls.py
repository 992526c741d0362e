"""Fewer network calls: the same diffusion model, the same starts, and samples nearer to where a thousand steps end.

Stands in for a trained network: the exact noise predictor of points around a ring, so that nothing but the sampler can be wrong.
DDIM of diffusers and the accelerated scheduler are run as any pipeline runs them, 10, 20 and 50 calls each, and compared start
by start with DDIM's thousand. With a network of your own it is one line:

    pipe.scheduler = AcceleratedDDIMScheduler.from_config(pipe.scheduler.config)

    python examples/fewer_network_calls.py [run directory]
"""

import sys
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from matplotlib.figure import Figure

from robust_rl.extras.accelerated_diffusion import AcceleratedDDIMScheduler, GaussianMixture
from robust_rl.training import Figure as PageFigure
from robust_rl.training import RunDirectory, Section, Table

ANGLES = 2 * np.pi * np.arange(8) / 8
RING = GaussianMixture(np.ones(8), np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), np.full(8, 0.2))
CONFIG = DDPMScheduler(clip_sample=False).config  # what the network was trained with: a thousand levels
CALLS = (10, 20, 50)


def main(directory: str) -> None:
    """Sample, print, and leave the report."""
    run = RunDirectory(directory)
    run.start({"calls": CALLS}, seed=0, command="fewer network calls")
    starts = torch.randn(600, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kinds = {"DDIM": DDIMScheduler, "accelerated": AcceleratedDDIMScheduler}
    exact = sample(DDIMScheduler.from_config(CONFIG), 1000, starts)
    ends = {(name, calls): sample(kind.from_config(CONFIG), calls, starts) for name, kind in kinds.items() for calls in CALLS}
    far = {key: float(np.sqrt(((end - exact) ** 2).sum(axis=1).mean())) for key, end in ends.items()}
    rows = [(name, *(f"{far[name, calls]:.4f}" for calls in CALLS)) for name in kinds]
    rows.append(("accelerated / DDIM", *(f"{far['accelerated', calls] / far['DDIM', calls]:.2f}" for calls in CALLS)))
    table = Table(("sampler", *(f"{calls} calls" for calls in CALLS)), rows, "root mean square distance to DDIM's 1000 steps")
    picture = PageFigure(draw(exact, ends), "ten calls: from where a thousand steps end (grey) to where ten do")
    run.report("Fewer network calls", [Section("Distances", items=[table, picture])])
    run.finish()
    print(table.caption)
    for row in [table.columns, *rows]:
        print(f"{row[0]:20}" + "".join(f"{cell:>12}" for cell in row[1:]))
    print(f"\nreport: {run.result / 'report.html'}")
    assert all(far["accelerated", calls] < 0.75 * far["DDIM", calls] for calls in CALLS)


def sample(scheduler: Any, calls: int, x: torch.Tensor) -> np.ndarray:
    """Run a scheduler as a pipeline does, with the exact network."""
    scheduler.set_timesteps(calls)
    for t in scheduler.timesteps:
        alpha_bar = float(scheduler.alphas_cumprod[t])
        noise = -np.sqrt(1 - alpha_bar) * RING.score(x.numpy(), alpha_bar)
        x = scheduler.step(torch.from_numpy(noise), t, x).prev_sample
    return x.numpy()


def draw(exact: np.ndarray, ends: dict[tuple[str, int], np.ndarray]) -> Figure:
    """Ends after ten calls, each tied to the end of its start after a thousand."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("DDIM", "accelerated")):
        exact, end = exact[:300], ends[name, CALLS[0]][:300]
        axes.plot(*np.stack([exact, end], axis=1).transpose(2, 1, 0), color="0.75", linewidth=0.6)
        axes.plot(*exact.T, ".", color="0.6", markersize=2)
        axes.plot(*end.T, ".", color="C0" if name == "DDIM" else "C2", markersize=3)
        axes.set(title=f"{name}, {CALLS[0]} calls", aspect="equal", xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/fewer-network-calls")
