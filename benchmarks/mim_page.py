"""The page and pictures of ``benchmarks/mim.py``, from the results that lie in runs/mim.

python benchmarks/mim_page.py
"""

import argparse
import textwrap
from pathlib import Path
from typing import Any

import mim
import numpy as np
import torch

from robust_rl.extras.mim import SpatialPatchData, gap_sizes, train
from robust_rl.extras.mim.page import map_course, phases
from robust_rl.extras.mim.snapshots import MapSnapshots, choose_scene, load_snapshots
from robust_rl.training import read_json

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
COLUMNS = [(36, "positive"), (36, "negative"), (64, "positive"), (64, "negative")]
LABELS = {
    "cos": "mean cosine", "nmi": "information on the query / log N", "entropy": "entropy of a row, nats",
    "distance": "distance looked, pixels", "rank": "effective rank",
}  # fmt: skip

PAGE = """# Masked image modelling

The commands are in the first lines of `benchmarks/mim.py`; this page is what `benchmarks/mim_page.py` makes of their results.
x86_64, 2 cores beside other work, one thread, CPU.

## The theory's predictions for one layer

Plain gradient descent from Q = 0 on fresh images, 3 clusters, z uniform on [1, 1.5], half of the patches hidden, 48 images a
step, 5 seeds (of areas, images and masks) in each column. Masked autoencoding: rate 1, 800 steps. Contrastive learning:
complementary views, temperature 1, no gradient through the second view, rate 50, 600 steps; the same for 64 patches as for
36. Measured on 2,048 fresh images. Means, and the range over seeds; in brackets what attending to all patches alike would
give.

{predictions}

Every bound holds for every seed where the last column says "all". The areas of 64 patches come from the same exponents
(kappa_c, kappa_s) as those of 36.

![correlations by role](../docs/images/mim-phases.png)

The same masked training in other settings, 36 patches, 5 seeds each:

{variants}

Adam (rate 0.05) reaches the same end, but the correlations get there by another way: the ratio that tells the two signs of
the gap apart under gradient descent is nearly the same for both. Hence the plain descent.

What the contrastive column can and can't say: with the average over patches as representation, the loss treats all queries
alike, so that from Q = 0 all rows of Q that matter get the same gradient, and the cosine between attention rows is 1 by
symmetry, whatever the data. That the rows go to the global area is not by symmetry. From a random start (entries of Q normal)
it looks like this:

{random}

So the collapse needs a small start: differences between rows that are there at the start stay, as nothing removes them.

![attention maps over training](../docs/images/mim-maps.png)

## Two layers on digits

scikit-learn's 1,797 digits of 8 x 8 pixels as 16 patches, {seen:,} to learn from and {held_out} to measure on; two layers of
four heads, width 32, AdamW, {seeds} seeds. transformers' ViTMAE hides half of the patches while it learns ({mae} epochs), and
sees whole images here. The contrastive ViT tells images apart by two views, shifted, fainter or stronger, with noise
({contrastive} epochs). Mean over heads and images for each seed; mean over seeds, and their range. The theory covers one
layer and says nothing on this: no threshold was set. A new ViTMAE of transformers 5.23 has all its positions, class and mask
tokens at zero and can learn no more than the mean image; here they are set as its authors do.

{digits}

Held-out accuracy of logistic regression on the mean over patches of the last layer: {probes}.

{verdict} So the contrast of the one-layer theory is not seen here. Both have learned: the masked autoencoder's squared error
on hidden pixels ends at {losses} where the mean image would cost 0.29, and digits are told apart better than before training. But
a decoder does part of the filling in, the first weights (standard deviation 0.2) make attention diverse from the start, and two
layers of width 32 on 16 patches are small.

![diversity by layer](../docs/images/mim-digits.png)

## A thousand images through a ViT of the base shape

Random images of 224 x 224 pixels, one at a time, through transformers' `ViTModel` with the base size's 12 layers, 12 heads and
197 tokens, at a quarter of its width, on which the maps' size doesn't depend; random weights, float32, eager attention. The
call is `attention_diversity(attention_maps(model, batches))`, with a generator of batches. All maps together would take
{whole:.0f} GiB.

{stream}

{seconds}

![peak memory](../docs/images/mim-stream.png)
"""


def load(out: Path, kind: str) -> list[dict[str, Any]]:
    """Return the results of a setting, one a seed."""
    return [read_json(path) for path in sorted(out.glob(f"{kind}-[0-9].json"))]


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *lines))


def spread(values: list[float], form: str = ".3f", chance: list[float] | None = None) -> str:
    """Return a mean and a range."""
    text = f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"
    return text if chance is None else f"{text} [{np.mean(chance):{form}}]"


def ratio(found: dict[str, Any], level: float) -> float:
    """Return |Phi to the global feature| / Phi to the target when the target first crosses a level."""
    _, target, to_global = found["crossed"][str(level)]
    return abs(to_global) / target


def predictions(out: Path) -> str:
    """Return the table of A1 to A7."""
    masked = [load(out, f"mae-{count}-{gap}") for count, gap in COLUMNS]
    other = [load(out, f"contrastive-{count}-{gap}") for count, gap in COLUMNS]

    def line(name, bound, columns, value, holds, form=".3f", chance=None):
        cells, verdicts = [], []
        for (_, gap), runs in zip(COLUMNS, columns, strict=True):
            if holds(runs[0], gap) is None:
                cells.append("")
                continue
            verdicts += [holds(run, gap) for run in runs]
            cells.append(spread([value(run) for run in runs], form, [run[chance] for run in runs] if chance else None))
        return [name, *cells, bound, "all" if all(verdicts) else f"{sum(verdicts)} of {len(verdicts)}"]

    def only(sign, check):
        return lambda run, gap: check(run) if gap == sign else None

    def always(check):
        return lambda run, gap: check(run)

    def excess(run):
        return (run["loss"] - run["floor"]) / run["zero_loss"]

    rows = [
        line("A1 masked: (loss - floor) / loss of zeros", "< 0.05", masked, excess, always(lambda r: excess(r) < 0.05), ".4f"),
        line("A2 masked: local patches to own area", "> 0.9", masked, lambda r: r["own_area"],
             always(lambda r: r["own_area"] > 0.9), chance="chance_own_area"),
        line("A3 masked: global patches to own area", "> 0.9", masked, lambda r: r["global_own_area"],
             always(lambda r: r["global_own_area"] > 0.9), chance="chance_global_own_area"),
        line("A4 masked: \\|Phi global\\| / Phi target as the target passes 0.25", "> 1", masked, lambda r: ratio(r, 0.25),
             only("positive", lambda r: ratio(r, 0.25) > 1 and r["crossed"]["0.25"][2] < 0)),
        line("A5 masked: the same as it passes 1", "< 0.5", masked, lambda r: ratio(r, 1.0),
             only("negative", lambda r: ratio(r, 1.0) < 0.5)),
        line("A6 contrastive: local patches to the global area", "> chance, > own", other, lambda r: r["to_global"],
             always(lambda r: r["to_global"] > max(r["chance_to_global"], r["own_area"])), chance="chance_to_global"),
        line("A6 contrastive: local patches to own area", "< chance", other, lambda r: r["own_area"],
             always(lambda r: r["own_area"] < r["chance_own_area"]), ".4f", chance="chance_own_area"),
        line("A7 masked: mean cosine of two rows", "< 0.6", masked, lambda r: r["cosine"], always(lambda r: r["cosine"] < 0.6)),
        line("A7 contrastive: mean cosine of two rows", "> 0.9", other, lambda r: r["cosine"],
             always(lambda r: r["cosine"] > 0.9)),
    ]  # fmt: skip
    heads = [f"{count} patches, Delta = {runs[0]['gap']:+.2f}" for (count, _), runs in zip(COLUMNS, masked, strict=True)]
    return table(["prediction", *heads, "bound", "seeds it holds for"], rows)


def variants(out: Path) -> str:
    """Return the table of other settings of masked training."""
    names = {
        "mae": "as above", "visible": "only visible patches are keys", "connected": "connected areas", "adam": "Adam, rate 0.05",
    }  # fmt: skip
    lines = []
    for kind, name in names.items():
        for gap in mim.GAPS:
            runs = load(out, f"{kind}-36-{gap}")
            ratios = [f"{np.mean([ratio(run, level) for run in runs]):.2f}" for level in mim.CROSSINGS]
            shares = [spread([run[key] for run in runs]) for key in ("own_area", "global_own_area", "cosine")]
            lines.append([name, f"{runs[0]['gap']:+.2f}", *shares, ", ".join(ratios)])
    head = ["setting", "Delta", "A2: to own area", "A3: global patches to own area", "A7: mean cosine"]
    return table([*head, "\\|Phi global\\| / Phi target as the target passes 0.25, 0.5, 1"], lines)


def random_starts(out: Path) -> str:
    """Return the table of contrastive training from random starts."""
    lines = []
    for gap in mim.GAPS:
        for start in ("contrastive", "random0.1", "random1.0"):
            runs = load(out, f"{start}-36-{gap}")
            size = "0" if start == "contrastive" else start.removeprefix("random")
            shares = [spread([run[key] for run in runs]) for key in ("cosine_before", "cosine", "to_global")]
            lines.append([size, f"{runs[0]['gap']:+.2f}", *shares, f"{runs[0]['chance_to_global']:.3f}"])
    return table(["standard deviation", "Delta", "cosine before", "cosine after", "to the global area", "chance"], lines)


def digits(out: Path) -> tuple[str, str, str]:
    """Return the table of measures by layer, the probes, and what is to be said."""
    runs = load(out, "digits")
    models, layers = list(runs[0]["heads"]), range(2)
    values = {(m, k, i): [float(np.mean(run["heads"][m][k][i])) for run in runs] for m in models for k in LABELS for i in layers}
    lines = [[LABELS[k], i + 1, *(spread(values[m, k, i]) for m in models)] for k in LABELS for i in layers]
    probes = ", ".join(f"{m} {spread([run['probe'][m] for run in runs])}" for m in models)
    mae, other = models[:2]
    counts = []
    for i in layers:
        lower = sum(a < b for a, b in zip(values[mae, "cos", i], values[other, "cos", i], strict=True))
        counts.append(f"in layer {i + 1} for {lower} of {len(runs)} seeds")
    verdict = (
        f"By the cosine, the masked autoencoder's attention is more diverse than the contrastive model's {' and '.join(counts)}."
    )
    return table(["measure", "layer", *models], lines), probes, verdict


def digits_picture(out: Path) -> Any:
    from matplotlib.figure import Figure

    runs = load(out, "digits")
    canvas = Figure(figsize=(13, 3.3), layout="constrained")
    for axes, (measure, label) in zip(canvas.subplots(1, len(LABELS)), LABELS.items(), strict=True):
        for i, model in enumerate(runs[0]["heads"]):
            heads = np.array([run["heads"][model][measure] for run in runs])  # (seeds, layers, heads)
            for layer in range(2):
                place = layer + 1 + 0.12 * (i - 1)
                axes.plot(
                    np.full(heads[:, layer].size, place), heads[:, layer].ravel(), ".", color=f"C{i}", alpha=0.3, markersize=4
                )
            axes.plot([1 + 0.12 * (i - 1), 2 + 0.12 * (i - 1)], heads.mean((0, 2)), "o-", color=f"C{i}", label=model)
        axes.set(title=label, xticks=[1, 2], xlabel="layer")
        axes.title.set_fontsize("medium")
    canvas.legend(*canvas.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return canvas


def maps_picture(out: Path) -> Any:
    """Return maps of one image over training under both losses, from trainings of connected areas."""
    from matplotlib.figure import Figure

    data = SpatialPatchData(36, 3, *gap_sizes("positive"), layout="connected")
    pictures = {}
    for objective, name in (("mae", "masked autoencoding"), ("contrastive", "contrastive learning")):
        place = out / f"maps-{objective}"
        if not place.exists():
            train(data, objective, callbacks=(MapSnapshots(place, choose_scene(data)),))
        pictures[name] = load_snapshots(place)
    canvas = Figure(figsize=(7.6, 8.4), layout="constrained")
    halves = canvas.subfigures(2, 1)
    for half, (name, found) in zip(halves, pictures.items(), strict=True):
        map_course(found, half)
        half.suptitle(name)
    return canvas


def stream(out: Path) -> tuple[str, str, Any]:
    """Return the table of peaks, the time, and a figure."""
    from matplotlib.figure import Figure

    found = read_json(out / "stream.json")
    counts, peaks = zip(*found["peaks"], strict=True)
    shown = [i for i, count in enumerate(counts) if count in (0, 1, 10, 100, 500, 1000)]
    lines = [["images", *(int(counts[i]) or "model alone" for i in shown)], ["peak MiB", *(f"{peaks[i]:.0f}" for i in shown)]]
    canvas = Figure(figsize=(6, 3), layout="constrained")
    axes = canvas.subplots()
    axes.plot(counts[1:], peaks[1:], "o-", markersize=3)
    axes.set(xlabel="images so far", ylabel="peak memory of the process, MiB", ylim=(0, None))
    axes.axhline(peaks[0], color="black", linestyle=":", linewidth=1)
    axes.text(counts[-1], peaks[0], "with the model alone", ha="right", va="top", fontsize="small")
    seconds = (
        f"{found['processor'] / counts[-1]:.2f} seconds of processor time an image, the model's pass among it. "
        "What is kept of an image is 8 bytes a layer and head: 1.1 MiB in the end. The rest of the rise is memory that was freed "
        "and that the allocator found no use for, as far as we can tell."
    )
    return table(lines[0], lines[1:]), seconds, canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/mim"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    courses = {}
    for gap in mim.GAPS:
        course = read_json(out / f"mae-36-{gap}-0.json")
        names = course["course"]
        steps = range(len(next(iter(names.values()))))
        lines = [{"step": i + 1} | {name: values[i] for name, values in names.items()} for i in steps]
        courses[f"Delta = {course['gap']:+.2f}"] = lines
    phases(courses).savefig(IMAGES / "mim-phases.png", dpi=90)
    maps_picture(out).savefig(IMAGES / "mim-maps.png", dpi=90)
    digits_picture(out).savefig(IMAGES / "mim-digits.png", dpi=90)
    peaks, seconds, canvas = stream(out)
    canvas.savefig(IMAGES / "mim-stream.png", dpi=90)
    measured, probes, verdict = digits(out)
    losses = spread([run["courses"][0][-1] for run in load(out, "digits")], ".2f")
    page = PAGE.format(
        predictions=predictions(out), variants=variants(out), random=random_starts(out), digits=measured, probes=probes,
        verdict=verdict, losses=losses, stream=peaks, seconds=seconds, seen=1797 - mim.HELD_OUT, held_out=mim.HELD_OUT,
        **mim.EPOCHS, seeds=len(load(out, "digits")), whole=1000 * 12 * 12 * 197**2 * 4 / 2**30,
    )  # fmt: skip
    (ROOT / "benchmarks/mim.md").write_text(wrapped(page))


def wrapped(page: str) -> str:
    """Return a page with its paragraphs in lines of 126 characters; headings, tables and pictures stay as they are."""
    parts = page.strip().split("\n\n")
    parts = [part if part[0] in "#|!" else textwrap.fill(part, 126, break_on_hyphens=False) for part in parts]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
