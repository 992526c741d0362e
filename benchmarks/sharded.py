"""Value iteration over Ray actors: what a sweep costs beside the slowest actor's, and a model of 10^7 states.

    python benchmarks/sharded.py [--write]

A sweep is one step of ``ShardedValueIteration``, its certificate included. Overhead is a step less the longest time that an actor
spent in its sweep; "copy of V" is the time of one ``numpy.copy`` of a vector that isn't in any cache. Memory is the proportional
set size of driver, actors and Ray's own processes, so that shared pages count once, at its highest over the run.
"""

import argparse
import os
import platform
import threading
import time
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl.models import HashedGarnet, whole_model
from robust_rl.rllib import ShardedValueIteration
from robust_rl.rllib._compat import ray, start_ray
from robust_rl.solvers import ValueIteration

BALL, DISCOUNT = rr.TotalVariation(0.1, support="nominal"), 0.99
SMALL, MIDDLE, LARGE = HashedGarnet(100_000, 10, 10), HashedGarnet(1_000_000, 10, 10, single=True), HashedGarnet(10_000_000, 4, 5)
PAGE = Path(__file__).with_suffix(".md")


class Memory:
    """Highest proportional set size of this process and all below it, looked at twice a second."""

    def __enter__(self):
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.5):
            self.peak = max(self.peak, sum(map(_proportional, _family(os.getpid()))) / 2**30)


def _family(process):
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _proportional(process):
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0.0)


def copy_time(states):
    value, seconds = np.random.default_rng(0).random(states), []
    for _ in range(7):
        begin = time.perf_counter()
        value.copy()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def study(source, actors, sweeps, compare):
    """Step so often, and return a line of the table."""
    with Memory() as memory:
        begin = time.perf_counter()
        solver = ShardedValueIteration(source, BALL, discount=DISCOUNT, actors=actors)
        built = time.perf_counter() - begin
        steps, slowest = [], []
        for _ in range(sweeps):
            begin = time.perf_counter()
            solver.step()
            steps.append(time.perf_counter() - begin)
            slowest.append(max(report.seconds for report in solver.backup.reports))
        time.sleep(0.6)
    overhead = 1e3 * np.subtract(steps, slowest)[3:]  # the first sweeps sort the rows
    same = "not compared"
    if compare:
        alone = ValueIteration(whole_model(source), BALL, discount=DISCOUNT)
        for _ in range(sweeps):
            alone.step()
        same = "equal" if np.array_equal(alone.value, solver.value) and alone._history == solver._history else "DIFFERENT"
    copy, gap = 1e3 * copy_time(source.num_states), solver.gap / abs(solver.value).max()
    spread = f"{overhead.min():.1f} | {np.median(overhead):.1f} | {overhead.max():.1f}"
    numbers = f"{1e3 * np.median(slowest[3:]):.0f} | {spread} | {copy:.2f}"
    what = f"{source.num_states:,} x {source.num_actions} x {source.successors} {'float32' if source.single else 'float64'}"
    del solver
    first, last = (
        f"| {what} | {actors} | {built:.0f} | {sweeps} | ",
        f" | {25 + 3 * copy:.0f} | {memory.peak:.1f} | {gap:.1e} | {same} |",
    )
    return first + numbers + last


STUDIES = {  # name: model, actors, sweeps, whether one process does the same
    "small-1": (SMALL, 1, 40, True),
    "small-2": (SMALL, 2, 40, True),
    "middle-1": (MIDDLE, 1, 10, False),
    "middle-2": (MIDDLE, 2, 10, False),
    "large": (LARGE, 2, 8, False),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument("--write", action="store_true", help=f"enter the lines into {PAGE.name}; the others there stay")
    arguments = parser.parse_args()
    start_ray(num_cpus=3, object_store_memory=900 * 2**20)
    for name in arguments.studies or STUDIES:
        line = study(*STUDIES[name])
        print(line, flush=True)
        if arguments.write:
            enter(name, line)
    ray.shutdown()


def enter(name, line):
    """Put a study's line in its place on the page."""
    old = PAGE.read_text().splitlines() if PAGE.exists() else []
    found = {row.split("|")[1].strip(): row for row in old if row.startswith("| ") and row.split("|")[1].strip() in STUDIES}
    found[name] = f"| {name} {line}"
    PAGE.write_text(page([found[known] for known in STUDIES if known in found]))


def page(lines):
    """Return the committed page."""
    head = (
        "# Value iteration over Ray actors\n\n"
        "`python benchmarks/sharded.py --write`, or a study at a time. Hashed Garnet models, "
        f"{BALL!r}, discount {DISCOUNT}, one thread an actor.\n"
        f"{platform.machine()}, {os.cpu_count()} cores beside other work, Python {platform.python_version()}, "
        f"numpy {np.__version__}, Ray {ray.__version__}.\n\n"
        "| study | states x actions x successors | actors | built in s | sweeps | slowest actor, ms a sweep "
        "| overhead, ms: lowest | median | highest | copy of V, ms | 25 ms + 3 copies "
        "| memory, GiB | gap / value | bits of one process |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    note = (
        "\nThe bound of 25 ms and three copies of V is meant for 10^6 states. "
        "The large model, beyond it, ran for 8 sweeps, not to a tolerance.\n"
    )
    return head + "\n".join(lines) + "\n" + note


if __name__ == "__main__":
    main()
