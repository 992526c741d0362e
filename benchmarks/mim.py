"""Masked image modelling: the theory over seeds, two small models on digits, and a thousand images in little memory.

    python benchmarks/mim.py theory      # A1 to A7: 36 and 64 patches, both signs of the gap, 5 seeds; some minutes, resumable
    python benchmarks/mim.py digits      # a tiny ViTMAE and a contrastive ViT, 3 seeds; a minute or two a seed, resumable
    python benchmarks/mim.py stream      # 1,000 images through a ViT of the base shape; some minutes
    python benchmarks/mim_page.py        # benchmarks/mim.md and docs/images/mim-*.png from the results of the others

Results lie in runs/mim. One thread.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.extras.mim import (
    MIMObjective,
    MIMTraining,
    OneLayerMIM,
    SpatialPatchData,
    attention_diversity,
    attention_maps,
    attention_report,
    compare,
    gap_sizes,
    train,
)
from robust_rl.extras.mim.digits import digit_images, patch_mean, train_contrastive, train_mae, untrained_vit
from robust_rl.training import write_json

ROOT = Path(__file__).resolve().parents[1]
SEEDS, GAPS = range(5), ("positive", "negative")
CROSSINGS = (0.25, 0.5, 1.0)


# the theory


def theory(out: Path) -> None:
    """Train the one-layer model in every setting that isn't done yet."""
    for n_patches in (36, 64):
        for gap in GAPS:
            for seed in SEEDS:
                once(out / f"mae-{n_patches}-{gap}-{seed}.json", lambda: masked(n_patches, gap, seed))
                once(out / f"contrastive-{n_patches}-{gap}-{seed}.json", lambda: contrastive(n_patches, gap, seed))
    for gap in GAPS:
        for seed in SEEDS:
            once(out / f"visible-36-{gap}-{seed}.json", lambda: masked(36, gap, seed, keys="visible"))
            once(out / f"connected-36-{gap}-{seed}.json", lambda: masked(36, gap, seed, layout="connected"))
            once(out / f"adam-36-{gap}-{seed}.json", lambda: masked(36, gap, seed, adam=True))
            for spread in (0.1, 1.0):
                path = out / f"random{spread}-36-{gap}-{seed}.json"
                once(path, lambda: contrastive(36, gap, seed, spread=spread))


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> None:
    """Compute and write what isn't there."""
    if not path.exists():
        started = time.process_time()
        found = compute()
        write_json(path, found | {"seconds": time.process_time() - started})
        print(path.stem, {name: value for name, value in found.items() if not isinstance(value, list | dict)}, flush=True)


def masked(
    n_patches: int, gap: str, seed: int, keys: str = "all", layout: str = "scattered", adam: bool = False
) -> dict[str, Any]:
    """Return the report of a masked training, and its correlations whenever the target's crosses a level."""
    data = SpatialPatchData(n_patches, 3, *gap_sizes(gap, n_patches), layout=layout, seed=seed)
    kind = AdamTraining if adam else MIMTraining
    training = kind(OneLayerMIM(data, keys=keys), data, MIMObjective(), learning_rate=0.05 if adam else 1.0, seed=seed)
    lines = []
    while not training.done:
        lines.append(dict(training.step()))
    crossed = {}
    for level in CROSSINGS:
        at = next((i for i, line in enumerate(lines) if line["phi/local_to_own"] >= level), None)
        if at is not None:
            crossed[str(level)] = [at + 1, lines[at]["phi/local_to_own"], lines[at]["phi/local_to_global"]]
    shown = {name: [line[name] for line in lines] for name in lines[0] if "/local" in name or "/global" in name}
    report = attention_report(training.model, data, batch=2048, seed=1000 + seed).summary()
    step20 = [lines[19]["phi/local_to_own"], lines[19]["phi/local_to_global"]]
    return {"gap": data.information_gap, "crossed": crossed, "step20": step20, "course": shown if seed == 0 else {}} | report


class AdamTraining(MIMTraining):
    """The same with Adam: what the dynamics must not be studied with."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)

    def step(self) -> dict[str, float]:
        """Take one of Adam's steps."""
        batch = self.data.sample(self.batch_size, self.generator)
        loss, _ = self.objective(self.model, batch, self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.count += 1
        return {"train/loss": loss.item()} | self.roles.means(self.model)


def contrastive(n_patches: int, gap: str, seed: int, spread: float = 0.0) -> dict[str, Any]:
    """Return the report of a contrastive training, from 0 or from a random start."""
    data = SpatialPatchData(n_patches, 3, *gap_sizes(gap, n_patches), seed=seed)
    model = OneLayerMIM(data)
    with torch.no_grad():
        model.Q.normal_(generator=torch.Generator().manual_seed(seed)).mul_(spread)
    before = attention_report(model, data, queries="all", batch=2048, seed=1000 + seed)
    training = train(data, "contrastive", model=model, seed=seed)
    report = attention_report(training.model, data, queries="all", batch=2048, seed=1000 + seed)
    return {"gap": data.information_gap, "cosine_before": before.cosine} | report.summary()


# digits


EPOCHS = {"mae": 150, "contrastive": 60}
HELD_OUT = 450
MEASURES = ("cos", "nmi", "entropy", "distance", "rank")


def digits(out: Path) -> None:
    """Train and compare both models, seed by seed."""
    for seed in SEEDS[:3]:
        once(out / f"digits-{seed}.json", lambda: digit_models(seed))


def digit_models(seed: int) -> dict[str, Any]:
    """Train on three quarters of the digits and measure on the rest."""
    images, labels = digit_images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held_out, seen = order[:HELD_OUT], order[HELD_OUT:]
    mae, mae_course = train_mae(images[seen], EPOCHS["mae"], seed)
    other, other_course = train_contrastive(images[seen], EPOCHS["contrastive"], seed)
    models = {"masked autoencoder": mae, "contrastive": other, "untrained": untrained_vit(seed)}
    found = compare(models, images[held_out], measures=MEASURES, patch_size=2.0, batch_size=64)
    probes = {name: probe(model, images, labels, seen, held_out) for name, model in models.items()}
    heads = {name: {m: found.found[name][m].mean.tolist() for m in MEASURES} for name in models}
    return {"rows": found.rows(), "heads": heads, "courses": [mae_course, other_course], "probe": probes}


@torch.no_grad()
def probe(model: Any, images: Tensor, labels: Tensor, seen: Tensor, held_out: Tensor) -> float:
    """Return the held-out accuracy of logistic regression on the mean of the last layer over patches."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    encoder = copy.deepcopy(getattr(model, "vit", model))
    if hasattr(encoder.config, "mask_ratio"):
        encoder.config.mask_ratio = 0.0
    features = patch_mean(encoder(images)).numpy()
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features[seen], labels[seen])
    return float(fitted.score(features[held_out], labels[held_out]))


# a thousand images


def stream(out: Path, images: int = 1000) -> None:
    """Run random images through a ViT of the base size's layers, heads and tokens, and note the peak of memory on the way."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    narrow = ViTConfig(hidden_size=192, intermediate_size=768)  # maps are as large at any width
    model = ViTModel._from_config(narrow, attn_implementation="eager", add_pooling_layer=False)
    peaks: list[list[float]] = [[0, peak_memory()]]
    started = time.perf_counter(), time.process_time()

    def batches() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        for count in range(images):
            if count in (1, 2, 5, 10, 20, 50) or (count and count % 100 == 0):
                note(count)
            yield torch.randn(1, 3, 224, 224, generator=generator)
        note(images)

    def note(count: int) -> None:
        peaks.append([count, peak_memory()])
        print(count, f"{peaks[-1][1]:.0f} MiB", f"{time.process_time() - started[1]:.0f} s", flush=True)

    found = attention_diversity(attention_maps(model, batches()))
    mean, error = found.by_layer()
    times = {"clock": time.perf_counter() - started[0], "processor": time.process_time() - started[1]}
    write_json(out / "stream.json", {"peaks": peaks, "mean": mean.tolist(), "error": error.tolist()} | times)


def peak_memory() -> float:
    """Return the most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["theory", "digits", "stream"])
    parser.add_argument("--out", type=Path, default=Path("runs/mim"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    {"theory": theory, "digits": digits, "stream": stream}[options.what](options.out)


if __name__ == "__main__":
    main()
