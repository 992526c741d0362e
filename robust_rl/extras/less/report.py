"""A fit and an evaluation of LESS, on a page each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl.training import Figure, RunDirectory, Section, Table
from robust_rl.training.optional import require

ERROR_NOTE = (
    "Sum of squares of the error of a layer's attention output, as a share of that of the output itself: 0 is full attention. "
    "policy+ holds as many more tokens as the state of LESS takes."
)


def write_fit_report(run: RunDirectory, title: str) -> Path:
    """Write ``result/report.html`` from the metrics of a fit, and return its path.

    Raises
    ------
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    losses = losses_by_layer(run.metrics())
    rows = [[layer, found[0], min(found)] for layer, found in losses.items()]
    note = "Error of each layer's output on sequences held out, epoch by epoch; 1 is the policy alone."
    table = Table(["layer", "after the first epoch", "best"], rows)
    return run.report(title, [Section("Fit", items=[Figure(fit_picture(losses), note), table])])


def losses_by_layer(metrics: Sequence[Mapping[str, Any]]) -> dict[int, list[float]]:
    """Return the losses on held-out sequences, one an epoch."""
    losses: dict[int, list[float]] = {}
    for line in metrics:
        if "eval/loss" in line:
            losses.setdefault(int(line["fit/layer"]), []).append(line["eval/loss"])
    return losses


def fit_picture(losses: Mapping[int, Sequence[float]]) -> Any:
    """Return a matplotlib figure, a line a layer."""
    canvas, axes = _canvas()
    for i, (layer, found) in enumerate(losses.items()):
        shade = 0.85 - 0.7 * i / max(1, len(losses) - 1)
        axes.plot(range(1, len(found) + 1), found, "o-", color=str(shade), markersize=3, label=f"layer {layer}")
    axes.axhline(1.0, color="tab:red", linestyle=":")
    axes.set(xlabel="epoch", ylabel="error / error of the policy alone")
    if len(losses) <= 12:
        axes.legend(frameon=False, fontsize="small")
    return canvas


def write_evaluation_report(
    run: RunDirectory, title: str, figures: Mapping[str, Mapping[str, float]], errors: Mapping[int, Mapping[str, float]]
) -> Path:
    """Write ``result/report.html`` from what :func:`evaluate_less` and :func:`attention_errors` returned, and return its path.

    Raises
    ------
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    columns = list(next(iter(figures.values())))
    decoding = Table(["method", *columns], [[name, *(found[column] for column in columns)] for name, found in figures.items()])
    methods = list(next(iter(errors.values())))
    layers = Table(["layer", *methods], [[layer, *(found[name] for name in methods)] for layer, found in errors.items()])
    return run.report(
        title,
        [
            Section("Decoding", "Known continuations, token by token.", [decoding]),
            Section("Attention output", ERROR_NOTE, [Figure(error_picture(errors), "Layer by layer."), layers]),
        ],
    )


def error_picture(errors: Mapping[int, Mapping[str, float]]) -> Any:
    """Return a matplotlib figure of the error of each method by layer."""
    canvas, axes = _canvas()
    layers = list(errors)
    styles = {"policy": ("tab:gray", "o:"), "policy+": ("tab:orange", "s--"), "LESS": ("tab:blue", "o-")}
    for name, (color, style) in styles.items():
        axes.plot(layers, [errors[layer][name] for layer in layers], style, color=color, label=name)
    axes.set(xlabel="layer", ylabel="relative squared error", xticks=layers)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return canvas


def _canvas() -> tuple[Any, Any]:
    require("matplotlib", "robust-rl[report]")
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6.5, 3.6), layout="constrained")
    axes = canvas.subplots()
    axes.grid(alpha=0.3)
    return canvas, axes
