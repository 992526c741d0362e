"""The page of a restoration: pictures, numbers, and the course of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_rl.training import Figure, Section, Table, write_report
from robust_rl.training.optional import require

if TYPE_CHECKING:
    from torch import Tensor

    from robust_rl.extras.dpnp.restoration import Restoration

CAPTIONS = {
    "input": "the picture that was measured",
    "measurement": "the measurement (its first channel)",
    "mean": "posterior mean",
    "std": "posterior standard deviation",
    "samples": "samples",
}


def write_page(restored: Restoration, path: Path) -> Path:
    """Write the page and return its path.

    Raises
    ------
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    summary = restored.summary()
    rows = [(name.replace("_", " "), value) for name, value in summary.items()]
    sections = [
        Section(
            "Pictures",
            items=[Figure(gallery(restored), "Independent chains; where samples differ, the measurement leaves it open.")],
        ),
        Section("Numbers", items=[Table(["what", "value"], rows)]),
        Section("Course", "eta is the coupling of prior and measurement.", [Figure(course(restored.sampler.history))]),
    ]
    return write_report(path, "What the picture may have been", sections, subtitle=str(restored))


def gallery(restored: Restoration) -> Any:
    """Return the pictures side by side."""
    shown: dict[str, Tensor] = {"input": restored.truth, "measurement": restored.y[0, :1].float().cpu()} | restored.pictures()
    figure = require("matplotlib.figure", "robust-rl[report]").Figure(figsize=(2.4 * len(shown), 2.8), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(1, len(shown)).flat, shown.items(), strict=True):
        pixels = picture.float().cpu().permute(1, 2, 0)
        bounds = {} if name == "measurement" else {"vmin": -1, "vmax": 1}
        axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else ((pixels + 1) / 2).clamp(0, 1), cmap="gray", **bounds)
        axes.set_title(CAPTIONS[name], fontsize="small")
        axes.set_axis_off()
    return figure


def course(history: list[dict[str, float]]) -> Any:
    """Return the numbers of each iteration as curves."""
    names = [name for name in ("eta", "residual", "acceptance", "log_likelihood") if name in history[-1]]
    figure = require("matplotlib.figure", "robust-rl[report]").Figure(figsize=(3.2 * len(names), 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False).flat, names, strict=True):
        axes.plot(range(1, len(history) + 1), [line[name] for line in history], "o-", markersize=3)
        axes.set_title(name.replace("_", " "), fontsize="medium")
        axes.set_xlabel("iteration")
        if name in ("eta", "residual"):
            axes.set_yscale("log")
    return figure
