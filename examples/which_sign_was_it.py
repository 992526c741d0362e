"""A measurement that forgets the sign: DPnP answers with the whole posterior, both signs in their proportion.

A number is measured as y = |x| + noise. The prior, a mixture of Gaussians, is handed over as a diffusion model whose noise
predictor is exact, so the posterior can be computed on a grid and the samples held against it. Annealing from a wide coupling
finds both signs. Langevin steps alone cannot cross between them once the coupling is narrow; proposed changes of sign can.

    python examples/which_sign_was_it.py [run directory]
"""

import sys

import numpy as np
import torch
from matplotlib.figure import Figure

from robust_rl.extras.dpnp import GaussianMixture, flip_sign, linear_levels, posterior_sampler
from robust_rl.training import Figure as PageFigure
from robust_rl.training import RunDirectory, Section, Table, Trainer

WEIGHTS, MEANS, DEVIATIONS = [0.5, 0.3, 0.2], [1.0, -1.1, -0.2], [0.35, 0.25, 0.2]
Y, NOISE, CHAINS = 1.25, 0.15, 2000
SCHEDULE = {"eta_max": 1.5, "eta_min": 0.05, "k": 30, "pcs_steps": 12, "dds_steps": 16}
X = np.linspace(-2.5, 2.5, 2001)
EDGES = np.linspace(-2.5, 2.5, 51)


class Amplitude:
    """All that DPnP asks of a measurement with Gaussian noise."""

    pixel_range, sigma = (-1.0, 1.0), NOISE

    def A(self, x: torch.Tensor) -> torch.Tensor:
        """Forget the sign."""
        return x.abs()


def main(directory: str) -> None:
    """Sample twice, compare with the exact posterior, and leave the report."""
    run = RunDirectory(directory)
    run.start({"y": Y, "noise": NOISE, "chains": CHAINS} | SCHEDULE, seed=0, command="which_sign_was_it")
    exact = posterior()
    found = {"Langevin alone": sample(None), "with changes of sign": sample(run)}
    rows = [("exact", "", f"{exact[X > 0].sum() / exact.sum():.3f}")]
    rows += [(name, f"{distance(x, exact):.3f}", f"{(x > 0).mean():.3f}") for name, x in found.items()]
    table = Table(["samples", "total variation", "mass of x > 0"], rows)
    for row in (table.columns, *rows):
        print("{:<22} {:>16} {:>14}".format(*row))
    items = [PageFigure(picture(found, exact), f"y = |x| + noise = {Y}; {CHAINS} independent chains"), table]
    run.report("Which sign was it?", [Section("Samples and the exact posterior", items=items)])
    print(f"\nreport: {run.result / 'report.html'}")


def sample(run: RunDirectory | None) -> np.ndarray:
    """Return where the chains end; in a run they may change sign."""
    prior = GaussianMixture(WEIGHTS, [[mean] for mean in MEANS], [deviation**2 for deviation in DEVIATIONS])
    chains = posterior_sampler(
        prior.predictor(linear_levels()), torch.tensor([[Y]], dtype=torch.float64), Amplitude(), shape=(1,), num_samples=CHAINS,
        generator=torch.Generator().manual_seed(0), moves=() if run is None else (flip_sign,), **SCHEDULE,
    )  # fmt: skip
    Trainer(run).fit(chains)
    return chains.x[:, 0].numpy()


def posterior() -> np.ndarray:
    """Return the exact posterior density on the grid, up to a factor."""
    prior = sum(w * np.exp(-0.5 * ((X - m) / s) ** 2) / s for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True))
    return prior * np.exp(-0.5 * ((Y - np.abs(X)) / NOISE) ** 2)


def distance(x: np.ndarray, exact: np.ndarray) -> float:
    """Return the total variation over bins; exact samples of that number would be 0.03 away."""
    mass = np.diff(np.interp(EDGES, X, np.cumsum(exact) / exact.sum()))
    return float(0.5 * np.abs(np.histogram(x, EDGES)[0] / len(x) - mass).sum())


def picture(found: dict[str, np.ndarray], exact: np.ndarray) -> Figure:
    """Return histograms over the exact density."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, (name, x) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        axes.hist(x, EDGES, density=True, color="tab:blue", alpha=0.5, label="samples")
        axes.plot(X, exact / (exact.sum() * (X[1] - X[0])), "k", label="exact")
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("x")
        axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/which-sign-was-it")
