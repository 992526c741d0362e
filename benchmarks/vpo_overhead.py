"""What a step of VPO costs beside a step of TRL's DPO on the same pairs.

    python benchmarks/vpo_overhead.py       # prints the table; --write also commits it to benchmarks/vpo_overhead.md
    python benchmarks/vpo_overhead.py --device cuda

On a CPU a random Llama (256 wide, 4 layers, 8192 tokens), 4 pairs of about 100 tokens a batch, float32, one thread; on a GPU one
of SmolLM2-360M's shape, 4 pairs of about 500 tokens, bfloat16, by the clock. A turn is
``training_step`` on each of 4 batches: forward, reference, loss, backward, metrics; the optimiser's step, equal for all, is left
out, which makes the ratio larger. Contenders take turns in each round, in an order that rotates, and a ratio is within one round.
Processor time on a CPU.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import argparse
import copy
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from robust_rl.alignment import VPOConfig, VPOTrainer

ROUNDS, BATCHES, PAIRS = 15, 4, 4
CONTENDERS = {
    "DPO": None,
    "VPO, chosen": {"calibration": "chosen"},
    "VPO, rejected": {"calibration": "rejected"},
    "VPO, dataset": {"calibration": "dataset"},
}
GOAL = 1.05


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(8189)} | {"<pad>": 8189, "</s>": 8190, "<unk>": 8191}
    model = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


SHAPES = {
    "cpu": {
        "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
    },
    "cuda": {
        "vocab_size": 49152, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
        "num_key_value_heads": 5,
    },
}  # fmt: skip
TIMES = {"cpu": 1, "cuda": 5}  # of the lengths of the texts


def data(device: str) -> Dataset:
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(8189, size=rng.integers(low, high)))

    def row() -> dict[str, str]:
        times = TIMES[device]
        prompt = text(30 * times, 34 * times) + " "
        return {"prompt": prompt} | {name: text(56 * times, 66 * times) for name in ("chosen", "rejected", "calibration")}

    return Dataset.from_list([row() for _ in range(PAIRS * BATCHES)])


def trainer(options: dict | None, folder: str, device: str):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPES[device], pad_token_id=8189, eos_token_id=8190, bos_token_id=8190))
    if device == "cuda":
        model = model.to(torch.bfloat16)
    settings = {
        "output_dir": folder, "max_steps": 1, "per_device_train_batch_size": PAIRS, "bf16": False, "use_cpu": device == "cpu",
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "gradient_checkpointing": False,
    }  # fmt: skip
    kind, args = (DPOTrainer, DPOConfig(**settings)) if options is None else (VPOTrainer, VPOConfig(**settings, **options))
    made = kind(model=model, ref_model=copy.deepcopy(model), args=args, train_dataset=data(device), processing_class=tokenizer())
    made.train()  # prepares everything, and warms up
    return made


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def turn(made, batches, device: str) -> float:
    made.model.train()
    start = clock(device)
    for batch in batches:
        made.training_step(made.model, dict(batch))
        made.model.zero_grad()
    return clock(device) - start


def measure(device: str) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: trainer(options, folder, device) for name, options in CONTENDERS.items()}
        # by hand, in one order: a trainer's own loader shuffles
        rows = {name: [each.train_dataset[i] for i in range(PAIRS * BATCHES)] for name, each in made.items()}
        batches = {
            name: [each.data_collator(rows[name][b * PAIRS : (b + 1) * PAIRS]) for b in range(BATCHES)]
            for name, each in made.items()
        }
        names = list(made)
        seconds = {name: np.empty(ROUNDS) for name in names}
        for name in names:
            turn(made[name], batches[name], device)
        for r in range(ROUNDS):
            for name in names[r % len(names) :] + names[: r % len(names)]:
                seconds[name][r] = turn(made[name], batches[name], device) / BATCHES
    return seconds


def table(seconds: dict[str, np.ndarray]) -> str:
    lines = ["| contender | seconds a step | ratio to DPO: median | lowest | highest |", "|---|---|---|---|---|"]
    for name, values in seconds.items():
        ratio = values / seconds["DPO"]
        lines.append(f"| {name} | {np.median(values):.3f} | {np.median(ratio):.3f} | {ratio.min():.3f} | {ratio.max():.3f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write benchmarks/vpo_overhead.md")
    parser.add_argument("--device", choices=list(SHAPES), default="cpu")
    options = parser.parse_args()
    seconds = measure(options.device)
    shown = table(seconds)
    print(shown)
    ratio = float(np.median(seconds["VPO, chosen"] / seconds["DPO"]))
    print(f"goal: VPO with calibration chosen at most {GOAL} of DPO: {'met' if ratio <= GOAL else 'MISSED'} ({ratio:.3f})")
    if options.write and options.device == "cpu":
        note = (
            f"{ROUNDS} rounds. `dataset` (and `reference`) carry one more row a pair through both passes, "
            "3 rows in place of 2; its reference pass is made once, before training. "
            "The machine was shared with other jobs, whence the spread."
        )
        page = f"# A step of VPO beside a step of DPO\n\n`python benchmarks/vpo_overhead.py --write`\n\n{shown}\n\n{note}\n"
        path = Path(__file__).with_suffix(".md")
        _, gpu, measured = path.read_text(encoding="utf-8").partition("\nOn a GPU")  # entered by hand; it stays
        path.write_text(page + gpu + measured, encoding="utf-8")


if __name__ == "__main__":
    main()
