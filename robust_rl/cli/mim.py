"""``robust-rl mim simulate`` and ``robust-rl mim diversity``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robust_rl.cli import options, running
from robust_rl.training import Figure, Section, write_json

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
Model = Annotated[str, typer.Option("--model", help="Folder of a transformers vision model, or its name on the hub.")]
Images = Annotated[Path, typer.Option("--images", help="Folder of pictures.")]
Measures = Annotated[list[str], typer.Option("--measure", help="cos, nmi, jsd, entropy, distance or rank; repeat for more.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Pictures at most, by name. Default: all.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at a time.")]
Rate = Annotated[float | None, typer.Option("--learning-rate", help="Default: 1, or 50 if contrastive.")]


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
    checkpoint_every: options.CheckpointEvery = None,
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
        learning_rate=learning_rate, checkpoint_every=checkpoint_every, seed=seed, progress=sys.stderr.isatty(),
    )  # fmt: skip
    running.stop_if(done.interrupted, done.run)
    running.conclude(done.run, json, done.summary(), str(done), lambda: done.write_report(done.run.result / "report.html"))


@app.command()
def diversity(
    model: Model,
    images: Images,
    measure: Measures = ["cos", "nmi", "distance"],  # noqa: B006 (typer copies it)
    limit: Limit = None,
    batch_size: BatchSize = 1,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure how alike the attention of different patches is, layer by layer, on a folder of pictures.

    robust-rl mim diversity --model vit-mae-base --images photos
    """
    from robust_rl.extras.mim import compare
    from robust_rl.extras.mim.folders import image_batches, image_files, load_vision_model

    files, network = image_files(images, limit), load_vision_model(model)
    batches = image_batches(files, network, model, batch_size)
    found = compare({Path(model).name: network}, batches, measures=measure, patch_size=network.config.patch_size)
    configuration, rows = {"model": model, "images": images, "count": len(files)}, found.rows()
    run = running.begin(out, "mim diversity", Path(model).name, configuration)
    write_json(run.result / "diversity.json", {"rows": rows})
    text = f"{len(files)} pictures; mean over heads and pictures, dots are heads."
    running.conclude(
        run, json, {"rows": rows, "pictures": len(files)}, options.as_table(rows),
        lambda: run.report("Attention diversity", [Section(Path(model).name, text, [Figure(found.plot()), found.table()])]),
    )  # fmt: skip
