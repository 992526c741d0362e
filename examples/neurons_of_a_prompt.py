"""A prompt knows which neurons its continuation needs: GRIFFIN on a language model that is trained here, in half a minute.

A Llama of two layers learns three kinds of text by the byte: Python's own source code, its documentation, and sums. Then held-out
texts are continued with half of the feed-forward neurons, or a quarter: those that the text's own prompt used most, those of a
prompt of another kind, neurons drawn by chance, or those with the largest weights. Perplexity tells them apart. (The
largest weights of so small a model serve every text nearly as well. Those of a real one don't: benchmarks/griffin.md.)

    pip install "robust-rl[llm,report]"
    python examples/neurons_of_a_prompt.py [run directory]
"""

import _pydecimal
import argparse
import inspect
import pydoc_data.topics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from robust_rl.extras.griffin import griffin
from robust_rl.extras.llm_evaluation import Fidelity, continuation_logits, fidelity
from robust_rl.training import Figure, RunDirectory, Section, Table

LENGTH, BATCH, STEPS, PROMPT, HELD_OUT = 96, 18, 200, 64, 10
KEEPS = (0.5, 0.25)
RULES = ("own prompt", "other kind", "random", "magnitude")


def main() -> None:
    """Train, prune by each rule, and leave the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="runs/neurons-of-a-prompt")
    run = RunDirectory(parser.parse_args().directory)
    run.start({"steps": STEPS, "keeps": KEEPS}, seed=0, command="neurons_of_a_prompt")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    corpora = {kind: torch.tensor(list(text.encode())) for kind, text in kinds().items()}
    model = trained({kind: text[: len(text) * 9 // 10] for kind, text in corpora.items()}, run)
    held_out = [list(windows(text[len(text) * 9 // 10 :], HELD_OUT)) for text in corpora.values()]
    texts = [kind[i] for i in range(HELD_OUT) for kind in held_out]  # the text before one is of another kind
    rows = [[keep, rule, *measured(model, texts, keep, rule)] for keep in KEEPS for rule in RULES]
    for row in rows:
        print(f"keep {row[0]:<5} {row[1]:<11} perplexity {row[2]:6.2f}, full model {row[3]:.2f}, agreement {row[4]:.0%}")
    write(run, rows)
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def kinds() -> dict[str, str]:
    """Return a text of each kind."""
    sums = " ".join(f"{a}+{b}={a + b}" for a, b in np.random.default_rng(0).integers(1000, size=(30_000, 2)))
    code = "\n".join(Path(module.__file__).read_text(encoding="utf-8") for module in (_pydecimal, inspect, argparse))
    return {"code": code, "documentation": "\n".join(pydoc_data.topics.topics.values()), "sums": sums}


def windows(text: Tensor, count: int) -> Iterator[Tensor]:
    """Return pieces of a text, evenly spread."""
    starts = np.linspace(0, len(text) - LENGTH - 1, count).astype(int)
    return (text[start : start + LENGTH] for start in starts)


def trained(corpora: Mapping[str, Tensor], run: RunDirectory) -> LlamaForCausalLM:
    """Return a model that has seen as much of each kind."""
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=LENGTH, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-3, total_steps=STEPS)
    chance = np.random.default_rng(1)
    for step in range(1, STEPS + 1):
        starts = [(text, chance.integers(len(text) - LENGTH)) for text in corpora.values() for _ in range(BATCH // len(corpora))]
        batch = torch.stack([text[start : start + LENGTH] for text, start in starts])
        loss = model(batch, labels=batch).loss
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        run.log(step, {"train/loss": loss.item()})
    return model.eval()


def measured(model: LlamaForCausalLM, texts: list[Tensor], keep: float, rule: str) -> tuple[float, float, float]:
    """Return perplexity, the full model's, and the agreement of their most likely tokens, over all texts."""
    parts = []
    for i, text in enumerate(texts):
        prompt, tail = text[:PROMPT], text[PROMPT:]
        full = continuation_logits(model, prompt, tail, chunk=None)
        with pruning(model, keep, rule, texts[i - 1][:PROMPT], seed=i):
            parts.append(fidelity(full, continuation_logits(model, prompt, tail, chunk=None), tail))
    found = Fidelity.pooled(parts).summary()
    return found["perplexity"], found["full_perplexity"], found["agreement"]


def pruning(model: LlamaForCausalLM, keep: float, rule: str, other: Tensor, seed: int) -> Any:
    """Return the block in which the model runs on a rule's neurons."""
    if rule in ("random", "magnitude"):
        return griffin(model, keep, rule, several="step", seed=seed)
    if rule == "own prompt":
        return griffin(model, keep, several="step")
    with griffin(model, keep) as g, torch.no_grad():
        model(other[None])
    return griffin(model, select=g.indices, several="step")


def write(run: RunDirectory, rows: list[list[Any]]) -> None:
    """Write the figure and the table."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8, 3.4), layout="constrained")
    for axes, keep in zip(canvas.subplots(1, len(KEEPS), sharey=True), KEEPS, strict=True):
        found = [row for row in rows if row[0] == keep]
        bars = axes.bar([row[1] for row in found], [row[2] for row in found], color=["C0", "C1", "C7", "C7"])
        axes.bar_label(bars, fmt="%.2f")
        axes.axhline(found[0][3], color="black", linestyle=":")
        axes.set_title(f"{keep:g} of the neurons")
    canvas.supylabel("perplexity")
    table = Table(["keep", "neurons of", "perplexity", "full model", "agreement"], rows)
    text = f"{3 * HELD_OUT} held-out texts, {LENGTH - PROMPT} bytes after {PROMPT} of prompt; the dotted line is the full model."
    run.report("The neurons of a prompt", [Section("Continuations with fewer neurons", text, [Figure(canvas), table])])


if __name__ == "__main__":
    main()
