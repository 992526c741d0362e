"""The American put: when to sell at an agreed price, while the market's moves aren't quite what they were taken for.

At price x the holder either waits (action 0), upon which the price moves

    x' = up x with probability p,    x' = down x with probability 1 - p,                                                      (1)

rounded to the grid and held within it, or exercises (action 1), which pays max(0, K - x) and ends the episode. Unused, the put
is worth nothing after H decisions.

The problem is linear in features on the simplex, with d = knots + 2, so that the offline solvers can learn it:

    phi(x, wait)     = (hat_1(x), .., hat_knots(x), 0, 0)                                                                     (2)
    phi(x, exercise) = (0, .., 0, 1 - u(x), u(x)),    u(x) = max(0, K - x) / max(0, K - low)                                  (3)

Eq. (2) is the usual choice, and approximates: the value of waiting is interpolated between knots. Eq. (3) is exact. The payoff
isn't linear in the hats, whose knots needn't meet its bend at K, but it is in u, and both features lead to the exercised state.

======  ==============  ===========================================
symbol  here            meaning
======  ==============  ===========================================
x       price           from low to high in steps
K       strike          what exercising sells for
p       up_probability  probability that the price rises
H                       20 decisions, the time limit of the id
======  ==============  ===========================================

After the example of Ma et al., "Distributionally robust offline reinforcement learning with linear function
approximation" (2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robust_rl.envs import checks
from robust_rl.envs.domains import build
from robust_rl.errors import InvalidArgumentError
from robust_rl.features import Hat, Table
from robust_rl.models import TabularMDP

WAIT, EXERCISE = 0, 1
Array = NDArray[np.float64]


def american_put(
    strike: float = 100.0,
    *,
    up_probability: float = 0.5,
    up: float = 1.02,
    down: float = 0.98,
    low: float = 80.0,
    high: float = 140.0,
    step: float = 0.1,
    sparse: bool | None = None,
) -> TabularMDP:
    """Hold the right to sell at the strike; wait or exercise.

    Parameters
    ----------
    strike : float
        K, above ``low``.
    up_probability : float
        p, the probability that the price rises while waiting.
    up, down : float
        Factors of the price, ``down < up``.
    low, high, step : float
        The grid of prices, the states in ascending order; ``high - low`` is a whole number of steps.
    sparse : bool, optional
        Whether the model is CSR. Default: if a dense kernel would have over a million entries (707 prices or more).

    Returns
    -------
    TabularMDP
        601 prices and the exercised state, the last and terminal. Starts uniformly at the prices from 0.95 K to below 1.05 K.
        Rewards r(s,a). The usual horizon is 20, undiscounted.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or no price of the grid is near the strike.
    """
    prices = put_prices(low=low, high=high, step=step)
    p, strike = checks.probability("up_probability", up_probability), _strike(strike, low)
    if not checks.positive("down", down) < checks.positive("up", up):
        raise InvalidArgumentError(f"down={down!r} must be below up={up!r}")
    count = len(prices)
    held, gone = np.arange(count), count
    outcomes: list[build.Outcome] = [
        (held, WAIT, _nearest(prices * up, prices, step), p),
        (held, WAIT, _nearest(prices * down, prices, step), 1 - p),
        (held, EXERCISE, gone, 1.0),
    ]
    rewards = np.zeros((count + 1, 2))
    rewards[:-1, EXERCISE] = np.maximum(strike - prices, 0.0)
    near = (prices > 0.95 * strike - step / 2) & (prices < 1.05 * strike - step / 2)
    if not near.any():
        raise InvalidArgumentError(
            f"strike={strike:g} has no price of the grid near it, {low:g} to {high:g} in steps of {step:g}"
        )
    start = np.append(near / near.sum(), 0.0)
    return build.model(count + 1, 2, outcomes, rewards, sparse=sparse, start=start, terminal=[gone])


def american_put_features(
    knots: int = 12, *, strike: float = 100.0, low: float = 80.0, high: float = 140.0, step: float = 0.1
) -> Table:
    """Return the features of eq. (2) and (3) for every state of :func:`american_put` with the same strike and grid.

    Parameters
    ----------
    knots : int
        Hat functions from ``low`` to ``high``; d is two more.
    strike, low, high, step : float
        As for :func:`american_put`.

    Returns
    -------
    robust_rl.features.Table
        phi (S, A, d). In the exercised state, where nothing is decided, both actions have the feature that pays nothing.

    Examples
    --------
    >>> american_put_features().dimension
    14
    """
    prices, strike = put_prices(low=low, high=high, step=step), _strike(strike, low)
    phi = np.zeros((len(prices) + 1, 2, knots + 2))
    phi[:-1, WAIT, :knots] = Hat(knots, low=low, high=high, num_actions=1).encode(prices)
    phi[:-1, EXERCISE, -1] = np.maximum(strike - prices, 0.0) / (strike - low)
    phi[:-1, EXERCISE, -2] = 1.0 - phi[:-1, EXERCISE, -1]
    phi[-1, :, -2] = 1.0
    return Table(phi)


def put_prices(*, low: float = 80.0, high: float = 140.0, step: float = 0.1) -> Array:
    """Return the prices that the states of :func:`american_put` stand for, the exercised one left out."""
    low, step = checks.positive("low", low), checks.positive("step", step)
    steps = (checks.number("high", high) - low) / step
    if steps < 1 or abs(steps - round(steps)) > 1e-6:
        raise InvalidArgumentError(f"high - low = {high - low:g} must be a whole number of steps of {step:g}, at least one")
    return np.asarray(low + step * np.arange(round(steps) + 1))


def _nearest(values: Array, prices: Array, step: float) -> NDArray[np.intp]:
    """Return the index of the nearest price; of two as near, the higher one."""
    place = np.floor((values - prices[0]) / step + 0.5 + 1e-9)  # 1e-9: a value between two prices may lie a hair below
    return np.asarray(np.clip(place, 0, len(prices) - 1), dtype=np.intp)


def _strike(strike: float, low: float) -> float:
    if checks.number("strike", strike) <= low:
        raise InvalidArgumentError(f"strike={strike!r} must be above low={low!r}, or exercising never pays")
    return float(strike)
