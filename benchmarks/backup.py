"""What a robust backup costs, as a ratio to the plain product of the transition matrix with the value.

    python benchmarks/backup.py            # prints the table; --write also commits it to benchmarks/backup.md

The floor is the plain product at hand on the same data: BLAS for dense models, scipy's CSR product for sparse ones. Contenders
are compiled first, then run in turn; the figure is the median over rounds of the ratio within a round, and its range. One thread
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl.envs.domains import garnet
from robust_rl.solvers import BellmanOperator

ROUNDS = 15
SETS = {
    "nominal": None,
    "tv 0.05 nominal": rr.TotalVariation(0.05, support="nominal"),
    "tv 0.2 nominal": rr.TotalVariation(0.2, support="nominal"),
    "tv 0.05 free": rr.TotalVariation(0.05, support="free"),
    "tv 0.2 free": rr.TotalVariation(0.2, support="free"),
    "contamination 0.1 free": rr.Contamination(0.1, support="free"),
    "linf 0.01 nominal": rr.LInfinity(0.01, support="nominal"),
}


def dense_model() -> rr.TabularMDP:
    """500 states, 10 actions, full rows, r(s,a)."""
    rng = np.random.default_rng(0)
    return rr.TabularMDP(rng.dirichlet(np.ones(500), size=(500, 10)), rng.random((500, 10)))


MODELS = {"dense 500 x 10": dense_model, "garnet 20000 x 4, 10 successors": lambda: garnet(20_000, 4, 10, seed=0)}


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def ratios(model: rr.TabularMDP) -> dict[str, np.ndarray]:
    """Ratio to the floor of each set in each round."""
    value = np.random.default_rng(1).random(model.num_states)
    matrix = model.csr() if model.is_sparse else model.transitions.reshape(-1, model.num_states)
    backups = {name: BellmanOperator(model, uncertainty, 0.99) for name, uncertainty in SETS.items()}
    for backup in backups.values():
        backup(value)
    found: dict[str, list[float]] = {name: [] for name in backups}
    for _ in range(ROUNDS):
        floor = min(seconds(lambda: matrix @ value) for _ in range(3))
        for name, backup in backups.items():
            found[name].append(seconds(lambda backup=backup: backup(value)) / floor)
    return {name: np.array(values) for name, values in found.items()}


def report() -> str:
    """The table, in Markdown."""
    lines = [
        "# Cost of a robust backup",
        "",
        "`python benchmarks/backup.py --write`. Ratios to the plain product P V on the same data, median of "
        f"{ROUNDS} rounds (range), one thread.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        "| set | " + " | ".join(MODELS) + " |",
        "|---|" + "---|" * len(MODELS),
    ]
    columns = [ratios(make()) for make in MODELS.values()]
    for name in SETS:
        cells = (f"{np.median(column[name]):.1f} ({column[name].min():.1f} to {column[name].max():.1f})" for column in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    table = report()
    print(table)
    if parser.parse_args().write:
        Path(__file__).with_suffix(".md").write_text(table)
