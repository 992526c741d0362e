"""What a policy is worth in worlds that differ from the one it was computed for.

Exact where the world has a table; Monte Carlo with a 95 % interval elsewhere. Deterministic worlds have many optimal
policies, which fare very differently once the world shifts: ``tie_range`` gives the lowest and the highest value over all of
them, instead of that of whichever argmax picked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robust_rl import envs
from robust_rl.errors import ConvergenceWarning, InvalidArgumentError, NoTableError
from robust_rl.models import TabularMDP
from robust_rl.solvers import Solution, policy_value, solve
from robust_rl.table import Estimate, Table

Array = NDArray[np.float64]
Predict = Callable[[Any, Any], tuple[Any, Any]]
CONFIDENCE_95 = 1.959963984540054


class TieRange(NamedTuple):
    """Lowest and highest value, (S,) or (H, S) each, over all tie-breaks of an optimal policy."""

    lowest: Array
    highest: Array


def tie_range(solution: Solution, world: TabularMDP) -> TieRange:
    """Return the range of values in ``world`` over all policies that the solution can't tell from optimal.

    A dynamic program restricted to the solution's optimal actions, once maximised and once minimised; a policy may break ties
    differently in every state (and stage). The ends are exact values of policies. A randomised policy, which owes its worth to
    its probabilities and not to the actions alone, stands for itself.

    Parameters
    ----------
    solution : Solution
        Of any model with the same states and actions, with its own discount or horizon.
    world : TabularMDP
        Where the policies are evaluated.

    Raises
    ------
    InvalidArgumentError
        If the two don't have the same states and actions.
    """
    if solution.randomised:
        value = policy_value(world, solution.policy, discount=solution.discount, horizon=solution.horizon)
        return TieRange(value, value)
    optimal = solution.optimal_actions
    if solution.certificate.gap > 1e-3 * abs(solution.value).max(initial=0.0):
        warnings.warn(
            f"the optimum is known to {solution.certificate.gap:.3g} only, too loosely to tell which actions tie; "
            "solve with a smaller tol",
            ConvergenceWarning,
            stacklevel=2,
        )
    if optimal.shape[-2:] != (world.num_states, world.num_actions):
        raise InvalidArgumentError(
            f"the solution has {optimal.shape[-2:]} states and actions, the world {(world.num_states, world.num_actions)}; "
            "they must agree"
        )
    if solution.horizon is not None:
        return TieRange(_restricted_horizon(world, optimal, np.min), _restricted_horizon(world, optimal, np.max))
    allowed = world.replace(action_mask=optimal & world.action_mask)
    opposite = allowed.replace(rewards=-allowed.rewards)
    best, worst = (
        solve(model, None, discount=solution.discount, tol=1e-9 * _scale(model, solution)).policy for model in (allowed, opposite)
    )
    return TieRange(*(policy_value(world, policy, discount=solution.discount) for policy in (worst, best)))


def _scale(model: TabularMDP, solution: Solution) -> float:
    """Size of the returns, so that a tolerance can be relative."""
    largest = abs(model.expected_rewards()).max(initial=0.0) or 1.0
    return float(largest / (1 - (solution.discount or 0.0))) if solution.discount != 1 else float(largest * model.num_states)


def _restricted_horizon(world: TabularMDP, optimal: NDArray[np.bool_], pick: Callable[..., Array]) -> Array:
    value = np.zeros((len(optimal) + 1, world.num_states))
    expected, kernel = world.expected_rewards(), world.csr()
    idle = -np.inf if pick is np.max else np.inf
    for h in reversed(range(len(optimal))):
        q = expected + (kernel @ value[h + 1]).reshape(expected.shape)
        value[h] = np.where(world.terminal, 0.0, pick(np.where(optimal[h] & world.action_mask, q, idle), axis=1))
    return value[:-1]


def evaluate(
    policies: Mapping[str, Any],
    worlds: Mapping[str, Any],
    *,
    discount: float | None = None,
    horizon: int | None = None,
    episodes: int = 1000,
    seed: int = 0,
    title: str = "expected return from the start",
) -> Table:
    """Evaluate policies in worlds: one row a policy, one column a world.

    Parameters
    ----------
    policies : mapping from names to Solutions, agents, or arrays
        A Solution, or an agent that has one, stands for all its tie-breaks and gets their range; an array is one policy, as
        in :func:`robust_rl.solvers.policy_value`. In a world without a table only agents (anything with ``predict``) can be
        evaluated.
    worlds : mapping from labels to TabularMDP or gymnasium.Env
    discount, horizon
        Exactly one. Monte Carlo episodes are cut at the horizon, or else at the world's own time limit.
    episodes, seed
        For Monte Carlo: number of episodes, and the seed of the first reset.

    Returns
    -------
    Table
        Exact values, ranges over ties, or means with a 95 % interval.

    Raises
    ------
    InvalidArgumentError
        If a policy doesn't fit a world.
    """
    if (discount is None) == (horizon is None):
        raise InvalidArgumentError(f"give exactly one of discount and horizon; got discount={discount}, horizon={horizon}")
    models = {label: _table_or_none(world) for label, world in worlds.items()}
    cells = tuple(
        tuple(
            _exact(policy, model, discount, horizon)
            if model is not None
            else _sampled(name, policy, worlds[label], discount, horizon, episodes, seed)
            for label, model in models.items()
        )
        for name, policy in policies.items()
    )
    return Table(title, tuple(policies), tuple(worlds), cells)


def evaluate_shifts(
    policies: Mapping[str, Any],
    env: gymnasium.Env | TabularMDP | str,
    shifts: Sequence[tuple[str, Sequence[Any]]],
    **keywords: Any,
) -> dict[str, Table]:
    """Evaluate policies while one thing about the world changes at a time.

    Parameters
    ----------
    policies : mapping
        As in :func:`evaluate`; the first decides discount or horizon unless given.
    env : gymnasium.Env, TabularMDP or str
        The world as it was modelled.
    shifts : sequence of (name, values)
        As :func:`robust_rl.envs.shift` takes them, e.g. ``("action_noise", [0, 0.1])``.
    **keywords
        Handed on to :func:`evaluate`.

    Returns
    -------
    dict
        One table a shift, one column a value.
    """
    if not policies:
        raise InvalidArgumentError("there are no policies to evaluate; give at least one")
    first = next(iter(policies.values()))
    solution = first if isinstance(first, Solution) else getattr(first, "solution", None)
    if solution is not None and not {"discount", "horizon"} & set(keywords):
        keywords |= {"discount": solution.discount, "horizon": solution.horizon}
    base = envs.make(env) if isinstance(env, str) else env
    return {
        name: evaluate(
            policies,
            {_label(value): envs.shift(base, **{name: value}) for value in values},
            **({"title": f"expected return under {name.replace('_', ' ')}"} | keywords),
        )
        for name, values in shifts
    }


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table_or_none(world: Any) -> TabularMDP | None:
    if envs.is_discretized(world):
        return None  # its table is an approximation; the world itself is played
    try:
        return envs.tabular(world)
    except NoTableError:
        return None


def _exact(policy: Any, world: TabularMDP, discount: float | None, horizon: int | None) -> Estimate:
    solution = policy if isinstance(policy, Solution) else getattr(policy, "solution", None)
    if not isinstance(solution, Solution):
        value = policy_value(world, getattr(solution, "policy", policy), discount=discount, horizon=horizon)
        number = float(world.start @ (value if horizon is None else value[0]))
        return Estimate(number, number, number)
    if (solution.discount, solution.horizon) != (discount, horizon):
        raise InvalidArgumentError(
            f"the solution is for discount={solution.discount}, horizon={solution.horizon}; "
            "evaluate it with the same, or give its policy array"
        )
    ends = tie_range(solution, world)
    low, high = (float(world.start @ (end if horizon is None else end[0])) for end in ends)
    same = abs(high - low) <= 1e-7 * max(abs(end).max(initial=0.0) for end in ends)
    return Estimate(low, high, low, "exact") if same else Estimate(low, high, None, "ties")


def _sampled(
    name: str, policy: Any, world: gymnasium.Env, discount: float | None, horizon: int | None, episodes: int, seed: int
) -> Estimate:
    if not hasattr(policy, "predict"):
        raise InvalidArgumentError(f"policy {name!r} has no predict(observation), and {world} has no table; give an agent")
    predict = policy.predict
    if getattr(getattr(policy, "solution", None), "randomised", False):
        policy.np_random = np.random.default_rng(seed)
        predict = partial(predict, deterministic=False)
    return confidence_interval(rollout(world, predict, episodes, discount=discount, horizon=horizon, seed=seed))


def rollout(
    env: gymnasium.Env,
    predict: Predict,
    episodes: int,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    seed: int = 0,
) -> Array:
    """Play episodes and return their returns, (episodes,), discounted if a discount is given.

    Parameters
    ----------
    env : gymnasium.Env
        Must end its episodes (wrap it in ``TimeLimit`` if it doesn't), unless a horizon or a discount below 1 cuts them:
        discounted episodes are cut where what is left weighs less than 1e-10.
    predict : callable
        ``(observation, state) -> (action, state)``, as agents have; state is None at the start of each episode.
    """
    weight_floor = 1e-10
    returns = np.zeros(episodes)
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        state, weight, steps, over = None, 1.0, 0, False
        while not over and weight > weight_floor and (horizon is None or steps < horizon):
            action, state = predict(observation, state)
            observation, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += weight * float(reward)
            weight *= 1.0 if discount is None else discount
            steps += 1
            over = terminated or truncated
    return returns


def confidence_interval(returns: Array) -> Estimate:
    """Return mean and normal 95 % interval of independent returns. Raises InvalidArgumentError for fewer than 2."""
    if len(returns) < 2:
        raise InvalidArgumentError(f"{len(returns)} episode gives no interval; use at least 2")
    mean, half = float(returns.mean()), float(CONFIDENCE_95 * returns.std(ddof=1) / np.sqrt(len(returns)))
    return Estimate(mean - half, mean + half, mean, "interval")
