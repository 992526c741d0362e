"""What faults cost the commands: kills, signals, full and read-only disks, damaged checkpoints, two processes on one run.

    python benchmarks/faults.py                 # as root, for the small disks; goes on where it stopped
    python benchmarks/faults.py --again         # runs again what was run at another commit; --jobs and --faults choose
    python benchmarks/faults.py --write         # the .md, from the cells of benchmarks/faults/cells.json

A cell is a command, a fault and a seed. The command runs into the fault, and then again, the same command, to its end. Then:

- the run went on at or after the newest checkpoint that was intact when the fault struck (``metrics.jsonl`` tells: lines that
  were kept have their old time), and every step is in ``metrics.jsonl`` once;
- everything the command leaves (results, metrics without times, the last checkpoint) is that of an uninterrupted run, to the bit,
  as far as two uninterrupted runs agree (a report may show a time; what was left out is in the table);
- a failure is one line on stderr and no traceback, with the exit code that ``robust-rl --help`` promises.

Processes are forked from one that has imported everything, so that the faults strike work and not imports. Moments are drawn
uniformly over the processor time of an uninterrupted run, four in five of them while its run.json says that it is running.
"""

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import argparse
import subprocess
import time
from pathlib import Path

from faults.cells import Cells
from faults.inputs import make_inputs
from faults.jobs import JOBS, SEEDS
from faults.page import page
from faults.processes import preload
from faults.striking import strike

HERE = Path(__file__).resolve()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, default=Path("runs/faults"))
    parser.add_argument("--jobs", nargs="*", default=list(JOBS))
    parser.add_argument("--faults", nargs="*", default=list(SEEDS))
    parser.add_argument("--seeds", type=int, default=max(SEEDS.values()), help="At most so many.")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    cells = Cells(HERE.with_suffix("") / "cells.json")
    if arguments.write:
        HERE.with_suffix(".md").write_text(page(cells))
    else:
        strike_all(arguments, cells)


def strike_all(arguments, cells):
    scratch, end, commit = arguments.scratch.resolve(), time.time() + 60 * arguments.minutes, revision()
    preload(arguments.jobs)
    make_inputs(scratch)
    for seed in range(arguments.seeds):
        for job in arguments.jobs:
            for fault in JOBS[job].faults:
                wanted = fault in arguments.faults and seed < SEEDS[fault]
                before = cells.commit(job, fault, seed)
                if wanted and (before is None or (arguments.again and before != commit)) and time.time() < end:
                    found = strike(scratch, job, fault, seed)
                    cells.keep(job, fault, seed, {"commit": commit, **found}, scratch)
                    print(job, fault, seed, found, flush=True)


def revision():
    """Return the commit, with a + if what is struck has changes."""
    git = ["git", "-C", HERE.parent.parent]
    short = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "robust_rl"], capture_output=True, text=True, check=True).stdout
    return f"{short}+" if changed else short


if __name__ == "__main__":
    main()
