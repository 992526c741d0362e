"""Equilibria of a batch of one-shot games."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from robust_rl.equilibria.checks import Array, as_kind, as_payoffs, as_selection
from robust_rl.equilibria.gaps import num_deviations, regrets, write_incentives
from robust_rl.equilibria.max_entropy import max_entropy
from robust_rl.equilibria.max_min import max_min
from robust_rl.errors import ConvergenceError, InvalidArgumentError


class StageEquilibria(NamedTuple):
    """Joint policies and their exact regrets.

    policies : (K, A1, .., An) distributions over joint actions; products of their marginals for "ne"
    gaps : (K,) the most that a player gains by a deviation, recomputed from the policies
    """

    policies: Array
    gaps: Array


def equilibria(
    payoffs: ArrayLike, kind: str, *, selection: str | None = "utilitarian", tolerance: float = 1e-8
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
    span = np.ptp(flat, axis=2)
    scaled = (flat - flat.min(axis=2, keepdims=True)) / np.where(span > 0, span, 1.0)[..., None]
    policies = np.empty((len(games), flat.shape[2]))
    for k in range(len(games)):
        if kind == "ne":
            policies[k] = _nash(flat[k], scaled[k], num_actions, selection)
            continue
        incentives = np.empty((num_deviations(num_actions, kind == "ce"), flat.shape[2]))
        write_incentives(scaled[k], num_actions, kind == "ce", incentives)
        if selection == "max_entropy":
            policies[k] = max_entropy(incentives)
        else:
            largest = span[k].max() or 1.0
            centred = (flat[k] - flat[k].min(axis=1, keepdims=True)) / largest
            objectives = (flat[k] - flat[k].min()) / largest if selection == "maximin" else centred.sum(axis=0)[None]
            policies[k] = max_min(objectives, incentives)[0]
    gaps = regrets(flat, policies, num_actions, kind == "ce")
    allowed = tolerance * span.max(axis=1)
    if (gaps > allowed).any():
        k = int((gaps - allowed).argmax())
        raise ConvergenceError(f"game {k}: the best {kind} found has regret {gaps[k]:.3g}, more than {allowed[k]:.3g}")
    return StageEquilibria(policies.reshape(len(games), *games.shape[2:]), gaps)


def zero_sum(payoffs: ArrayLike) -> tuple[Array, Array, Array]:
    """Return values (K,), row strategies (K, A) and column strategies (K, B) of matrix games (K, A, B) that the rows maximise."""
    games = np.asarray(payoffs, dtype=np.float64)
    if games.ndim != 3 or 0 in games.shape[1:]:
        raise InvalidArgumentError(f"payoffs of shape {games.shape}; a batch of matrix games is (K, A, B)")
    games = as_payoffs(games[:, None])[:, 0]
    x, y = np.empty(games.shape[:2]), np.empty((len(games), games.shape[2]))
    for k, game in enumerate(games):
        shift, scale = game.min(), np.ptp(game) or 1.0
        x[k], y[k] = max_min((game.T - shift) / scale, np.empty((0, len(game))))
    return np.einsum("ka,kab,kb->k", x, games, y), x, y


def _nash(payoff: Array, scaled: Array, num_actions: Array, selection: str | None) -> Array:
    """Equilibria of a two-player game over all supports of equal size; the rule picks among them."""
    if len(num_actions) != 2:
        raise InvalidArgumentError('Nash equilibria of more than two players aren\'t built yet; use "ce" or "cce"')
    first, second = scaled.reshape(2, *num_actions)
    best, best_score = None, -np.inf
    for size in range(1, min(num_actions) + 1):
        for rows in combinations(range(num_actions[0]), size):
            for columns in combinations(range(num_actions[1]), size):
                y = _indifferent(first[np.ix_(rows, columns)], columns, num_actions[1])
                x = _indifferent(second.T[np.ix_(columns, rows)], rows, num_actions[0])
                if x is None or y is None:
                    continue
                if (first @ y).max() - x @ first @ y > 1e-10 or (x @ second).max() - x @ second @ y > 1e-10:
                    continue
                joint = np.outer(x, y).ravel()
                values = payoff @ joint
                score = {"utilitarian": values.sum(), "maximin": values.min(), None: 0.0}.get(
                    selection, -(joint[joint > 0] @ np.log(joint[joint > 0]))
                )
                if score > best_score:
                    best, best_score = joint, score
    if best is None:
        raise ConvergenceError("no equilibrium with supports of equal size")
    return best


def _indifferent(payoffs: Array, support: tuple[int, ...], size: int) -> Array | None:
    """Return the strategy on ``support`` that makes the rows of ``payoffs`` equal, if it is one."""
    n = len(payoffs)
    system = np.block([[payoffs, -np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    if np.linalg.cond(system) > 1e12:
        return None
    weights = np.linalg.solve(system, np.append(np.zeros(n), 1.0))[:n]
    if weights.min() < -1e-12:
        return None
    full = np.zeros(size)
    full[list(support)] = np.maximum(weights, 0.0)
    return full / full.sum()
