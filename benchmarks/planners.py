"""What each planner costs to a certified 1e-6, as a ratio to the fastest on the same model and set.

    python benchmarks/planners.py            # prints the tables; --write also commits them to benchmarks/planners.md

CPU time of the steps, from a fresh solver on; laying the model out and the worst case at the end are the same for all and left
out. Everything is compiled by a first solve. Methods take turns; the figure is the median over rounds of the ratio to the round's
best, and its range. One thread. Methods that take over CAP / 4 seconds are timed no further and shown as "more than" the ratio
which that makes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import platform
import time
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl.envs import domains
from robust_rl.solvers.planning import METHODS, planner

ROUNDS, CAP, TOL = 5, 8.0, 1e-6
SETS = {
    "none": None,
    "tv .1 free": rr.TotalVariation(0.1, support="free"),
    "tv .1 nominal": rr.TotalVariation(0.1, support="nominal"),
    "kl .1": rr.KL(0.1),
    "linf .05 nominal": rr.LInfinity(0.05, support="nominal"),
}


def dense_model() -> rr.TabularMDP:
    """500 states, 10 actions, full rows, r(s,a)."""
    rng = np.random.default_rng(0)
    return rr.TabularMDP(rng.dirichlet(np.ones(500), size=(500, 10)), rng.random((500, 10)))


MODELS = {
    "garnet 2000 x 4": (lambda: domains.garnet(2000, 4, 10, seed=0), (0.95, 0.99, 0.999)),
    "garnet 20000 x 4": (lambda: domains.garnet(20_000, 4, 10, seed=0), (0.95, 0.99, 0.999)),
    "dense 500 x 10": (dense_model, (0.99,)),
    "river swim 6": (domains.river_swim, (0.99,)),
    "river swim 1000": (lambda: domains.river_swim(1000), (0.99,)),
    "machine": (domains.machine, (0.99,)),
    "inventory 50": (lambda: domains.inventory(50), (0.99,)),
    "forest 50": (lambda: domains.forest(50), (0.99,)),
    "frozen lake 8x8": (lambda: rr.envs.tabular("FrozenLake-v1", map_name="8x8"), (0.99,)),
    "taxi": (lambda: rr.envs.tabular("Taxi-v3"), (0.99,)),
}


def seconds(model: rr.TabularMDP, uncertainty: rr.uncertainty.RectangularSet | None, discount: float, method: str) -> float:
    """CPU time to the tolerance; negative if it wasn't met in time."""
    solver = planner(model, uncertainty, discount=discount, method=method, tol=TOL)
    start = time.process_time()
    while not solver.done and time.process_time() - start < CAP:
        solver.step()
    spent = time.process_time() - start
    return spent if solver.solution().certificate.gap <= TOL else -spent


def cells(model: rr.TabularMDP, uncertainty: rr.uncertainty.RectangularSet | None, discount: float) -> tuple[list[str], float]:
    """Ratios of all methods in words, and the median one of "auto"."""
    # the first solve compiles
    first = {method: [abs(seconds(model, uncertainty, discount, method))] for method in METHODS}
    for method in METHODS:
        if first[method][0] > CAP / 4:
            first[method].append(abs(seconds(model, uncertainty, discount, method)))
    slow = {method for method in METHODS if min(first[method]) > CAP / 4}
    times = []
    for _ in range(ROUNDS):
        times.append([seconds(model, uncertainty, discount, method) for method in METHODS if method not in slow])
    ratios = abs(np.array(times)) / abs(np.array(times)).min(axis=1, keepdims=True)
    found = dict(zip([method for method in METHODS if method not in slow], ratios.T, strict=True))
    failed = {method for method, column in zip(found, np.array(times).T, strict=True) if (column < 0).any()}
    words = []
    for method in METHODS:
        if method in slow:
            words.append(f"more than {CAP / 4 / np.median(abs(np.array(times)).min(axis=1)):.0f}")
        else:
            r = found[method]
            words.append(f"{np.median(r):.1f} ({r.min():.1f} to {r.max():.1f})" + (", not met" if method in failed else ""))
    return words, float(np.median(found["auto"])) if "auto" in found else np.inf


def report(chosen: str) -> str:
    """The tables, in Markdown."""
    head = [
        "# Planners to a certified 1e-6",
        "",
        "`python benchmarks/planners.py --write`. CPU time of a planner's steps as a ratio to the fastest of the round, median",
        f"of {ROUNDS} rounds (range); one thread; laying out the model and the final worst case left out.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}.",
        "",
    ]
    columns = " | ".join(method.replace("_", " ") for method in METHODS)
    lines, worst = [f"| model, discount | set | {columns} |", "|---|---|" + "---|" * len(METHODS)], []
    for name, (make, discounts) in MODELS.items():
        if chosen not in name:
            continue
        model = make()
        for discount in discounts:
            for set_name, uncertainty in SETS.items():
                words, auto = cells(model, uncertainty, discount)
                worst.append((auto, f"{name}, {discount:g}, {set_name}"))
                lines.append(f"| {name}, {discount:g} | {set_name} | " + " | ".join(words) + " |")
                print(lines[-1], flush=True)
    ratio, where = max(worst)
    return "\n".join([*head, f"Largest ratio of `auto`: {ratio:.2f} ({where}).", "", *lines]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="models whose name contains this")
    arguments = parser.parse_args()
    table = report(arguments.only)
    print(table)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(table)
