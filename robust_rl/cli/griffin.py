"""``robust-rl griffin``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robust_rl.cli import options, running
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import write_json

Model = Annotated[str, typer.Option("--model", help="Folder of a transformers decoder, or its name on the hub.")]
Prompt = Annotated[str, typer.Option("--prompt", help="Text to go on from, or @FILE to read it from.", metavar="TEXT|@FILE")]
Keep = Annotated[float, typer.Option("--keep", help="Part of the feed-forward neurons to keep, in [0, 1].")]
Select = Annotated[str, typer.Option("--select", help="topk, sample, topk_sample; for comparison random or magnitude.")]
Tokens = Annotated[int, typer.Option("--tokens", help="Tokens to generate, at most.")]
Rounds = Annotated[int, typer.Option("--rounds", help="Rounds in which the full and the pruned model take turns at the clock.")]


def griffin(
    model: Model,
    prompt: Prompt,
    keep: Keep = 0.5,
    select: Select = "topk",
    tokens: Tokens = 64,
    rounds: Rounds = 5,
    seed: options.Seed = 0,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Generate with the neurons that the prompt uses (GRIFFIN): speed, and agreement with the full model.

    robust-rl griffin --model SmolLM2-135M-Instruct --keep 0.5 --prompt @article.txt
    """
    from robust_rl.extras.llm_loading import load_language_model

    text, settings = _text(prompt), {"keep": keep, "select": select, "tokens": tokens, "rounds": rounds, "seed": seed}
    network, tokenizer = load_language_model(model)  # says so if torch is missing
    from robust_rl.extras.griffin import compare

    found = compare(network, tokenizer(text)["input_ids"], **settings)  # type: ignore[arg-type]
    run = running.begin(out, "griffin", Path(model).name, settings | {"model": model, "prompt": text}, seed)
    run.truncate_metrics(0)  # of an earlier run there
    for each in range(rounds):
        run.log(each + 1, {f"time/{name}": float(times[each]) for name, times in found.seconds.items()})
    texts = {name: tokenizer.decode(ids) for name, ids in (("full", found.full_tokens), ("pruned", found.tokens))}
    result = found.summary() | {"texts": texts, "run": str(run.path)}
    write_json(run.result / "griffin.json", result)
    page = run.result / "report.html"
    running.conclude(run, json, result, f"{found}\n\n{texts['pruned']}\n", lambda: found.write_report(page, text, texts))


def _text(prompt: str) -> str:
    """Return the prompt, from its file if it is one."""
    try:
        text = Path(prompt[1:]).read_text(encoding="utf-8") if prompt.startswith("@") else prompt
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"cannot read --prompt {prompt}: {error}") from error
    if not text.strip():
        raise InvalidArgumentError("--prompt is empty; give the text to go on from")
    return text
