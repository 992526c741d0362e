"""Equilibria of a batch of one-shot games."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from robust_rl.equilibria.checks import Array, as_kind, as_matrices, as_payoffs, as_selection
from robust_rl.equilibria.gaps import regrets
from robust_rl.equilibria.max_entropy import max_entropy
from robust_rl.equilibria.nash import nash_equilibria
from robust_rl.equilibria.programs import correlated_equilibria, matrix_games, ranges
from robust_rl.errors import ConvergenceError, InvalidArgumentError


class StageEquilibria(NamedTuple):
    """Joint policies and their exact regrets.

    policies : (K, A1, .., An) distributions over joint actions; products of their marginals for "ne"
    gaps : (K,) the most that a player gains by a deviation, recomputed from the policies
    """

    policies: Array
    gaps: Array


def equilibria(
    payoffs: ArrayLike,
    kind: str,
    *,
    selection: str | None = "utilitarian",
    tolerance: float = 1e-8,
    starts: int = 24,
    seed: int = 0,
) -> StageEquilibria:
    """Solve a batch of games.

    Parameters
    ----------
    payoffs : (K, n, A1, .., An)
        What each of n players is paid, for each joint action of each of K games.
    kind : "ne", "ce" or "cce"
        Nash, correlated or coarse correlated.
    selection : "utilitarian", "maximin", "max_entropy" or None
        Which equilibrium, where there are several: the one of largest sum of payoffs, of largest payoff of the player who is
        paid least, or of largest entropy; for "ne" the best of those found, see robust_rl/equilibria/nash.py. None is any, the
        fastest. Which of several optimal ones is fixed by the game alone; under "max_entropy" "ce" and "cce" have only one.
    tolerance : float
        The largest regret that is accepted, as a share of the largest range of a player's payoffs.
    starts, seed : int
        Of the search for Nash equilibria of more than two players.

    Returns
    -------
    StageEquilibria
        Regrets are at most some 1e-10 of the range of the payoffs under "max_entropy", and mostly rounding otherwise.

    Raises
    ------
    InvalidArgumentError
        If the payoffs have a wrong shape or aren't finite, the tolerance is negative, or starts isn't positive.
    UnknownNameError
        If there is no such kind or selection rule.
    ConvergenceError
        If no equilibrium was found to the tolerance: for "ne" of more than two players, for which there is no sure method.

    Examples
    --------
    >>> chicken = [[[[6.0, 2.0], [7.0, 0.0]], [[6.0, 7.0], [2.0, 0.0]]]]
    >>> equilibria(chicken, "ce").policies.round(6)
    array([[[0.5 , 0.25],
            [0.25, 0.  ]]])
    """
    as_kind(kind)
    as_selection(selection)
    if not tolerance >= 0:
        raise InvalidArgumentError(f"tolerance is {tolerance}; it must be at least 0")
    if starts < 1:
        raise InvalidArgumentError(f"starts is {starts}; it must be at least 1")
    games = as_payoffs(payoffs)
    num_actions = np.array(games.shape[2:])
    flat = games.reshape(*games.shape[:2], int(num_actions.prod()))
    if kind == "ne":
        policies = nash_equilibria(flat, num_actions, selection, starts, seed)
    elif selection == "max_entropy":
        policies = max_entropy(flat, num_actions, kind == "ce")
    else:
        policies = correlated_equilibria(flat, num_actions, kind == "ce", selection)
    gaps = regrets(flat, policies, num_actions, kind == "ce")
    _check_gaps(gaps, tolerance * ranges(flat), kind)
    return StageEquilibria(policies.reshape(len(games), *games.shape[2:]), gaps)


def _check_gaps(gaps: Array, allowed: Array, kind: str) -> None:
    failed = ~(gaps <= allowed)  # NaN is a failure
    if not failed.any():
        return
    k = int(failed.argmax())
    message = (
        f"payoffs[{k}]: the best {kind} found has regret {gaps[k]:.3g}, and tolerance allows {allowed[k]:.3g}; "
        f"so it is in {int(failed.sum())} of {len(gaps)} games"
    )
    if kind == "ne":
        message += '. More starts or another seed may find one; kind="ce" or "cce" always has an answer'
    raise ConvergenceError(message)


def zero_sum(payoffs: ArrayLike) -> tuple[Array, Array, Array]:
    """Solve a batch of matrix games, in which one player pays the other.

    Parameters
    ----------
    payoffs : (K, A, B)
        What the column player pays to the row player.

    Returns
    -------
    values : (K,)
    x : (K, A), by which the row player gets at least the value, whatever the columns do
    y : (K, B), by which the column player pays at most the value

    Raises
    ------
    InvalidArgumentError
        If the payoffs have a wrong shape or aren't finite.

    Examples
    --------
    >>> values, x, y = zero_sum([[[3.0, -1.0], [-2.0, 1.0]]])
    >>> values.round(6), x.round(6), y.round(6)
    (array([0.142857]), array([[0.428571, 0.571429]]), array([[0.285714, 0.714286]]))
    """
    return matrix_games(as_matrices(payoffs))
