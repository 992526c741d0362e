"""DPnP beside exact posteriors on mixtures, and beside DPS, DiffPIR and DDRM on pictures that no network was trained on.

    robust-rl diffusion-train digits --out models/digits; robust-rl diffusion-train patches --out models/patches
    python benchmarks/dpnp.py --models models --cache runs/dpnp-study --device cuda    # minutes; hours on a CPU, resumable
    python benchmarks/dpnp.py --models models --cache runs/dpnp-study --write          # benchmarks/dpnp.md from what is there
    python benchmarks/dpnp.py --models models --cache runs/dpnp-study --gallery        # the picture of the page

Intervals are 95 % over seeds or pictures (Student's t).
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from robust_rl.extras.denoiser import data
from robust_rl.extras.dpnp import DPnP, GaussianMixture, Posterior, flip_sign, linear_levels
from robust_rl.extras.dpnp.measurements import ETA_MAX, operator
from robust_rl.extras.dpnp.model_folder import load_pipeline
from robust_rl.extras.dpnp.restoration import Restoration, psnr, write_picture
from robust_rl.extras.dpnp.settings import posterior_sampler
from robust_rl.training import read_json, write_json

PICTURES, IMAGES, NOISE, SAMPLES, FEW = ("digits", "patches"), 50, 0.1, 19, 5
ITERATIONS, CALLS, LANGEVIN = 30, 20, 200
BASELINE_STEPS, TUNING = (
    {"DPS": 200, "DiffPIR": 100, "DDRM": 100},
    10,
)  # TUNING pictures choose a baseline's weight, and don't judge it
OPERATORS = ("inpainting", "super-resolution", "phase-retrieval", "quantized")
WEIGHTS = {
    "DPS": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0),
    "DiffPIR": (0.1, 0.3, 1.0, 3.0, 7.0, 15.0, 30.0),
    "DDRM": (0.5, 0.7, 0.85, 1.0),
}
NOT_FOR = {"DPS": ("quantized",), "DiffPIR": ("quantized", "phase-retrieval"), "DDRM": OPERATORS[1:]}
W, M, S, Y, SIGMA = [0.5, 0.3, 0.2], [1.0, -1.1, -0.2], [0.35, 0.25, 0.2], 1.25, 0.15


class Amplitude:
    """y = |x| + noise."""

    pixel_range, sigma = (-1.0, 1.0), SIGMA

    def A(self, x):
        """Forget the sign."""
        return x.abs()


def on_the_line(seed: int, *, k: int, flips: bool, eta_max: float = 1.5, eta_min: float = 0.05, count: int = 2000) -> np.ndarray:
    """Samples of phase retrieval on the line."""
    chains = posterior_sampler(
        GaussianMixture(W, [[m] for m in M], [s**2 for s in S]).predictor(linear_levels()),
        torch.tensor([[Y]], dtype=torch.float64), Amplitude(), shape=(1,), num_samples=count,
        generator=torch.Generator().manual_seed(seed), moves=(flip_sign,) if flips else (), k=k, eta_max=eta_max, eta_min=eta_min,
        pcs_steps=20, dds_steps=16,
    )  # fmt: skip
    return finished(chains).x[:, 0].numpy()


def finished(chains: DPnP) -> DPnP:
    while not chains.done:
        chains.step()
    return chains


def line_distance(samples: np.ndarray) -> float:
    """Total variation to the exact posterior over bins of 0.1."""
    x = np.linspace(-6, 6, 4801)
    prior = sum(w * np.exp(-0.5 * ((x - m) / s) ** 2) / s for w, m, s in zip(W, M, S))
    exact = prior * np.exp(-0.5 * ((Y - np.abs(x)) / SIGMA) ** 2)
    edges = np.linspace(-6, 6, 121)
    mass = np.diff(np.interp(edges, x, np.cumsum(exact) / exact.sum()))
    if samples.size == 0:
        return float(exact[x > 0].sum() / exact.sum())
    return float(0.5 * np.abs(np.histogram(samples, edges)[0] / len(samples) - mass).sum())


SETTINGS = {
    "eta 1.5 to 0.05, 30 iterations": {"k": 30, "flips": False},
    "eta 1.5 to 0.05, 30 iterations, sign flips": {"k": 30, "flips": True},
    "eta 1.5 to 0.05, 100 iterations, sign flips": {"k": 100, "flips": True},
    "eta 0.4 to 0.16, 16 iterations": {"k": 16, "flips": False, "eta_max": 0.4, "eta_min": 0.16},
}


def mixture_cell(name: str) -> dict:
    found = [on_the_line(seed, **SETTINGS[name]) for seed in range(3)]
    return {"distance": [line_distance(x) for x in found], "positive": [float((x > 0).mean()) for x in found]}


def picture_cell(pipeline, pictures: torch.Tensor, name: str, method: str, block: int, size: int, weight: float = 0.0) -> dict:
    """Scores of a block of pictures, one operator for all; block -1 is of those that weights are chosen on."""
    truth = pictures[TUNING + block * size : TUNING + (block + 1) * size] if block >= 0 else pictures[:TUNING]
    shape = tuple(truth.shape[1:])
    physics = operator(name, shape, NOISE, torch.Generator().manual_seed(0))
    y = physics(truth, torch.Generator().manual_seed(100 + block)).to(pipeline.device)
    started = time.perf_counter()
    if method == "DPnP":
        extra = {"eta_max": ETA_MAX[name]} if name in ETA_MAX else {}
        chains = pipeline.sampler(
            y, physics, generator=torch.Generator().manual_seed(block), num_samples=SAMPLES, k=ITERATIONS, dds_steps=CALLS,
            pcs_steps=LANGEVIN, **extra,
        )  # fmt: skip
        samples = finished(chains).x.unflatten(0, (len(truth), SAMPLES)).cpu()
    else:
        from dpnp_baselines import ddrm, diffpir, dps

        sampler = {"DPS": dps, "DiffPIR": diffpir, "DDRM": ddrm}[method]
        count = FEW if block >= 0 else 1  # all samples in one batch; they depend on one another by nothing but the generator
        drawn = sampler(
            pipeline, physics, y.repeat_interleave(count, 0), (len(truth) * count, *shape), weight=weight,
            steps=BASELINE_STEPS[method], seed=block + 1,
        )  # fmt: skip
        samples = drawn.unflatten(0, (len(truth), count)).cpu()
    if name == "phase-retrieval":  # x and -x measure alike: every method is granted the sign
        samples = samples * (samples * truth[:, None]).sum((2, 3, 4), keepdim=True).sign()
    return scores(samples, truth) | {"seconds": (time.perf_counter() - started) / len(truth)}


def scores(samples: torch.Tensor, truth: torch.Tensor) -> dict:
    """For each picture: PSNR and SSIM of the mean of few samples, of all, PSNR of a sample, and coverage of 90 % intervals."""
    found: dict[str, list] = {"psnr_few": [], "ssim_few": [], "psnr_all": [], "psnr_sample": [], "coverage": []}
    for drawn, true in zip(samples, truth, strict=True):
        few = drawn[:FEW].mean(0)
        found["psnr_few"].append(psnr(few, true))
        found["ssim_few"].append(ssim(few, true))
        found["psnr_all"].append(psnr(drawn.mean(0), true))
        found["psnr_sample"].append(float(np.mean([psnr(one, true) for one in drawn])))
        found["coverage"].append(Posterior(drawn).coverage(true, 0.9) if len(drawn) >= SAMPLES else None)
    return found


def ssim(picture: torch.Tensor, truth: torch.Tensor) -> float:
    from skimage.metrics import structural_similarity

    return float(structural_similarity(picture[0].numpy(), truth[0].numpy(), data_range=2.0, win_size=7))


def study(models: Path, cache: Path, only: list[str], block_size: int, device: str) -> None:
    """Do what the cache lacks, block by block, so that a part is a fair sample of the whole."""
    cells = Cells(cache / "cells.json")
    for name in SETTINGS:
        cells.fill(f"line/{name}", partial(mixture_cell, name))
    for pictures in PICTURES:
        pipeline = load_pipeline(models / pictures).to(device)
        pipeline.set_progress_bar_config(disable=True)
        truths = held_out(pictures)
        for block in range(-(-IMAGES // block_size)):
            for name in only:
                measure(cells, f"{pictures}/{name}", partial(picture_cell, pipeline, truths, name), name, block, block_size)


def measure(cells, key: str, work, name: str, block: int, size: int) -> None:
    """One operator on one block of pictures: DPnP, then each baseline with the weight that is best on other pictures."""
    cells.fill(f"{key}/DPnP/{block}", partial(work, "DPnP", block, size))
    for method, weights in WEIGHTS.items():
        if name in NOT_FOR[method]:
            continue
        tried = {w: cells.fill(f"{key}/{method}/weight {w:g}", partial(work, method, -1, size, w))["psnr_few"] for w in weights}
        best = max(weights, key=lambda w: np.nan_to_num(np.mean(tried[w]), nan=-np.inf))
        cells.fill(f"{key}/{method}/{block}", lambda: work(method, block, size, best) | {"weight": best})


class Cells:
    """Results by name in a JSON file, written as each is there."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.found = file, read_json(file) if file.exists() else {}

    def fill(self, key: str, work) -> dict:
        """Return what is there, or do the work and keep it."""
        if key not in self.found:
            self.found[key] = work()
            write_json(self.file, self.found)
            print(f"{time.strftime('%H:%M:%S')} {key}", flush=True)
        return self.found[key]


def held_out(pictures: str) -> torch.Tensor:
    """Pictures that the network was not trained on, in an order of no meaning."""
    found = torch.from_numpy(getattr(data, pictures)().held_out)
    return found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]


def gallery(model: Path, picture: torch.Tensor, cache: Path, device: str) -> None:
    """Draw one picture, what is known of it after each measurement, and the samples."""
    from matplotlib.figure import Figure

    cache.mkdir(parents=True, exist_ok=True)
    write_picture(cache / "picture.png", picture)
    figure = Figure(figsize=(7.2, 7.4), layout="constrained")
    for row, name in zip(figure.subplots(len(OPERATORS), 4), OPERATORS, strict=True):
        restored = Restoration(model, cache / "picture.png", name, fit=True, k=ITERATIONS, pcs_steps=LANGEVIN, device=device)
        finished(restored.sampler)
        found = restored.summary()
        titles = [
            "measured picture",
            f"mean, {found['psnr_mean']:.1f} dB",
            f"deviation, mean {found['mean_std']:.2f}",
            "16 samples",
        ]
        for axes, title, shown in zip(row, titles, restored.pictures().values(), strict=True):
            axes.imshow(shown[0], cmap="gray", vmin=-1, vmax=1)
            axes.set_title(title, fontsize=9)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    figure.savefig(Path(__file__).parents[1] / "docs/images/dpnp-patches.png", dpi=90)


def written(values: list, digits: int = 2) -> str:
    kept = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    if len(kept) < 2:
        return ""
    half = stats.t.ppf(0.975, len(kept) - 1) * kept.std(ddof=1) / np.sqrt(len(kept))
    return f"{kept.mean():.{digits}f} ± {half:.{digits}f}"


def joined(cells: dict, key: str) -> dict:
    """The blocks of one operator and method together; empty if there is none."""
    parts = [cells[name] for name in sorted(cells) if name.startswith(f"{key}/") and "weight " not in name]
    if not parts:
        return {}
    lists = {name: [value for part in parts for value in part[name]] for name in parts[0] if isinstance(parts[0][name], list)}
    return lists | {"weight": parts[0].get("weight"), "seconds": float(np.mean([part["seconds"] for part in parts]))}


PAGE = """# DPnP

The commands are in the first lines of `benchmarks/dpnp.py`. {machine} Intervals are 95 %, Student's t.

## Phase retrieval on the line, against the exact posterior

y = |x| + N(0, 0.15^2), y = 1.25, a three-component prior; exact mass of x > 0: {mass:.3f}. 2,000 chains, 3 seeds, 20 Langevin
steps and 16 network calls an iteration. Exact samples of that number are 0.03 away by chance alone.

| DPnP | total variation | mass of x > 0 |
|---|---|---|
{line}

## Pictures that the network was not trained on

Noise {noise} on [-1, 1]. DPnP: eta from 1 (phase retrieval: 2) to {last:.3f} in {iterations} iterations of {calls} network calls,
{langevin} Langevin steps where the operator is not linear. DPS ({dps} steps), DiffPIR and DDRM ({diffpir} steps) are deepinv's,
their weights the best of lists on {tuning} other pictures; DDRM needs singular values, and its weight is eta. x and -x have the
same amplitudes: in phase retrieval each sample, of whichever method, is turned to the sign that fits. PSNR in dB. Coverage is
the share of pixels of the true picture within the 90 % interval of {samples} samples: exact sampling of the network's posterior
would give 0.90 if the network were the true prior.
"""
TABLE = f"""
| operator | method | pictures | PSNR, mean of {FEW} | SSIM | PSNR, mean of {SAMPLES} | PSNR of a sample | coverage | s each |
|---|---|---|---|---|---|---|---|---|"""


def report(cells: dict, machine: str) -> str:
    """The page, in Markdown."""
    line = [
        f"| {name} | {written(cells[f'line/{name}']['distance'], 3)} | {written(cells[f'line/{name}']['positive'], 3)} |"
        for name in SETTINGS
        if f"line/{name}" in cells
    ]
    parts = [
        PAGE.format(
            machine=machine, mass=line_distance(np.empty(0)), line="\n".join(line), noise=NOISE, last=NOISE / 3,
            iterations=ITERATIONS, calls=CALLS, langevin=LANGEVIN, dps=BASELINE_STEPS["DPS"], diffpir=BASELINE_STEPS["DiffPIR"],
            tuning=TUNING, samples=SAMPLES,
        )
    ]  # fmt: skip
    for pictures in PICTURES:
        parts += [f"\n### {pictures.capitalize()}, {SIZES[pictures]}\n{TABLE}\n", *rows(cells, pictures)]
    return "".join(parts) + GALLERY


def rows(cells: dict, pictures: str) -> list[str]:
    lines = []
    for name in OPERATORS:
        for method in ("DPnP", *WEIGHTS):
            found = joined(cells, f"{pictures}/{name}/{method}")
            if found:
                label = method if found["weight"] is None else f"{method}, weight {found['weight']:g}"
                every = written(found["psnr_all"]) if method == "DPnP" else ""
                lines.append(
                    f"| {name} | {label} | {len(found['psnr_few'])} | {written(found['psnr_few'])} | "
                    f"{written(found['ssim_few'], 3)} | {every} | {written(found['psnr_sample'])} | "
                    f"{written(found['coverage'], 3)} | {found['seconds']:.2g} |\n"
                )
    return lines


SIZES = {"digits": "8 x 8; super-resolution is 2x", "patches": "32 x 32, of photographs; super-resolution is 4x"}
GALLERY = """
## One picture, three measurements

A patch of a photograph that the network was not trained on: half of its pixels seen; means of 4 x 4 blocks; amplitudes behind two
masks; one bit for each pixel. White in the deviation is its largest value. In phase retrieval the chains end at either sign, x or
-x, as the measurement allows; their mean is then neither.

![a patch, its posterior means, deviations and samples](../docs/images/dpnp-patches.png)
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder that holds digits/ and patches/")
    parser.add_argument("--cache", type=Path, default=Path("runs/dpnp-study"))
    parser.add_argument("--operators", default=",".join(OPERATORS))
    parser.add_argument("--block", type=int, default=10, help="pictures at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="x86_64, 2 cores beside other work.", help="what the page says of it")
    parser.add_argument("--write", action="store_true", help="only write the page from what the cache holds")
    parser.add_argument("--gallery", action="store_true", help="only draw the picture of the page")
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    if arguments.gallery:
        gallery(arguments.models / "patches", held_out("patches")[TUNING], arguments.cache, arguments.device)
    elif arguments.write:
        found = read_json(arguments.cache / "cells.json")
        Path(__file__).with_suffix(".md").write_text(report(found, arguments.machine))
    else:
        study(arguments.models, arguments.cache, arguments.operators.split(","), arguments.block, arguments.device)
        print(report(read_json(arguments.cache / "cells.json"), arguments.machine))
