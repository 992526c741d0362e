"""``robust-rl mim simulate``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from robust_rl.cli import options

app = typer.Typer(no_args_is_help=True, help="What patches attend to in masked image modelling, predicted and measured.")

Gap = Annotated[
    str, typer.Option("--gap", help="Sign of the information gap, which sets the areas' sizes: `positive` or `negative`.")
]
Objective = Annotated[str, typer.Option("--objective", help="`mae`: fill in hidden patches. `contrastive`: tell images apart.")]
NPatches = Annotated[int, typer.Option("--patches", help="Patches of an image, a square number.")]
Clusters = Annotated[int, typer.Option("--clusters", help="Kinds of images, each cut into areas in its own way.")]
Layout = Annotated[str, typer.Option("--layout", help="`connected` areas, or `scattered` patches.")]
Keys = Annotated[str, typer.Option("--keys", help="Whether hidden patches are keys: `all` or `visible`.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps of gradient descent. Default: 800, or 600 if contrastive.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="Default: 1, or 50 if contrastive.")]


@app.callback()
def mim() -> None:
    """Keep ``simulate`` a command of its own."""


@app.command()
def simulate(
    gap: Gap = "positive",
    objective: Objective = "mae",
    patches: NPatches = 36,
    clusters: Clusters = 3,
    layout: Layout = "connected",
    keys: Keys = "all",
    steps: Steps = None,
    learning_rate: Rate = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train the one-layer model of the theory and watch its correlations and attention; seconds on a CPU.

    robust-rl mim simulate --gap positive --objective mae
    """
    from robust_rl.extras.mim import simulate as run_simulation

    done = run_simulation(
        out, gap=gap, objective=objective, n_patches=patches, n_clusters=clusters, layout=layout, keys=keys, steps=steps,
        learning_rate=learning_rate, seed=seed, progress=sys.stderr.isatty(),
    )  # fmt: skip
    if done.interrupted:
        options.note(f"unfinished; the same command with --out {done.run.path} goes on")
        raise typer.Exit(130)
    page = options.illustrated(done.write_report, done.run.result / "report.html")
    if json:
        options.print_json(done.summary() | {"run": str(done.run.path), "report": page})
    else:
        options.console.print(f"{done}\nreport: {page}", markup=False)
