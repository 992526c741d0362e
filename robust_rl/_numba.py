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
    """Inner product in index order: unlike BLAS, the same bits whatever the alignment of the arrays."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total
