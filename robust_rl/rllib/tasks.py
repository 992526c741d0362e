"""``map`` over Ray tasks: for work that is cut into blocks whose results are wanted in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from robust_rl.rllib._compat import ray, start_ray


def ray_map(function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
    """Call a function on every block, on whatever processors Ray has, and yield the results in order.

    Takes and yields what the built-in ``map`` does, so that it can be handed to :func:`robust_rl.models.sampled_counts` and
    :func:`robust_rl.solvers.gram_sums`: their blocks and seeds don't depend on where they are worked out, and what they return
    doesn't either, to the bit.

    Parameters
    ----------
    function : callable
        Sent once, with all that it holds, such as a data set. A task has one thread.
    *arguments : iterables
        Small things, such as the borders of blocks.

    Notes
    -----
    At most four tasks a processor are under way, so that results that nobody has taken don't pile up.
    """
    start_ray()
    task, held, ahead = ray.remote(_call), ray.put(function), int(4 * ray.cluster_resources().get("CPU", 1.0)) or 1
    waiting: deque[Any] = deque()
    for parts in zip(*arguments, strict=True):
        waiting.append(task.remote(held, *parts))
        if len(waiting) >= ahead:
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


def _call(function: Callable[..., Any], *parts: Any) -> Any:
    return function(*parts)
