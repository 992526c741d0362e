"""What DROP and DROP-V do on logged data: under shift, with more data, with partial coverage, with more or less penalty.

    python benchmarks/offline_studies.py            # prints the tables; --write also commits them, with pictures
    python benchmarks/offline_studies.py samples    # one study: shift, samples, dual, covering or pessimism

Models are small enough that all values are exact; only the logs are random. One thread a study; intervals are 95% bootstraps over
seeds unless a table says otherwise. The studies are in ``benchmarks/offline/``.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import importlib
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

STUDIES = ("shift", "samples", "dual", "covering", "pessimism")
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def one(name: str) -> tuple[list[str], dict[str, Any], float]:
    """A study's text and pictures, and the processor time that it took."""
    begin = time.process_time()
    text, found = importlib.import_module(f"offline.{name}").study()
    return text, found, time.process_time() - begin


def main(names: list[str], write: bool, workers: int) -> None:
    lines, pictures, taken = [], {}, 0.0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for text, found, seconds in pool.map(one, names):
            print("\n".join(text), flush=True)
            lines += ["", *text]
            pictures |= found
            taken += seconds
    top = [
        "# Learning from logs",
        "",
        f"`python benchmarks/offline_studies.py --write`, {taken / 60:.1f} minutes of processor time. {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}. Intervals are 95% bootstraps over "
        "seeds.",
    ]
    if write:
        Path(__file__).with_suffix(".md").write_text("\n".join(top + lines) + "\n")
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            picture.savefig(IMAGES / f"offline-{name}.png", dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help=", ".join(STUDIES))
    parser.add_argument("--write", action="store_true", help="commit all of them to benchmarks/offline_studies.md")
    parser.add_argument("--workers", type=int, default=1, help="studies run at a time")
    arguments = parser.parse_args()
    if arguments.write and arguments.studies != list(STUDIES):
        parser.error("--write writes all studies into one file; name none")
    main(arguments.studies, arguments.write, arguments.workers)
