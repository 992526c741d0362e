"""Linear systems of Markov chains, (I - gamma P) x = b, for chains of any size.

A direct factorisation is fast for small chains and fills in completely on large random ones; those take a Krylov method, whose
answer is held to a residual and improved by sweeps x <- b + gamma P x where it falls short.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, bicgstab, spsolve

from robust_rl.errors import ConvergenceError

Array = NDArray[np.float64]
DIRECT, SWEEPS, RESIDUAL = 1000, 100_000, 1e-13
# LAPACK up to so many states, and to so many of DIRECT if so full; sparse factors up to so many whose median move is that short
SMALL, DENSE, LOCAL, NARROW = 64, 0.1, 50_000, 8


def solve_chain(transitions: sparse.csr_array, b: Array, discount: float) -> Array:
    """Return x with ``x = b + discount * transitions @ x``, to a residual of 1e-13 relative to the largest entry.

    Parameters
    ----------
    transitions : (S, S) CSR, of spectral radius below 1 / discount
    b : (S,)
    discount : float

    Raises
    ------
    ConvergenceError
        If the system is singular, or the residual isn't met after 100,000 sweeps.
    """
    size = len(b)
    system = sparse.eye_array(size, format="csr") - discount * transitions
    if size <= DIRECT:
        with np.errstate(all="ignore"):
            x = np.atleast_1d(spsolve(sparse.csc_array(system), b))
        # a direct solution carries rounding in proportion to the condition, not a residual to iterate on
        if not np.isfinite(x).all() or _residual(system, x, b) > 1e-8:
            raise ConvergenceError("the chain has no finite value: with discount 1 it must end from everywhere")
        return np.asarray(x)
    x, _ = bicgstab(system, b, rtol=1e-14, maxiter=1000)
    x = np.where(np.isfinite(x), x, 0.0)
    for _ in range(SWEEPS):
        if _residual(system, x, b) <= RESIDUAL:
            return np.asarray(x)
        x = b + discount * (transitions @ x)
    raise ConvergenceError(f"the chain's linear system isn't solved after {SWEEPS} sweeps; its discount is too close to 1")


def approximate(transitions: sparse.csr_array, b: Array, discount: float, accuracy: float = 1e-8) -> Array:
    """Return an x that is nearer to solving ``x = b + discount * transitions @ x`` than 0 is, fast.

    Small chains, and larger ones whose factors stay sparse, are solved directly, others by a Krylov method to ``accuracy``. Where
    that fails, x is b, which is what a sweep from 0 gives.
    """
    size = len(b)
    if size <= SMALL:
        return _dense_solve(transitions, b, discount)
    if _factorises(transitions):
        system = sparse.eye_array(size, format="csr") - discount * transitions
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return _checked(transitions, np.atleast_1d(spsolve(sparse.csc_array(system), b)), b, discount)
    system = LinearOperator((size, size), matvec=lambda x: x - discount * (transitions @ x), dtype=np.float64)
    x, failed = bicgstab(system, b, rtol=accuracy, maxiter=50 if size <= DIRECT else 1000)
    return _dense_solve(transitions, b, discount) if failed and size <= DIRECT else _checked(transitions, x, b, discount)


def _factorises(transitions: sparse.csr_array) -> bool:
    """Whether a sparse factorisation stays sparse: small chains, and larger ones that mostly move to a neighbour or few."""
    size = transitions.shape[0]
    if size <= DIRECT:
        return bool(transitions.nnz <= DENSE * size**2)
    reach = abs(transitions.indices - np.repeat(np.arange(size), np.diff(transitions.indptr)))
    return bool(size <= LOCAL and transitions.nnz and np.median(reach) <= NARROW)


def _dense_solve(transitions: sparse.csr_array, b: Array, discount: float) -> Array:
    try:
        x = np.linalg.solve(np.eye(len(b)) - discount * transitions.toarray(), b)
    except np.linalg.LinAlgError:
        return b
    return _checked(transitions, x, b, discount)


def _checked(transitions: sparse.csr_array, x: Array, b: Array, discount: float) -> Array:
    left = abs(b + discount * (transitions @ x) - x).max(initial=0.0)
    return x if left <= 0.5 * abs(b).max(initial=0.0) else b  # NaN compares false


def _residual(system: sparse.csr_array, x: Array, b: Array) -> float:
    scale = max(abs(x).max(initial=0.0), abs(b).max(initial=0.0)) or 1.0
    return float(abs(b - system @ x).max(initial=0.0) / scale)
