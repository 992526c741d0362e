"""DPnP beside exact posteriors on mixtures, and beside DPS and DiffPIR on pictures that no network was trained on.

    python benchmarks/dpnp.py --model models/digits --pictures digits --cache runs/dpnp-study --write

Goes on from what the cache holds. Intervals are 95 % over seeds or pictures (Student's t).
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

BLOCK, IMAGES, NOISE, SAMPLES, FEW = 10, 50, 0.1, 19, 5
ITERATIONS, CALLS, LANGEVIN = 15, 10, 100
BASELINE_STEPS, TUNING = 100, 10  # pictures to choose a baseline's weight on, not among those it is judged by
OPERATORS = ("inpainting", "super-resolution", "phase-retrieval", "quantized")
WEIGHTS = {"DPS": (1.0, 3.0, 10.0, 30.0), "DiffPIR": (1.0, 7.0, 30.0)}
NOT_FOR = {"DPS": ("quantized",), "DiffPIR": ("quantized", "phase-retrieval")}
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


def picture_cell(pipeline, pictures: torch.Tensor, name: str, method: str, block: int, weight: float | None = None) -> dict:
    """Scores of a block of pictures, one operator for all."""
    truth = pictures[TUNING + block * BLOCK : TUNING + (block + 1) * BLOCK] if block >= 0 else pictures[:TUNING]
    shape = tuple(truth.shape[1:])
    physics = operator(name, shape, NOISE, torch.Generator().manual_seed(0))
    y = physics(truth, torch.Generator().manual_seed(100 + block))
    started = time.process_time()
    if method == "DPnP":
        extra = {"eta_max": ETA_MAX[name]} if name in ETA_MAX else {}
        chains = pipeline.sampler(
            y, physics, generator=torch.Generator().manual_seed(block), num_samples=SAMPLES, k=ITERATIONS, dds_steps=CALLS,
            pcs_steps=LANGEVIN, **extra,
        )  # fmt: skip
        samples = finished(chains).x.unflatten(0, (len(truth), SAMPLES))
    else:
        from dpnp_baselines import diffpir, dps

        sampler = {"DPS": dps, "DiffPIR": diffpir}[method]
        count = FEW if block >= 0 else 1
        each = [sampler(pipeline, physics, y, truth.shape, weight=weight, steps=BASELINE_STEPS, seed=s) for s in range(count)]
        samples = torch.stack(each, dim=1)
    return scores(samples, truth) | {"seconds": (time.process_time() - started) / truth.shape[0]}


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


def study(pipeline, pictures: torch.Tensor, cache: Path, only: list[str], blocks: int) -> dict:
    """Do what the cache lacks, block by block, so that a part is a fair sample of the whole."""
    file = cache / "cells.json"
    cells = read_json(file) if file.exists() else {}

    def cell(key: str, work) -> dict:
        if key not in cells:
            cells[key] = work()
            write_json(file, cells)
            print(f"{time.strftime('%H:%M:%S')} {key}", flush=True)
        return cells[key]

    cache.mkdir(parents=True, exist_ok=True)
    for block in range(blocks):
        for name in only:
            cell(f"{name}/DPnP/{block}", lambda: picture_cell(pipeline, pictures, name, "DPnP", block))
        for name in only:
            for method, weights in WEIGHTS.items():
                if name in NOT_FOR[method]:
                    continue
                tried = {}
                for w in weights:
                    work = partial(picture_cell, pipeline, pictures, name, method, -1, w)
                    tried[w] = np.mean(cell(f"{name}/{method}/weight {w:g}", work)["psnr_few"])
                best = max(tried, key=tried.__getitem__)
                work = partial(picture_cell, pipeline, pictures, name, method, block, best)
                cell(f"{name}/{method}/{block}", lambda: work() | {"weight": best})
    for name in SETTINGS:
        cell(f"line/{name}", lambda: mixture_cell(name))
    return cells


def gallery(model: Path, picture: torch.Tensor, cache: Path) -> None:
    """Draw one picture, what is known of it after three measurements, and the samples."""
    from matplotlib.figure import Figure

    cache.mkdir(parents=True, exist_ok=True)
    write_picture(cache / "picture.png", picture)
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    for row, name in zip(figure.subplots(3, 4), ("inpainting", "phase-retrieval", "quantized"), strict=True):
        restored = Restoration(model, cache / "picture.png", name, fit=True, k=20)
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
    figure.savefig(Path(__file__).parents[1] / "docs/images/dpnp-digits.png", dpi=90)


def written(values: list, digits: int = 2) -> str:
    kept = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    if len(kept) < 2:
        return ""
    half = stats.t.ppf(0.975, len(kept) - 1) * kept.std(ddof=1) / np.sqrt(len(kept))
    return f"{kept.mean():.{digits}f} ± {half:.{digits}f}"


def joined(cells: dict, name: str, method: str) -> dict:
    """The blocks of one operator and method together; empty if there is none."""
    parts = [cells[key] for key in sorted(cells) if key.startswith(f"{name}/{method}/") and "weight " not in key]
    if not parts:
        return {}
    lists = {key: [value for part in parts for value in part[key]] for key in parts[0] if isinstance(parts[0][key], list)}
    return lists | {"weight": parts[0].get("weight"), "seconds": float(np.mean([part["seconds"] for part in parts]))}


def report(cells: dict, pictures: str) -> str:
    """The tables, in Markdown."""
    mass = line_distance(np.empty(0))
    lines = [
        "# DPnP",
        "",
        f"`python benchmarks/dpnp.py --model models/{pictures} --pictures {pictures} --cache runs/dpnp-study --write` on x86_64, "
        "2 cores beside other work. Intervals are 95 %, Student's t.",
        "",
        "## Phase retrieval on the line, against the exact posterior",
        "",
        f"y = |x| + N(0, 0.15^2), y = 1.25, a three-component prior; exact mass of x > 0: {mass:.3f}. 2,000 chains, 3 seeds, 20 "
        "Langevin steps and 16 network calls an iteration. Exact samples of that number are 0.03 away by chance alone.",
        "",
        "| DPnP | total variation | mass of x > 0 |",
        "|---|---|---|",
        *(
            f"| {name} | {written(cells[f'line/{name}']['distance'], 3)} | {written(cells[f'line/{name}']['positive'], 3)} |"
            for name in SETTINGS
            if f"line/{name}" in cells
        ),
        "",
        "## One digit, three measurements",
        "",
        "`--gallery` draws it: a digit not trained on, half of its pixels seen; amplitudes behind two masks; "
        "one bit for each pixel. 20 iterations of 20 network calls, 16 chains. White in the deviation is its largest value.",
        "",
        "![a digit, its posterior means, deviations and samples](../docs/images/dpnp-digits.png)",
        "",
        f"## {pictures.capitalize()}, held out from the network's training",
        "",
        f"Noise {NOISE} on [-1, 1]. DPnP: eta from 1 (phase retrieval: 2) to {NOISE / 3:.3f} in {ITERATIONS} iterations of "
        f"{CALLS} network calls, {LANGEVIN} Langevin steps where the operator is not linear. DPS and DiffPIR are deepinv's, "
        f"{BASELINE_STEPS} steps, their weights the best of a list on {TUNING} other pictures. PSNR in dB. Coverage is the share "
        f"of pixels of the true picture within the 90 % interval of {SAMPLES} samples: exact sampling of the network's posterior "
        "would give 0.90 if the network were the true prior.",
        "",
        f"| operator | method | pictures | PSNR, mean of {FEW} samples | SSIM | PSNR, mean of {SAMPLES} | PSNR of a sample | "
        "coverage | CPU s a picture |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in OPERATORS:
        for method in ("DPnP", *WEIGHTS):
            found = joined(cells, name, method)
            if found:
                label = method if found["weight"] is None else f"{method}, weight {found['weight']:g}"
                every = written(found["psnr_all"]) if method == "DPnP" else ""
                lines.append(
                    f"| {name} | {label} | {len(found['psnr_few'])} | {written(found['psnr_few'])} | "
                    f"{written(found['ssim_few'], 3)} | {every} | "
                    f"{written(found['psnr_sample'])} | {written(found['coverage'], 3)} | {found['seconds']:.2g} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pictures", choices=("digits", "patches"), default="digits")
    parser.add_argument("--cache", type=Path, default=Path("runs/dpnp-study"))
    parser.add_argument("--operators", default=",".join(OPERATORS))
    parser.add_argument("--blocks", type=int, default=IMAGES // BLOCK)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--gallery", action="store_true", help="only draw the picture of the page")
    arguments = parser.parse_args()
    held_out = torch.from_numpy(getattr(data, arguments.pictures)().held_out)
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    if arguments.gallery:
        gallery(arguments.model, held_out[3], arguments.cache)
        raise SystemExit
    made = load_pipeline(arguments.model)
    made.set_progress_bar_config(disable=True)
    table = report(
        study(made, held_out[order], arguments.cache, arguments.operators.split(","), arguments.blocks), arguments.pictures
    )
    print(table)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(table)
