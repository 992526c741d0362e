"""Numba as this project uses it: compiled code is cached on disk, and kernels compile at their first call, not at import."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

Function = TypeVar("Function", bound=Callable[..., Any])
intrinsic: Any = extending.intrinsic  # its own type hides that the first argument is filled in


def njit(function: Function) -> Function:
    """``numba.njit`` with the disk cache on, and the interpreter free to run other threads."""
    return numba.njit(cache=True, nogil=True)(function)  # type: ignore[return-value,no-any-return,unused-ignore]


def compiled(function: Any, signature: Any) -> Any:
    """Compile a kernel for exactly one signature, so that it can be handed to another kernel as a function pointer.

    A kernel that takes a plain dispatcher can't be cached on disk; one that takes a pointer of fixed type can.
    """
    if not function.signatures:
        function.compile(signature)
        function.disable_compile()
    return function


def drop_stale_caches(package: Path) -> None:
    """Delete cached kernels that are older than the newest source file.

    Numba notices a change in a kernel's own file, but not in a file whose kernels it inlines.
    """
    newest = max((file.stat().st_mtime for file in package.rglob("*.py")), default=0.0)
    for index in package.rglob("__pycache__/*.nbi"):
        with contextlib.suppress(OSError):  # a read-only installation, or another process was faster
            if index.stat().st_mtime < newest:
                index.unlink()


def vectorised(function: Function) -> Function:
    """:func:`njit` for loops that sum, whose terms may be added in any order; on one machine always in the same."""
    return numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function)  # type: ignore[return-value,no-any-return,unused-ignore]


@vectorised
def dot(x, y):  # type: ignore[no-untyped-def]
    """Inner product, vectorised: the same bits on one machine for one length, whatever the alignment, unlike BLAS."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@intrinsic
def prefetch(context, array, index):  # type: ignore[no-untyped-def]
    """Ask the processor to fetch ``array[index]``, which will be needed soon; ``index`` is unsigned and in range."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        read, keep, data_cache = number(0), number(3), number(1)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, index), codegen


@intrinsic
def subtract_four(context, matrix, target, source, factor, column):  # type: ignore[no-untyped-def]
    """Subtract ``factor`` times four entries of row ``source`` from those of row ``target``, from ``column`` on.

    Four at a time are one instruction each, which the compiler doesn't find on rows this short. The matrix is C-contiguous.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        matrix, target, source, factor, column = arguments
        array = context.make_array(signature.args[0])(context, builder, matrix)
        width, four = cgutils.unpack_tuple(builder, array.shape, 2)[1], ir.VectorType(ir.DoubleType(), 4)

        def address(row):  # type: ignore[no-untyped-def]
            entry = builder.gep(array.data, [builder.add(builder.mul(row, width), column)])
            return builder.bitcast(entry, four.as_pointer())

        factors = ir.Constant(four, ir.Undefined)
        for lane in range(4):
            factors = builder.insert_element(factors, factor, ir.IntType(32)(lane))
        product = builder.fmul(factors, builder.load(address(source), align=8))
        builder.store(builder.fsub(builder.load(address(target), align=8), product), address(target), align=8)
        return context.get_dummy_value()

    return types.void(matrix, target, source, factor, column), codegen


@intrinsic
def _bits(context, number):  # type: ignore[no-untyped-def]
    """The 64 bits of a float as an integer."""
    return types.int64(number), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], ir.IntType(64))


@intrinsic
def _from_bits(context, number):  # type: ignore[no-untyped-def]
    """The float of which an integer is the 64 bits."""
    return types.float64(number), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], ir.DoubleType())


@njit
def exp_and_expm1(x):  # type: ignore[no-untyped-def]
    """``e**x`` and ``e**x - 1`` for x in [-708, 0], within a few units in the last place. Unlike libm's, loops over it vectorise.

    x = k log 2 + r with |r| <= log(2)/2; the series of e**r to r**12 is below one unit off; 2**k is written into the exponent.
    """
    x = x if x > -708.0 else -708.0
    shifted = x * 1.4426950408889634 + 6755399441055744.0  # 1.5 * 2**52: the low bits now hold k
    k = shifted - 6755399441055744.0
    r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    s = 1 / 39916800 + r / 479001600
    s = 1 / 3628800 + r * s
    s = 1 / 362880 + r * s
    s = 1 / 40320 + r * s
    s = 1 / 5040 + r * s
    s = 1 / 720 + r * s
    s = 1 / 120 + r * s
    s = 1 / 24 + r * s
    s = 1 / 6 + r * s
    s = 0.5 + r * s
    s = 1.0 + r * s
    scale = _from_bits((_bits(shifted) + 1023) << 52)
    return scale + scale * (r * s), scale * (r * s) + (scale - 1.0)


@njit
def log_minus_linear(x):  # type: ignore[no-untyped-def]
    """``log(x) - (x - 1)`` for normal x > 0, without cancelling near 1, and in loops that vectorise.

    x = 2**k m with m in [sqrt(1/2), sqrt(2)); with f = m - 1 and s = f / (2 + f), log m = f - s (f - 2 s**2 (1/3 + s**2/5 ...)).
    """
    bits = _bits(x)
    k = (bits - 4604544271217802189) >> 52  # the bits of sqrt(1/2)
    m = _from_bits(bits - (k << 52))
    f = m - 1.0
    s = f / (2.0 + f)
    w = s * s
    r = 1 / 19 + w * (1 / 21 + w / 23)
    r = 1 / 13 + w * (1 / 15 + w * (1 / 17 + w * r))
    r = 1 / 7 + w * (1 / 9 + w * (1 / 11 + w * r))
    r = 2.0 * w * (1 / 3 + w * (1 / 5 + w * r))
    return (k * 0.6931471805599453 + (m - x)) - s * (f - r)


drop_stale_caches(Path(__file__).parent)
