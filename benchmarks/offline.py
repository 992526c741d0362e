"""A million logged transitions and 200 features: what a stage of DROP and DROP-V costs, and how much memory.

    python benchmarks/offline.py            # --write also commits the table to benchmarks/offline.md; 4 GB, two minutes

A stage builds features, values of next states, both regressions and the exact worst case. Its floor is the matrix products of
the bare ridge regressions on features that lie ready: phi^T phi, phi^T r and phi^T V, and in DROP-V's first half also those that
estimate the variance, of V and its square. Both are processor time of one thread, taken in turns; a ratio is within one stage.
Memory is the largest resident set of a process that only makes the data and solves all stages.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl.features import Hat, Radial
from robust_rl.solvers import DROPSolver, DROPVSolver, linear_problem

TRANSITIONS = 1_000_000
SOLVERS = {"DROP": DROPSolver, "DROP-V": DROPVSolver}
FEATURES = {"hat": Hat(10), "radial": Radial(10)}  # on the unit square with two actions: d = 2 * 10 * 10
CASES = [
    ("DROP", "hat", 10),
    ("DROP-V", "hat", 10),
    ("DROP", "radial", 10),
    ("DROP-V", "radial", 10),
    ("DROP", "hat", 2),
    ("DROP-V", "hat", 2),
    ("DROP", "hat", 1),  # all in one stage takes most memory
]


def walk(horizon: int, seed: int = 0) -> rr.datasets.OfflineDataset:
    """A noisy walk on the unit square that two actions push to opposite corners."""
    rng = np.random.default_rng(seed)
    episodes = TRANSITIONS // horizon
    state, shape = rng.random((episodes, 2)), (episodes, horizon)
    observations, following = np.empty((*shape, 2)), np.empty((*shape, 2))
    actions, rewards = rng.integers(2, size=shape), np.empty(shape)
    for h in range(horizon):
        observations[:, h], rewards[:, h] = state, state.mean(axis=1) ** 2
        push = (2 * actions[:, h, None] - 1) * [0.1, -0.05]
        state = np.clip(state + push + 0.05 * rng.standard_normal((episodes, 2)), 0, 1)
        following[:, h] = state
    return rr.datasets.from_arrays(observations, actions, rewards, following)


def products(solver: DROPSolver | DROPVSolver, h: int, columns: int) -> float:
    """Processor time of the bare products of one regression on the rows of a stage, with so many right-hand sides."""
    rows = solver.rows[h]
    phi = solver.problem.features(solver.data.observations[rows], solver.data.actions[rows])
    sides = np.random.default_rng(0).random((len(rows), columns))
    times = []
    for _ in range(3):
        start = time.process_time()
        phi.T @ phi, phi.T @ sides
        times.append(time.process_time() - start)
    return float(np.median(times))


def measure(method: str, features: str, horizon: int) -> dict[str, float]:
    """Solve once for memory, then once more with the floor after every stage."""
    data = walk(horizon)
    ball = rr.TotalVariation(0.1, support="free")
    problem = linear_problem(data, ball, features=FEATURES[features], horizon=horizon, v_min=0.0)
    solver = SOLVERS[method](problem, data)
    while not solver.done:
        solver.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    solver = SOLVERS[method](problem, data)
    seconds, ratios, preliminary = [], [], 0
    while not solver.done:
        first = isinstance(solver, DROPVSolver) and not solver.preliminary.done
        start = time.process_time()
        solver.step()
        seconds.append(time.process_time() - start)
        preliminary += first
        if first:
            floor = products(solver.preliminary, solver.preliminary.remaining, 4)
        else:
            floor = products(solver, solver.remaining, 2)
        ratios.append(seconds[-1] / floor)
    return {
        "dimension": problem.features.dimension, "rows": int(np.median([len(rows) for rows in solver.rows])), "peak": peak,
        "seconds": float(np.median(seconds[preliminary:])), "ratio": float(np.median(ratios[preliminary:])),
        "preliminary": float(np.median(ratios[:preliminary] or [np.nan])),
        "least": min(ratios), "most": max(ratios),
    }  # fmt: skip


def apart(case: tuple[str, str, int]) -> dict[str, float]:
    """Measure a case in a process of its own, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--case", *map(str, case)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--case", nargs=3, metavar=("METHOD", "FEATURES", "HORIZON"))
    arguments = parser.parse_args()
    if arguments.case:
        method, features, horizon = arguments.case
        print(json.dumps(measure(method, features, int(horizon))))
        return
    lines = [
        "# A million logged transitions",
        "",
        "`python benchmarks/offline.py --write`. A stage's processor time, one thread, as a ratio to the matrix products of the "
        "bare ridge regressions: median over stages; V' are the stages of DROP-V's first half; range over all.",
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}; {TRANSITIONS} transitions.",
        "",
        "| method | features | d | stages | transitions a stage | seconds a stage | ratio | that of V' | range | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found = apart(case)
        lines.append(
            f"| {case[0]} | {case[1]} | {found['dimension']} | {case[2]} | {found['rows']} | {found['seconds']:.2f} | "
            f"{found['ratio']:.2f} | {'' if np.isnan(found['preliminary']) else format(found['preliminary'], '.2f')} | "
            f"{found['least']:.2f} to {found['most']:.2f} | {found['peak']:.2f} |"
        )
        print(lines[-1], flush=True)
        assert found["peak"] <= 4, "more than 4 GiB of memory"
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
