"""A million states, ten actions, ten successors each, solved to a certified gap of 1e-4 of the value: time and memory.

    python benchmarks/million.py            # --write also commits the table to benchmarks/million.md; about 8 GB, minutes

The caller's model is built first; ``beyond`` is the most memory held while solving, the solution included, less what was held
before, as a multiple of the model's bytes. Memory is the resident set as the operating system counts it, sampled every 20 ms.
"""

import argparse
import os
import platform
import threading
import time
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl.envs.domains import garnet

SETS = {
    "nominal": None,
    "tv 0.1 nominal": rr.TotalVariation(0.1, support="nominal"),
    "tv 0.1 free": rr.TotalVariation(0.1, support="free"),
    "linf 0.02 nominal": rr.LInfinity(0.02, support="nominal"),
    "kl 0.1": rr.KL(0.1),
}


def resident() -> int:
    """Bytes of memory held by this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory held inside the block."""

    def __enter__(self) -> "Peak":
        self.bytes, self.over = resident(), False
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.thread.join()

    def _watch(self) -> None:
        while not self.over:
            self.bytes = max(self.bytes, resident())
            time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    model = garnet(arguments.states, 10, 10, seed=0)
    lines = [
        "# A million states",
        "",
        f"`python benchmarks/million.py --write`. Garnet, {model.num_states} states x 10 actions x 10 successors, discount 0.99, "
        f"{model.nbytes / 2**30:.2f} GiB; certified to a gap of 1e-4 of the largest value.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        "| set | method | steps | seconds | gap / value | memory beyond the model | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for uncertainty in SETS.values():  # compiled before anything is counted
        rr.solve(garnet(100, 10, 10, seed=0), uncertainty, discount=0.99)
    for name, uncertainty in SETS.items():
        before = resident()
        with Peak() as peak:
            start = time.perf_counter()
            solution = rr.solve(model, uncertainty, discount=0.99, tol=1e-4 * 0.5 / 0.01)
            seconds = time.perf_counter() - start
        relative = solution.certificate.gap / abs(solution.value).max()
        lines.append(
            f"| {name} | {solution.method.split(' (')[0]} | {len(solution.history['gap'])} | {seconds:.0f} | {relative:.1e} | "
            f"{(peak.bytes - before) / model.nbytes:.2f} x | {peak.bytes / 2**30:.1f} |"
        )
        print(lines[-1], flush=True)
        assert relative <= 1e-4, "not solved to the stated gap"
        del solution
    table = "\n".join(lines) + "\n"
    print(table)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(table)


if __name__ == "__main__":
    main()
