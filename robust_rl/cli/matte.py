"""``robust-rl matte train``, ``transfer`` and ``evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robust_rl.cli import options, running
from robust_rl.training import write_json

app = typer.Typer(
    help="MATTE: what a sentence would have been in another style or another domain.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Data = Annotated[
    str, typer.Argument(help="`grammar`; the source distribution of vaderSentiment; or a table: domain, style, text.")
]
Config = Annotated[Path | None, typer.Option("--config", help="JSON file of settings, by their names in MatteConfig.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps, instead of the configuration's.")]
Examples = Annotated[int, typer.Option("--examples", min=1, help="Labelled sentences that name each style, after training.")]
Starts = Annotated[int, typer.Option("--starts", min=1, help="Trainings from other first weights, of which the best is kept.")]
Model = Annotated[Path, typer.Argument(help="A run of `matte train`, or its model.safetensors.")]
Text = Annotated[list[str] | None, typer.Option("--text", help="Sentence; repeat for more.")]
File = Annotated[Path | None, typer.Option("--file", help="Sentences, one a line.")]
Domain = Annotated[str, typer.Option("--domain", help="Domain that the sentences are of.")]
To = Annotated[str | None, typer.Option("--to", help="Style that is wanted: positive.")]
ToDomain = Annotated[str | None, typer.Option("--to-domain", help="Domain that is wanted.")]
Direction = Annotated[str, typer.Option("--direction", help="prototype, replace or classifier.")]
Strength = Annotated[float, typer.Option("--strength", help="How far to go; 1 is to the examples of the style.")]
Beams = Annotated[int, typer.Option("--beams", min=1, help="Width of the beam search.")]
CheckpointEvery = Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Sentences held out to transfer, at most.")]


@app.command()
def train(
    data: Data,
    config: Config = None,
    steps: Steps = None,
    examples: Examples = 10,
    starts: Starts = 1,
    checkpoint_every: CheckpointEvery = 200,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train on sentences of several domains; style labels are used after training alone.

    robust-rl matte train grammar --starts 4 --out runs/grammar
    """
    from robust_rl.extras.matte.study import read_config, read_sentences, train_text

    settings = read_config(config, data, steps=steps, seed=seed)
    sentences = read_sentences(data, seed)[0]
    configuration = {"data": data, "settings": settings, "examples": examples, "starts": starts}
    run = running.begin(out, "matte train", Path(data).name, configuration, seed)
    model, finished = train_text(
        settings, sentences, examples, run, starts=starts, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty()
    )
    running.stop_if(not finished, run)
    result: dict[str, Any] = {
        "model": str(run.result / "model.safetensors"),
        "influence": model.influence(),
        "run": str(run.path),
    }
    if json:
        options.print_json(result)
    else:
        options.console.print(
            f"{len(sentences)} sentences, domains {', '.join(model.domains)}\nmodel: {result['model']}", markup=False
        )


@app.command()
def transfer(
    model: Model,
    domain: Domain,
    text: Text = None,
    file: File = None,
    to: To = None,
    to_domain: ToDomain = None,
    direction: Direction = "prototype",
    strength: Strength = 1.0,
    beams: Beams = 5,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write sentences as they would have been.

    robust-rl matte transfer runs/grammar --domain restaurant --to positive --text "the pasta with the sauce was bland"
    """
    from robust_rl.extras.matte.study import load_model, read_lines

    texts = [*(text or []), *(read_lines(file) if file else [])]
    found = load_model(model).counterfactual(
        texts, domain, to=to, to_domain=to_domain, direction=direction, strength=strength, beams=beams
    )
    if json:
        options.print_json([vars(one) for one in found])
    else:
        for one in found:
            options.console.print(f"{one.source}  ->  {one.text}", markup=False)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    limit: Limit = 300,
    direction: Direction = "prototype",
    strength: Strength = 1.0,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Give sentences held out the other style, and measure it beside copies and antonyms.

    robust-rl matte evaluate runs/grammar grammar
    """
    from robust_rl.extras.matte.study import load_model, read_sentences, transfer_table, write_transfer_report

    learned, held_out = read_sentences(data, seed)
    table, pairs = transfer_table(
        load_model(model), learned, held_out, limit=limit, direction=direction, strength=strength, seed=seed
    )
    configuration = {"model": model, "data": data, "direction": direction, "strength": strength}
    run = running.begin(out, "matte evaluate", Path(data).name, configuration, seed)
    result: dict[str, Any] = {"table": table, "pairs": pairs, "run": str(run.path)}
    write_json(run.result / "evaluation.json", result)
    shown = options.as_table([{k: v for k, v in row.items() if k not in ("classifier", "scorer")} for row in table])
    running.conclude(run, json, result, shown, lambda: write_transfer_report(run, table, pairs))
