"""What acceleration is worth: orders on laws known exactly, distances and Frechet distances on digits, wrong scores.

    robust-rl diffusion-train digits --out models/digits         # the network that the digits' parts look at
    python benchmarks/accelerated_diffusion.py models/digits --device cuda    # an hour or more on a CPU
    python benchmarks/accelerated_diffusion.py models/digits --write          # commits the tables and pictures

Parts that are done are kept in ``runs/accelerated-diffusion/`` and not done again; a killed run goes on where it was.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from robust_rl.extras.accelerated_diffusion import (
    GaussianMixture,
    disturbed,
    log_snr_levels,
    sample_ode,
    sde_law,
    total_variation,
    wasserstein,
)

KEPT = Path("runs/accelerated-diffusion")
IMAGES = Path(__file__).parents[1] / "docs" / "images"
MIXTURE = GaussianMixture([0.3, 0.5, 0.2], [-1.2, 0.4, 1.5], [0.25, 0.35, 0.15])
GRID = np.linspace(-8, 8, 2048)
PROBABILITIES = (np.arange(1000) + 0.5) / 1000
STEPS = (25, 50, 100, 200, 400)
ODES = ("euler", "ddim", "two_call", "one_call", "ab2_alpha", "ab2_sigma")
SDES = {"ddpm": ("ddpm", False), "accelerated": ("accelerated", False), "accelerated, noise outside": ("accelerated", True)}
SIZES, FREQUENCIES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2), (1.0, 4.0)
CALLS = (5, 10, 20, 50)
STOCHASTIC_CALLS, DETERMINISTIC_CALLS = (10, 20, 50), (5, 10, 20)  # of the Frechet distances
STARTS = 1000  # of the distances
SAMPLES, SEEDS, BATCH = 5000, range(5), 2500  # a Frechet distance's
REAL = 750  # real digits scored against the others


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """Return a part's numbers, from the file if it is done."""
    path = KEPT / f"{name.replace(' ', '_').replace(',', '')}.json"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        content = json.dumps(compute())
        path.write_text(content)
        print(f"{name}: done", flush=True)
    return json.loads(path.read_text())


# --- laws known exactly


def w2(steps: int, method: str, score: Any = None) -> float:
    levels = log_snr_levels(steps)
    start, end = (MIXTURE.quantiles(PROBABILITIES, levels[k]) for k in (-1, 0))
    return wasserstein(sample_ode(score or MIXTURE.scores(levels), start, levels, method), end)


def law(steps: int, method: str, outside: bool = False, score: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The density of a stochastic sampler's output, and the exact one."""
    levels = log_snr_levels(steps)
    start, end = (MIXTURE.density(GRID[:, None], levels[k]) for k in (-1, 0))
    return sde_law(score or MIXTURE.scores(levels), start, GRID, levels, method, late_outside=outside), end


def law_w2(density: np.ndarray, exact: np.ndarray) -> float:
    """W2 of two densities on the grid, through their quantiles."""
    cell, points = GRID[1] - GRID[0], []
    for one in (density, exact):
        cumulative = np.cumsum(np.maximum(one, 0)) * cell
        points.append(np.interp(PROBABILITIES * cumulative[-1], cumulative, GRID + cell / 2))
    return wasserstein(*points)


def order(name: str) -> list[float]:
    """A sampler's errors by number of steps."""
    if name in ODES:
        return [w2(steps, name) for steps in STEPS]
    method, outside = SDES[name]
    return [total_variation(*law(steps, method, outside), GRID) for steps in STEPS]


def slope(errors: list[float]) -> float:
    return float(np.polyfit(np.log(STEPS[2:]), np.log(errors[2:]), 1)[0])


def score_errors(method: str, frequency: float, steps: int = 100) -> list[float]:
    """W2 with a wave of each size in the score; mean over three draws of phases."""
    levels, found = log_snr_levels(steps), []
    for size in SIZES:
        wrong = [disturbed(MIXTURE.scores(levels), levels, size, frequency, seed) for seed in range(3 if size else 1)]
        if method in ODES:
            found.append(float(np.mean([w2(steps, method, score) for score in wrong])))
        else:
            found.append(float(np.mean([law_w2(*law(steps, method, score=score)) for score in wrong])))
    return found


# --- the digits' network


def network(folder: str, device: str) -> Any:
    import torch
    from diffusers import UNet2DModel

    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    return UNet2DModel.from_pretrained(folder, subfolder="unet").eval().to(device)


def deterministic(spacing: str) -> dict[str, Callable[[], Any]]:
    """Schedulers by name. None clips: the order is what is looked at."""
    import diffusers as d

    from robust_rl.extras.accelerated_diffusion import AcceleratedDDIMScheduler

    return {
        "DDIM": lambda: d.DDIMScheduler(clip_sample=False, timestep_spacing=spacing),
        "Accelerated, ab2_alpha": lambda: AcceleratedDDIMScheduler(timestep_spacing=spacing),
        "Accelerated, ab2_sigma": lambda: AcceleratedDDIMScheduler(timestep_spacing=spacing, variant="ab2_sigma"),
        "DPMSolverMultistep (2M)": lambda: d.DPMSolverMultistepScheduler(timestep_spacing=spacing),
        "UniPCMultistep": lambda: d.UniPCMultistepScheduler(timestep_spacing=spacing),
        "HeunDiscrete": lambda: d.HeunDiscreteScheduler(
            beta_start=1e-4, beta_end=0.02, beta_schedule="linear", timestep_spacing=spacing
        ),
    }


def stochastic() -> dict[str, Callable[[], Any]]:
    from diffusers import DDPMScheduler

    from robust_rl.extras.accelerated_diffusion import AcceleratedDDPMScheduler

    return {
        "DDPM": lambda: DDPMScheduler(clip_sample=False),
        "Accelerated": lambda: AcceleratedDDPMScheduler(),
        "Accelerated, noised start": lambda: AcceleratedDDPMScheduler(noised_start=True),
    }


def draw(net: Any, scheduler: Any, calls: int, count: int, seed: int, chance: bool) -> np.ndarray:
    """Samples (count, 64) in [-1, 1] before clipping, from at most so many network calls each."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, 8, 8, generator=generator)
    scheduler.set_timesteps((calls + 1) // 2 if type(scheduler).__name__.startswith("Heun") else calls)
    assert len(scheduler.timesteps) <= calls
    x = (x * float(scheduler.init_noise_sigma)).to(net.device)
    with torch.no_grad():
        for t in scheduler.timesteps:
            shown = scheduler.scale_model_input(x, t)
            output = torch.cat([net(part, t).sample for part in shown.split(BATCH)])
            x = scheduler.step(output, t, x, **({"generator": generator} if chance else {})).prev_sample
    return np.asarray(x.reshape(count, -1).cpu(), dtype=np.float64)


def distances(net: Any, spacing: str, name: str) -> dict[str, list[float]]:
    """Root mean square distance to DDIM's 1000-step samples, one a picture, by calls."""
    reference = np.array(
        kept("reference", lambda: draw(net, deterministic("leading")["DDIM"](), 1000, STARTS, 0, False).tolist())
    )
    return {
        str(calls): np.sqrt(
            ((draw(net, deterministic(spacing)[name](), calls, STARTS, 0, False) - reference) ** 2).mean(1)
        ).tolist()
        for calls in CALLS
    }


@cache
def classifier() -> Any:
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    from robust_rl.extras.denoiser import digits

    train = digits().train.reshape(-1, 64)
    return MLPClassifier((64, 16), alpha=1e-2, max_iter=200, random_state=0).fit(train, load_digits().target[: len(train)])


def features(pictures: np.ndarray) -> np.ndarray:
    """The classifier's last hidden layer, (n, 16)."""
    hidden = np.clip(pictures, -1, 1)
    for weights, bias in zip(classifier().coefs_[:-1], classifier().intercepts_[:-1]):
        hidden = np.maximum(hidden @ weights + bias, 0)
    return hidden


def frechet(pictures: np.ndarray, real: np.ndarray) -> float:
    """Frechet distance of Gaussians fitted to both in the classifier's features."""
    (m, s), (n, r) = ((f.mean(0), np.cov(f.T)) for f in (features(pictures), features(real)))
    roots = np.sqrt(np.clip(np.linalg.eigvals(s @ r).real, 0, None))  # tr sqrt(s r); some features never fire, so s is singular
    return float(((m - n) ** 2).sum() + np.trace(s + r) - 2 * roots.sum())


def frechet_of(net: Any, make: Callable[[], Any], calls: int, chance: bool) -> list[float]:
    from robust_rl.extras.denoiser import digits

    real = digits().train.reshape(-1, 64)
    return [frechet(draw(net, make(), calls, SAMPLES, 100 + seed, chance), real) for seed in SEEDS]


def frechet_floor() -> dict[str, Any]:
    from sklearn.datasets import load_digits

    from robust_rl.extras.denoiser import digits

    found = digits()
    real, held_out = found.train.reshape(-1, 64), found.held_out.reshape(-1, 64)
    floors = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(real))
        floors.append(frechet(real[order[:REAL]], real[order[REAL:]]))
    accuracy = classifier().score(held_out, load_digits().target[-len(held_out) :])
    return {"floor": floors, "held out": frechet(held_out, real), "accuracy": float(accuracy)}


# --- tables and pictures


def interval(values: Any) -> str:
    """Mean and a 95% interval of Student's t."""
    values = np.asarray(values)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.3g} ± {half:.2g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def orders_section(found: dict[str, list[float]]) -> str:
    shown = [(name, "W2") for name in ODES] + [(name, "TV") for name in SDES]
    rows = [[name, kind, *(f"{e:.2e}" for e in found[name]), f"{slope(found[name]):.2f}"] for name, kind in shown]
    ratio = ", ".join(f"{a / b:.2f}" for a, b in zip(found["accelerated"], found["ddpm"]))
    return f"""## Orders on a mixture known exactly

One dimension, three components, levels uniform in log signal to noise from 1 - 1e-3 to e^-10, exact start, exact score.
Deterministic samplers: W2 by 1,000 quantiles; stochastic ones: total variation of densities on a grid. Nothing is
drawn. Slopes are those of log error over log T from T = 100.

{table(["sampler", "error", *(f"T = {t}" for t in STEPS), "slope"], rows)}

`two_call` asks for the score twice a step; the others once. Accelerated over DDPM in total variation: {ratio}.
So the stochastic sampler gains a constant here, not an order: DDPM is of first order itself on smooth data, beyond its bound.

![errors](../docs/images/accelerated-diffusion-orders.png)
"""


def score_section(found: dict[str, list[float]]) -> str:
    rows = [[name, *(f"{e:.2e}" for e in errors)] for name, errors in found.items()]
    return f"""## Scores that are wrong by a known amount

The mixture, T = 100. A wave is added to the score: in units of the noise its root mean square is `size` at every level,
that of its derivative size times frequency. W2 at the end, mean of three draws of phases.

An error of 0.05 in the predicted noise costs the deterministic samplers what acceleration had gained; below it, acceleration
pays. The quick wave, whose derivative is four times as wrong for the same l2 error, does nothing to the stochastic samplers
(their noise averages over it) and as much as the slow one to the deterministic ones: it is for these that the theorem asks
for an accurate Jacobian.

{table(["sampler", *(f"size {size:g}" for size in SIZES)], rows)}

![wrong scores](../docs/images/accelerated-diffusion-score-error.png)
"""


def distance_section(found: dict[tuple[str, str], dict[str, list[float]]]) -> str:
    rows, ratios = [], []
    for (spacing, name), by_calls in found.items():
        rows.append([name, spacing, *(interval(by_calls[str(calls)]) for calls in CALLS)])
        if name.startswith("Accelerated"):
            ddim = found[spacing, "DDIM"]
            pairs = [np.subtract(by_calls[str(c)], ddim[str(c)]) for c in CALLS]
            ratios.append([name, spacing, *(f"{interval(pair)}; {np.mean(pair < 0):.0%}" for pair in pairs)])
    head = ["scheduler", "spacing", *(f"{calls} calls" for calls in CALLS)]
    return f"""## Digits: distance to the 1000-step solution

The network of `robust-rl diffusion-train digits`, {STARTS} starts, the same for all. Root mean square distance a pixel
(pixels run from -1 to 1) to DDIM's samples of 1,000 steps; mean and 95% interval over starts. HeunDiscrete makes two
calls a step but one in the last: 5, 9, 19, 49 of them. Spacings as each scheduler of diffusers rounds them; nothing is
clipped.

{table(head, rows)}

Less DDIM's distance, of the same start and as many calls, and at how many of the starts that is below 0:

{table(head, ratios)}

Both variants are nearer than DDIM at 10, 20 and 50 calls, ab2_sigma nearest of all schedulers here. At 5 calls ab2_alpha gains
little, and diffusers' multistep solvers are ahead.
"""


def frechet_section(floor: dict[str, Any], found: dict[str, dict[int, list[float]]]) -> str:
    calls = sorted({c for by_calls in found.values() for c in by_calls})
    rows = [[name, *(interval(by_calls[c]) if c in by_calls else "" for c in calls)] for name, by_calls in found.items()]
    return f"""## Digits: Frechet distance in a classifier's features

The features are the last hidden layer (16) of a perceptron trained here on the 1,500 training digits
({floor["accuracy"]:.1%} right on the other 297); {SAMPLES} samples against these 1,500; mean and 95% interval over
{len(SEEDS)} seeds. {REAL} of the real digits against the others score {interval(floor["floor"])}; the 297 held out,
other writers', {floor["held out"]:.3g}. It says nothing beyond these digits and isn't comparable with any published
FID.

{table(["scheduler, leading", *(f"{c} calls" for c in calls)], rows)}

Of the deterministic ones, ab2_alpha at 10 calls is where DDIM isn't at 20, and as good as DPMSolverMultistep. The accelerated
stochastic sampler is **worse** than DDPM at 10, 20 and 50 calls: its steps of h near 1 leave noise in the pictures, and what it
gains on smooth laws shows at more steps than anybody takes here. Take the deterministic one.

![digits](../docs/images/accelerated-diffusion-digits.png)
"""


def curves(found: dict[str, list[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, names, label in zip(
        figure.subplots(1, 2), (ODES, tuple(SDES)), ("W2, deterministic", "total variation, stochastic")
    ):
        for name in names:
            plain = name in ("euler", "ddim", "ddpm")
            axes.loglog(STEPS, found[name], "o--" if plain else "o-", markersize=4, label=f"{name} ({slope(found[name]):.2f})")
        axes.set(xlabel="steps T", ylabel=label)
        axes.set_xticks(STEPS, map(str, STEPS))
        axes.set_xticks([], minor=True)
        axes.tick_params(which="minor", labelleft=False)
        axes.legend(fontsize=8, title="slope from T = 100", title_fontsize=8)
    figure.savefig(IMAGES / "accelerated-diffusion-orders.png", dpi=80)


def score_curves(found: dict[str, list[float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, frequency in zip(figure.subplots(1, 2, sharey=True), FREQUENCIES):
        for method in ("ddim", "ab2_alpha", "ddpm", "accelerated"):
            style = "o-" if method in ("ddim", "ab2_alpha") else "s--"
            axes.plot(SIZES, found[f"{method}, frequency {frequency:g}"], style, markersize=4, label=method)
        axes.set(xlabel="root mean square error of the predicted noise", title=f"frequency {frequency:g}", yscale="log")
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("W2 after 100 steps")
    figure.savefig(IMAGES / "accelerated-diffusion-score-error.png", dpi=90)


def pictures(net: Any) -> None:
    """Eight starts by rows of schedulers, columns of calls."""
    from matplotlib.figure import Figure

    makes = deterministic("leading")
    shown = {name: (makes[name], False) for name in ("DDIM", "Accelerated, ab2_alpha", "DPMSolverMultistep (2M)")}
    shown |= {f"{name} (stochastic)": (stochastic()[name], True) for name in ("DDPM", "Accelerated")}
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    grid = figure.subplots(len(shown), len(CALLS))
    for row, (name, (make, chance)) in zip(grid, shown.items()):
        for axes, calls in zip(row, CALLS):
            drawn = np.clip(draw(net, make(), calls, 8, 0, chance), -1, 1).reshape(2, 4, 8, 8)
            framed = np.pad(drawn, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1)
            axes.imshow(framed.transpose(0, 2, 1, 3).reshape(18, 36), cmap="gray", vmin=-1, vmax=1)
            axes.set(xticks=[], yticks=[])
            if axes in grid[0]:
                axes.set_title(f"{calls} calls", fontsize=9)
        row[0].set_ylabel(name.replace(", ", ",\n").replace(" (", "\n("), fontsize=8)
    figure.savefig(IMAGES / "accelerated-diffusion-digits.png", dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="folder that robust-rl diffusion-train digits left")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="beside other work", help="what else the page says of it")
    parser.add_argument("--write", action="store_true", help="commit the tables to benchmarks/accelerated_diffusion.md")
    options = parser.parse_args()
    net = network(options.model, options.device)
    far = {
        (spacing, name): kept(f"distance {spacing} {name}", lambda: distances(net, spacing, name))
        for spacing in ("leading",)
        for name in deterministic(spacing)
    }
    floor, scored = kept("floor", frechet_floor), {}
    runs = [(f"{n} (stochastic)", make, STOCHASTIC_CALLS, True) for n, make in stochastic().items()]
    names = ("DDIM", "Accelerated, ab2_alpha", "DPMSolverMultistep (2M)")
    runs += [(n, deterministic("leading")[n], DETERMINISTIC_CALLS, False) for n in names]
    for name, make, calls, chance in runs:
        scored[name] = {c: kept(f"frechet {name} {c}", lambda: frechet_of(net, make, c, chance)) for c in calls}
    by_steps = {name: kept(f"order {name}", lambda: order(name)) for name in (*ODES, *SDES)}
    wrong = {
        f"{method}, frequency {frequency:g}": kept(f"score error {method} {frequency:g}", lambda: score_errors(method, frequency))
        for frequency in FREQUENCIES
        for method in ("ddim", "ab2_alpha", "ddpm", "accelerated")
    }
    sections = [orders_section(by_steps), distance_section(far), frechet_section(floor, scored), score_section(wrong)]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {options.machine}"
    head = "# Accelerated diffusion samplers\n\n`python benchmarks/accelerated_diffusion.py models/digits --write`"
    text = f"{head}, {machine}. Names are those of `robust_rl.extras.accelerated_diffusion` and of diffusers.\n\n" + "\n".join(
        sections
    )
    print(text)
    if options.write:
        Path(__file__).with_suffix(".md").write_text(text)
        curves(by_steps)
        score_curves(wrong)
        pictures(net)


if __name__ == "__main__":
    main()
