"""How the coupling eta falls: it begins as wide as the posterior's modes lie apart, and its last value is the bias that remains.

With exact samplers at a fixed eta the chains' law is  p*(x) [exp(L) convolved with N(0, eta^2 I)](x): for linear Gaussian
measurements the posterior of the same problem with noise covariance sigma^2 I + eta^2 A A^T. So eta_min of about sigma / (3 |A|)
leaves a tenth.
"""

from __future__ import annotations

import numpy as np

from robust_rl.errors import InvalidArgumentError


def geometric_schedule(eta_max: float, eta_min: float, k: int, k_start: int = 0) -> list[float]:
    """Return ``k_start`` times eta_max, then k values from eta_max to eta_min in equal ratios.

    Raises
    ------
    InvalidArgumentError
        A number is out of range.

    Examples
    --------
    >>> geometric_schedule(0.4, 0.1, k=3, k_start=2)
    [0.4, 0.4, 0.4, 0.2, 0.1]
    """
    if not 0 < eta_min <= eta_max:
        raise InvalidArgumentError(f"eta_min {eta_min:g} and eta_max {eta_max:g} must satisfy 0 < eta_min <= eta_max")
    if k < 1 or k_start < 0:
        raise InvalidArgumentError(f"k is {k} and k_start {k_start}; there must be at least 1 iteration, and no negative number")
    return [eta_max] * k_start + [float(f"{eta:.12g}") for eta in np.geomspace(eta_max, eta_min, k)]
