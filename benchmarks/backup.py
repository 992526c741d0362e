"""What a robust backup costs, as a ratio to the plain product of the transition matrix with the value.

    python benchmarks/backup.py            # prints the tables; --write also commits them to benchmarks/backup.md

How it is measured is said in robust_rl/speed.py; `robust-rl bench` does it for one model of yours. One thread.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import platform
from pathlib import Path

import numpy as np
from models import banded, dense

import robust_rl as rr
from robust_rl.envs.domains import garnet
from robust_rl.speed import FLOOR, backup_ratios

ROUNDS = 7
LINE = abs(np.subtract.outer(np.arange(500), np.arange(500))) / 500
SETS = {
    "nominal": None,
    "tv 0.05 nominal": rr.TotalVariation(0.05, support="nominal"),
    "tv 0.05 free": rr.TotalVariation(0.05, support="free"),
    "tv 0.2 nominal": rr.TotalVariation(0.2, support="nominal"),
    "tv 0.2 free": rr.TotalVariation(0.2, support="free"),
    "contamination 0.1 free": rr.Contamination(0.1, support="free"),
    "linf 0.01 nominal": rr.LInfinity(0.01, support="nominal"),
    "cvar 0.8": rr.CVaR(0.8),
    "l2 0.01 nominal": rr.L2(0.01, support="nominal"),
    "chi2 0.1": rr.ChiSquare(0.1),
    "chi2 1": rr.ChiSquare(1.0),
    "kl 0.1": rr.KL(0.1),
    "kl 1": rr.KL(1.0),
    "reverse kl 0.1 nominal": rr.ReverseKL(0.1, support="nominal"),
}
# measured on the dense model alone: a metric and budgets that need every state
DENSE = {
    "wasserstein 0.02": rr.Wasserstein(0.02, metric=LINE),
    "wasserstein 0.1": rr.Wasserstein(0.1, metric=LINE),
    "s-rectangular l1 0.2": rr.SRectangular(rr.L1(0.2, support="nominal")),
    "s-rectangular l1 1": rr.SRectangular(rr.L1(1.0, support="nominal")),
}
MODELS = {
    "dense 500 x 10": lambda: dense(500, 10),
    "garnet 300000 x 4, 10 successors": lambda: garnet(300_000, 4, 10, seed=0),
    "banded 300000 x 4, 10 successors": lambda: banded(300_000, 4, 10),
}


def report() -> str:
    """The tables, in Markdown."""
    lines = [
        "# Cost of a robust backup",
        "",
        f"`python benchmarks/backup.py --write`. Ratios to the fastest product P V on the same data, median of {ROUNDS} rounds "
        "(range), one thread. Steady: the value changed by 1e-6 of its size since the last sweep. First: an unrelated value.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}.",
    ]
    for name, make in MODELS.items():
        model = make()
        table = backup_ratios(model, SETS if model.is_sparse else SETS | DENSE, rounds=ROUNDS)
        floor = table[f"{FLOOR}, ms", "steady"]
        lines += ["", f"## {name}", "", f"P V takes {floor.middle:.3g} ms.", "", "| set | steady | first |", "|---|---|---|"]
        for row, cells in zip(table.rows[1:], table.cells[1:], strict=True):
            written = (f"{cell.middle:.2f} ({cell.low:.2f} to {cell.high:.2f})" for cell in cells)
            lines.append(f"| {row} | " + " | ".join(written) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    tables = report()
    print(tables)
    if parser.parse_args().write:
        Path(__file__).with_suffix(".md").write_text(tables)
