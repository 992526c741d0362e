"""Numba as this project uses it: compiled code is cached on disk, and kernels compile at their first call, not at import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def njit(function: Function) -> Function:
    """``numba.njit`` with the disk cache on."""
    return numba.njit(cache=True)(function)  # type: ignore[return-value,no-any-return,unused-ignore]


def compiled(function: Any, signature: Any) -> Any:
    """Compile a kernel for exactly one signature, so that it can be handed to another kernel as a function pointer.

    A kernel that takes a plain dispatcher can't be cached on disk; one that takes a pointer of fixed type can.
    """
    if not function.signatures:
        function.compile(signature)
        function.disable_compile()
    return function


@njit
def dot(x, y):  # type: ignore[no-untyped-def]
    """Inner product in an order of its own: unlike BLAS, the same bits whatever the alignment of the arrays.

    Four running sums let the processor overlap the additions.
    """
    n = len(x)
    a = b = c = d = 0.0
    for i in range(0, n - 3, 4):
        a += x[i] * y[i]
        b += x[i + 1] * y[i + 1]
        c += x[i + 2] * y[i + 2]
        d += x[i + 3] * y[i + 3]
    for i in range(n - n % 4, n):
        a += x[i] * y[i]
    return (a + b) + (c + d)
