"""Blocks of work on all cores: compiled kernels leave the interpreter free, so plain threads will do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba

_settings: Any = numba.config


def num_threads() -> int:
    """Number of threads: what ``NUMBA_NUM_THREADS`` says, or the number of cores."""
    return int(_settings.NUMBA_NUM_THREADS)


def set_num_threads(threads: int) -> None:
    """Use so many threads in this process from now on; to be called before the first block of work."""
    _settings.NUMBA_NUM_THREADS = threads


def run_blocks(function: Callable[[int, int], object], bounds: Sequence[int]) -> None:
    """Call ``function(bounds[k], bounds[k + 1])`` for every k, at the same time; return when all are done."""
    blocks = list(pairwise(bounds))
    if len(blocks) == 1:
        function(*blocks[0])
        return
    for future in [_pool().submit(function, *block) for block in blocks]:
        future.result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="robust-rl")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
