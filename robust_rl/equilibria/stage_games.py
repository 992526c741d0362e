"""Equilibria of a batch of one-shot games."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from robust_rl.equilibria.checks import Array, as_kind, as_payoffs, as_selection
from robust_rl.equilibria.gaps import regrets
from robust_rl.equilibria.max_entropy import max_entropy
from robust_rl.equilibria.nash import nash_equilibria
from robust_rl.equilibria.programs import correlated_equilibria, matrix_games
from robust_rl.errors import ConvergenceError, InvalidArgumentError


class StageEquilibria(NamedTuple):
    """Joint policies and their exact regrets.

    policies : (K, A1, .., An) distributions over joint actions; products of their marginals for "ne"
    gaps : (K,) the most that a player gains by a deviation, recomputed from the policies
    """

    policies: Array
    gaps: Array


def equilibria(
    payoffs: ArrayLike, kind: str, *, selection: str | None = "utilitarian", tolerance: float = 1e-8, starts: int = 24, seed: int = 0
) -> StageEquilibria:
    """Solve a batch of games.

    Parameters
    ----------
    payoffs : (K, n, A1, .., An)
    kind : "ne", "ce" or "cce"
    selection : "utilitarian", "maximin", "max_entropy" or None
        Which equilibrium, where there are several; None is any, the fastest.
    tolerance : float
        The largest regret that is accepted, as a share of the range of the payoffs.

    Raises
    ------
    InvalidArgumentError
        If the payoffs have a wrong shape or aren't finite.
    UnknownNameError
        If there is no such kind or selection rule.
    ConvergenceError
        If no equilibrium was found to the tolerance.
    """
    as_kind(kind)
    as_selection(selection)
    games = as_payoffs(payoffs)
    num_actions = np.array(games.shape[2:])
    flat = games.reshape(len(games), games.shape[1], -1)
    if kind == "ne":
        policies = nash_equilibria(flat, num_actions, selection, starts, seed)
    elif selection == "max_entropy":
        policies = max_entropy(flat, num_actions, kind == "ce")
    else:
        policies = correlated_equilibria(flat, num_actions, kind == "ce", selection)
    gaps = regrets(flat, policies, num_actions, kind == "ce")
    _check_gaps(gaps, tolerance * np.ptp(flat, axis=2).max(axis=1), kind)
    return StageEquilibria(policies.reshape(len(games), *games.shape[2:]), gaps)


def _check_gaps(gaps: Array, allowed: Array, kind: str) -> None:
    failed = gaps > allowed
    if not failed.any():
        return
    k = int(failed.argmax())
    message = f"{int(failed.sum())} of {len(gaps)} games, the first of them number {k}: no {kind} of regret {allowed[k]:.3g} or less was found"
    if kind == "ne":
        message += ' from any start; more starts or another seed may help, and kind="ce" or "cce" always has an answer'
    raise ConvergenceError(message)


def zero_sum(payoffs: ArrayLike) -> tuple[Array, Array, Array]:
    """Return values (K,), row strategies (K, A) and column strategies (K, B) of matrix games (K, A, B) that the rows maximise."""
    games = np.asarray(payoffs, dtype=np.float64)
    if games.ndim != 3 or 0 in games.shape[1:]:
        raise InvalidArgumentError(f"payoffs of shape {games.shape}; a batch of matrix games is (K, A, B)")
    games = as_payoffs(games[:, None])[:, 0]
    x, y = matrix_games(games)
    return np.einsum("ka,kab,kb->k", x, games, y), x, y

