"""MATTE: what is identified on vectors, what is flipped in a grammar, and what comes of 23.7k rated sentences.

python benchmarks/matte.py vectors OUT          # resumable, a result a file: the same command goes on
python benchmarks/matte.py grammar OUT
python benchmarks/matte.py vader OUT SDIST      # the source distribution of vaderSentiment 3.3.2
python benchmarks/matte.py page OUT             # writes benchmarks/matte.md from what is there
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from robust_rl.errors import CollapseWarning
from robust_rl.extras.matte import MatteConfig, VectorMatte, block_r2, leakage, mcc, synthetic_vectors
from robust_rl.training import write_json

SEEDS = (10, 11, 12, 13, 14)
VECTORS = {
    "c_dim": 3, "s_dim": 2, "enc_hidden": 64, "dec_hidden": 64, "flow_hidden": 32, "beta_c": 1.0, "beta_s": 1.0, "w_sparse": 0.5,
    "w_partial": 0.1, "w_mask": 0.0, "free_influence": 2.0, "steps": 1000, "batch_size": 128, "learning_rate": 3e-3,
}  # fmt: skip
VECTOR_VARIANTS = {
    "MATTE": {},
    "no sparsity": {"w_sparse": 0.0, "w_partial": 0.0},
    "no domain prior": {"prior": "standard"},
    "neither": {"prior": "standard", "w_sparse": 0.0, "w_partial": 0.0},
}


def vectors(out: Path) -> None:
    """Fit every variant to every seed's mechanism; 10,000 rows, measured on 2,400 others."""
    for seed in SEEDS:
        for name, options in VECTOR_VARIANTS.items():
            path = out / "vectors" / f"{name.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                write(path, measure_vectors(MatteConfig(**VECTORS | options | {"seed": seed}), seed))


def measure_vectors(config: MatteConfig, seed: int) -> dict:
    data = synthetic_vectors(12_400, seed=seed)
    fit, rest = slice(0, 10_000), slice(10_000, None)
    start = time.process_time()
    model = VectorMatte(config).fit(data.x[fit], data.domain[fit])
    seconds = time.process_time() - start
    u, c, s = data.domain[rest], data.c[rest], data.s[rest]
    code = model.encode(data.x[rest], u)
    told = np.concatenate([c, np.eye(u.max() + 1)[u]], axis=1)
    noise = torch.randn(code.s_noise.shape, generator=torch.Generator().manual_seed(seed))
    changed = model.decode(model._restyled(code, noise, model._numbers([str(one) for one in u])))
    return {
        "c from c^": block_r2(c, code.c),
        "s from s^": block_r2(s, code.s),
        "leak": leakage(s, code.c, told),
        "s from c^": block_r2(s, code.c),
        "c after s~": block_r2(c, model.encode(changed, u).c),
        "mcc of c": mcc(c, code.c, method="spearman"),
        "style": model.influence()["style"],
        "content": model.influence()["content"],
        "seconds": seconds,
    }


def write(path: Path, found: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(path.stem, {name: round(value, 3) for name, value in found.items() if isinstance(value, float)}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["vectors", "grammar", "vader", "page"])
    parser.add_argument("out", type=Path)
    parser.add_argument("sdist", type=Path, nargs="?")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    {"vectors": vectors}[arguments.study](arguments.out)


if __name__ == "__main__":
    main()
