"""What samplers of diffusion models share: noise levels, and the noise in what a network predicts.

A variance-preserving model has seen  X_t = sqrt(ab_t) X_0 + sqrt(1 - ab_t) W.  In terms of the ratio sg_t, X_t / sqrt(ab_t)
is X_0 with Gaussian noise of standard deviation sg_t added.

======  =====================  ==========================================================================
symbol  here                   meaning, shape
======  =====================  ==========================================================================
ab      alpha_bar(s)           share of the variance that is signal, in [0, 1]; a number, or (T,) decreasing
sg      noise_ratio            sqrt((1 - ab) / ab), noise to signal
eps     epsilon                predicted noise W, shape of the sample
s       score                  gradient of log density of X_t, -eps / sqrt(1 - ab)
x0      original               predicted X_0, (x - sqrt(1 - ab) eps) / sqrt(ab)
======  =====================  ==========================================================================

Coefficients are Python floats or float64; samples are tensors or arrays of any kind, and keep their dtype.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError

Array = NDArray[np.float64]
PREDICTIONS = ("epsilon", "sample", "v_prediction")


def level_table(alphas_cumprod: Any) -> Array:
    """Return a scheduler's ``alphas_cumprod`` as float64, (N,), checked.

    >>> level_table([0.9, 0.5, 0.1])
    array([0.9, 0.5, 0.1])

    Raises
    ------
    InvalidArgumentError
        The levels are not decreasing within [0, 1].
    """
    table = np.array(alphas_cumprod.tolist() if hasattr(alphas_cumprod, "tolist") else alphas_cumprod, dtype=np.float64)
    if table.ndim != 1 or table.size == 0:
        raise InvalidArgumentError(f"alphas_cumprod has shape {table.shape}; it must be a vector of levels")
    wrong = np.flatnonzero(~((table >= 0) & (table <= 1)))
    if wrong.size:
        raise InvalidArgumentError(f"alphas_cumprod[{wrong[0]}] is {table[wrong[0]]}; levels lie between 0 and 1")
    rising = np.flatnonzero(np.diff(table) >= 0)
    if rising.size:
        raise InvalidArgumentError(f"alphas_cumprod[{rising[0] + 1}] is not below alphas_cumprod[{rising[0]}]; levels decrease")
    return table


def noise_ratio(alpha_bar: Any) -> Any:
    """Return sg = sqrt((1 - ab) / ab), infinite where ab is 0.

    >>> float(noise_ratio(0.5)), float(noise_ratio(0.0))
    (1.0, inf)
    """
    with np.errstate(divide="ignore"):
        return np.sqrt((1 - np.asarray(alpha_bar, dtype=np.float64)) / np.asarray(alpha_bar, dtype=np.float64))


def alpha_bar_of(noise_ratio: Any) -> Any:
    """Return ab = 1 / (1 + sg^2), the inverse of :func:`noise_ratio`.

    >>> float(alpha_bar_of(1.0))
    0.5
    """
    return 1 / (1 + np.asarray(noise_ratio, dtype=np.float64) ** 2)


def check_prediction_type(prediction_type: str, alpha_bar: float = 1.0) -> None:
    """Raise unless a network of that type tells the noise at level ``alpha_bar``.

    Raises
    ------
    InvalidArgumentError
        The type is unknown; or it is epsilon at a level of pure noise, where x0 can't be told from it.
    """
    if prediction_type not in PREDICTIONS:
        raise InvalidArgumentError(f"prediction_type is {prediction_type!r}; it must be one of {', '.join(PREDICTIONS)}")
    if prediction_type == "epsilon" and alpha_bar <= 0:
        raise InvalidArgumentError(
            "the noisiest level has alphas_cumprod 0 (zero terminal SNR), where predicted noise says nothing about the picture; "
            "use a network with prediction_type v_prediction or sample, or a schedule without rescale_betas_zero_snr"
        )


def epsilon_and_original(output: Any, sample: Any, alpha_bar: float, prediction_type: str) -> tuple[Any, Any]:
    """Return the noise and x0 that a network's output stands for at one level.

    Parameters
    ----------
    output
        Of the network, shape of ``sample``; with twice its channels (axis 1) if the variance was learned too: the second
        half is left out.
    sample
        What the network was shown, (batch, channels, ...).
    alpha_bar
        Its level, in (0, 1); 0 if the type isn't epsilon.
    prediction_type
        ``"epsilon"``, ``"sample"`` or ``"v_prediction"`` (v = sqrt(ab) eps - sqrt(1 - ab) x0).

    Returns
    -------
    tuple
        ``(epsilon, original)``, both of the sample's shape and dtype.

    Raises
    ------
    InvalidArgumentError
        The type is unknown, or epsilon at level 0.
    """
    check_prediction_type(prediction_type, alpha_bar)
    if output.ndim > 1 and output.shape[1] == 2 * sample.shape[1]:
        output = output[:, : sample.shape[1]]
    a, b = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction_type == "epsilon":
        return output, (sample - b * output) / a
    if prediction_type == "sample":
        return epsilon_of_original(output, sample, alpha_bar), output
    return a * output + b * sample, a * sample - b * output


def epsilon_of_original(original: Any, sample: Any, alpha_bar: float) -> Any:
    """Return the noise that makes ``sample`` of ``original`` at a level below 1: (x - sqrt(ab) x0) / sqrt(1 - ab)."""
    return (sample - math.sqrt(alpha_bar) * original) / math.sqrt(1 - alpha_bar)


def score_of_epsilon(epsilon: Any, alpha_bar: float) -> Any:
    """Return the score s = -eps / sqrt(1 - ab)."""
    return epsilon * (-1 / math.sqrt(1 - alpha_bar))
