"""What a sweep costs in torch on a device, as a ratio to the compiled sweep on this machine's processor.

    python benchmarks/device.py                  # on a GPU if torch finds one, else torch on the processor
    python benchmarks/device.py --device cuda:1
    python benchmarks/device.py --write          # also commits the table to benchmarks/device.md

Below 1 the device is faster. Both sides run one value iteration in step, each sweep at the same value, and are timed by the
wall clock with V handed in and T V handed back as numpy arrays, which is all that a sweep moves. The first sweeps, which
compile, move the model and sort its rows, are not timed. The figure is the median over sweeps, and its range.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch

import robust_rl as rr
from robust_rl._threads import num_threads
from robust_rl.envs.domains import garnet
from robust_rl.solvers import BellmanOperator

UNTIMED, SWEEPS = 5, 15
SETS = {
    "nominal": None,
    "tv 0.2 free": rr.TotalVariation(0.2, support="free"),
    "contamination 0.1 free": rr.Contamination(0.1, support="free"),
    "linf 0.01 nominal": rr.LInfinity(0.01, support="nominal"),
    "cvar 0.3": rr.CVaR(0.3),
    "kl 0.1": rr.KL(0.1),
    "chi2 0.2": rr.ChiSquare(0.2),
}


def dense_model() -> rr.TabularMDP:
    """500 states, 10 actions, full rows, r(s,a)."""
    rng = np.random.default_rng(0)
    return rr.TabularMDP(rng.dirichlet(np.ones(500), size=(500, 10)), rng.random((500, 10)))


MODELS = {
    "dense 500 x 10": dense_model,
    "garnet 20000 x 4, 10 successors": lambda: garnet(20_000, 4, 10, seed=0),
}


def seconds(sweep: BellmanOperator, value: np.ndarray) -> float:
    """Wall-clock time of one sweep."""
    start = time.perf_counter()
    sweep(value)
    return time.perf_counter() - start


def ratios(model: rr.TabularMDP, uncertainty: object, device: torch.device) -> tuple[np.ndarray, float]:
    """Ratio of the two in each sweep, and the largest disagreement relative to the largest value."""
    here, there = (BellmanOperator(model, uncertainty, 0.95, device=where) for where in ("cpu", device))
    value, found, apart = np.zeros(model.num_states), [], 0.0
    for sweep in range(UNTIMED + SWEEPS):
        now = {side: seconds(side, value) for side in ((here, there), (there, here))[sweep % 2]}
        found.append(now[there] / now[here])
        apart = max(apart, float(abs(here(value)[0] - there(value)[0]).max()))
        value = here(value)[0]
    return np.array(found[UNTIMED:]), apart / float(abs(value).max())


def name_of(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} torch threads"


def report(device: torch.device) -> str:
    """The table, in Markdown."""
    lines = [
        "# Cost of a sweep on a device",
        "",
        f"`python benchmarks/device.py --write`. Device: **{name_of(device)}**, torch {torch.__version__}.",
        f"Ratios to the compiled sweep ({num_threads()} threads) on the same data, median of {SWEEPS} sweeps (range); below 1 "
        "the device is faster.",
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        "| set | " + " | ".join(MODELS) + " |",
        "|---|" + "---|" * len(MODELS),
    ]
    models, apart = [make() for make in MODELS.values()], 0.0
    for name, uncertainty in SETS.items():
        cells = []
        for model in models:
            found, difference = ratios(model, uncertainty, device)
            apart = max(apart, difference)
            cells.append(f"{np.median(found):.2f} ({found.min():.2f} to {found.max():.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if device.type == "cpu":
        lines += ["", 'Torch on the processor is for trying things without a GPU; `device="cpu"` runs the compiled sweeps.']
    return "\n".join([*lines, "", f"Largest disagreement, relative to the largest value: {apart:.1e}."]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    table = report(torch.device(arguments.device))
    print(table)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(table)
