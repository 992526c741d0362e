"""Linear systems of Markov chains, (I - gamma P) x = b, for chains of any size.

A direct factorisation is fast for small chains and fills in completely on large random ones; those take a Krylov method, whose
answer is held to a residual and improved by sweeps x <- b + gamma P x where it falls short.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import bicgstab, spsolve

from robust_rl.errors import ConvergenceError

Array = NDArray[np.float64]
DIRECT, SWEEPS, RESIDUAL = 1000, 100_000, 1e-13


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


def _residual(system: sparse.csr_array, x: Array, b: Array) -> float:
    scale = max(abs(x).max(initial=0.0), abs(b).max(initial=0.0)) or 1.0
    return float(abs(b - system @ x).max(initial=0.0) / scale)
