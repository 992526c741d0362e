"""``robust-rl less fit`` and ``robust-rl less evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robust_rl.cli import options, running
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Trainer, write_json

app = typer.Typer(
    no_args_is_help=True, help="A language model's cache of fixed size, with a state for the tokens that it dropped (LESS)."
)

Model = Annotated[str, typer.Option("--model", help="Folder of a transformers decoder, or its name on the hub.")]
Text = Annotated[list[Path], typer.Option("--text", help="Text file, one document; repeat for more.")]
PolicyName = Annotated[str, typer.Option("--policy", help="What the cache keeps: h2o, streaming, tova or window.")]
Budget = Annotated[float, typer.Option("--budget", help="Tokens that the cache holds: a share of --length below 1, or a number.")]
Length = Annotated[int, typer.Option("--length", help="Tokens of a sequence.")]
Sequences = Annotated[int, typer.Option("--sequences", help="Sequences at most; the text is cut into them.")]
Rank = Annotated[int, typer.Option("--rank", help="Size of the kernels: the state of a head is worth half as many tokens.")]
Hidden = Annotated[int, typer.Option("--hidden", help="Width of the kernels' hidden layers.")]
Layers = Annotated[str | None, typer.Option("--layers", help="Layers to fit. Default: all.", metavar="0,5,10")]
Epochs = Annotated[int, typer.Option("--epochs", help="Passes over the sequences, for each layer.")]
Rate = Annotated[float, typer.Option("--learning-rate", help="Of Adam, halved every quarter of the epochs.")]
AtOnce = Annotated[
    int, typer.Option("--layers-at-once", help="Layers recorded in one pass of the model: more memory, less time.")
]
CheckpointEvery = Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")]
Kernels = Annotated[Path, typer.Option("--kernels", help="File of kernels, or the run directory of a fit.")]
Prompt = Annotated[int | None, typer.Option("--prompt", help="Tokens of a sequence that are its prompt. Default: half of it.")]


@app.command()
def fit(
    model: Model,
    text: Text,
    policy: PolicyName = "h2o",
    budget: Budget = 0.05,
    length: Length = 512,
    sequences: Sequences = 64,
    rank: Rank = 8,
    hidden: Hidden = 512,
    layers: Layers = None,
    epochs: Epochs = 40,
    learning_rate: Rate = 1e-3,
    layers_at_once: AtOnce = 1,
    checkpoint_every: CheckpointEvery = 200,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit the kernels of a model's layers to text; the last tenth of the sequences chooses among epochs.

    robust-rl less fit --model SmolLM2-135M-Instruct --text corpus.txt --policy h2o --budget 0.05
    """
    from robust_rl.extras.less import LessFit, LessKernels, parse_policy
    from robust_rl.extras.less.report import losses_by_layer, write_fit_report

    chosen, which = parse_policy(policy, budget, length), None if layers is None else _numbers(layers)
    network, tokens = _load(model, _read(text), length, sequences, seed)
    kernels = LessKernels.from_config(network.config, rank=rank, hidden=hidden, layers=which, seed=seed)
    settings: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "halve_every": max(1, epochs // 4)}
    job = LessFit(kernels, network, tokens, chosen, **settings, seed=seed, layers_at_once=layers_at_once)
    configuration = {"model": model, "text": text, "policy": chosen, "length": length, "sequences": len(tokens)}
    configuration |= settings | {"rank": rank, "layers": kernels.layers}
    run = running.begin(out, "less fit", Path(model).name, configuration, seed)
    trainer = Trainer(run, max_steps=job.steps, checkpoint_every=checkpoint_every, progress=sys.stderr.isatty())
    trainer.fit(job)
    running.stop_if(trainer.interrupted, run)
    kernels.save(run.result / "kernels.safetensors")
    losses = {str(layer): min(found) for layer, found in losses_by_layer(run.metrics()).items()}
    result = {"policy": str(chosen), "loss": losses, "kernels": str(run.result / "kernels.safetensors")}
    mean, title = sum(losses.values()) / len(losses), f"LESS on {Path(model).name}, {chosen}"
    words = f"{chosen}: held-out error {mean:.3f} of the policy's, mean over {len(losses)} layers\nkernels: {result['kernels']}"
    running.conclude(run, json, result, words, lambda: write_fit_report(run, title))


@app.command()
def evaluate(
    model: Model,
    kernels: Kernels,
    text: Text,
    policy: PolicyName = "h2o",
    budget: Budget = 0.05,
    length: Length = 512,
    sequences: Sequences = 8,
    prompt: Prompt = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare the full cache, the policy alone, the policy with as many more tokens as the state takes, and LESS.

    robust-rl less evaluate --model SmolLM2-135M-Instruct --kernels runs/NAME --text held_out.txt --policy h2o --budget 0.05
    """
    from robust_rl.extras.less import LessKernels, attention_errors, evaluate_less, parse_policy
    from robust_rl.extras.less.report import write_evaluation_report

    chosen, texts = parse_policy(policy, budget, length), _read(text)
    learned = LessKernels.load(kernels / "result" / "kernels.safetensors" if kernels.is_dir() else kernels)
    network, tokens = _load(model, texts, length, sequences, seed)
    learned = learned.to(network.device)
    errors = attention_errors(network, learned, chosen, tokens)
    figures = evaluate_less(network, learned, chosen, tokens, length // 2 if prompt is None else prompt)
    configuration = {"model": model, "kernels": kernels, "text": text, "policy": chosen, "length": length, "prompt": prompt}
    run = running.begin(out, "less evaluate", Path(model).name, configuration | {"sequences": len(tokens)}, seed)
    result: dict[str, Any] = {"policy": str(chosen), "decoding": figures, "attention_errors": errors, "run": str(run.path)}
    write_json(run.result / "evaluation.json", result)
    title = f"LESS on {Path(model).name}, {chosen}"
    table = options.as_table([{"method": name} | found for name, found in figures.items()])
    running.conclude(run, json, result, table, lambda: write_evaluation_report(run, title, figures, errors))


def _read(paths: list[Path]) -> list[str]:
    try:
        return [path.read_text(encoding="utf-8") for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"cannot read --text: {error}") from error


def _load(name: str, texts: list[str], length: int, sequences: int, seed: int) -> tuple[Any, Any]:
    """Return the model, and the windows of the texts as its tokens."""
    from robust_rl.extras.less import token_windows
    from robust_rl.extras.llm_loading import load_language_model

    network, tokenizer = load_language_model(name)
    return network, token_windows(tokenizer, texts, length, sequences, seed)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidArgumentError(f"--layers {text!r} isn't a list of numbers, such as 0,5,10") from None
