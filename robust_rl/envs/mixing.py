"""Mixtures of tabular models.

A mixture replaces rows of a model by weighted means of rows. With P the kernel, r the reward and W the weights,

    P_new = sum_k W_k P_k,        r_new(s,a,s') = sum_k (W_k (P_k r_k))(s,a,s') / P_new(s,a,s')          (1)

so the expected reward of every policy is the mean of the mixture. Where P_new is 0 nothing is observed and r_new, which only an
adversary with free support ever sees, is the weighted mean of the entries r_k(s,a,s').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from robust_rl.envs import checks
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP

Weights = Callable[[Any], Any]
"""Maps values of rows, (S*A,) or CSR (S*A, S), to weighted means of rows."""


def mix(model: TabularMDP, other: TabularMDP, weight: float) -> TabularMDP:
    """Return the model with kernel ``(1 - w) P + w P'``: each step is one of ``other`` with probability w, independently.

    Parameters
    ----------
    model, other : TabularMDP
        Of equal shape, with the same terminal states and action masks; dense or sparse. The result is sparse if either is.
    weight : float
        w, in [0, 1]; 0 returns ``model`` and 1 returns ``other``, unchanged.

    Returns
    -------
    TabularMDP
        Starts from the same mixture of the two start distributions. Rewards are r(s,a) if both models' are, and otherwise the
        conditional means r(s,a,s') of equation 1. In the sparse layout an r(s,a) model has no entries for successors that neither
        model reaches: they count as 0 there.

    Raises
    ------
    InvalidArgumentError
        If the weight isn't in [0, 1], or the models don't fit each other.
    """
    weight = checks.probability("weight", weight)
    _check_fit(model, other)
    if weight in (0, 1):
        return other if weight else model
    mixed = combine([(lambda rows: rows * (1 - weight), model), (lambda rows: rows * weight, other)])
    return mixed.replace(start=(1 - weight) * model.start + weight * other.start)


def _check_fit(model: TabularMDP, other: TabularMDP) -> None:
    shapes = [(m.num_states, m.num_actions) for m in (model, other)]
    if shapes[0] != shapes[1]:
        raise InvalidArgumentError(f"models of {shapes[0]} and {shapes[1]} (states, actions) can't be mixed")
    for name in ("terminal", "action_mask"):
        differing = np.argwhere(getattr(model, name) != getattr(other, name))
        if differing.size:
            place = ", ".join(f"{axis}={i}" for axis, i in zip("sa", differing[0], strict=False))
            raise InvalidArgumentError(f"models whose {name} differs ({place}) can't be mixed; give both the same {name}")


def combine(parts: Sequence[tuple[Weights, TabularMDP]]) -> TabularMDP:
    """Return the mixture of equation 1, with everything else as in the first model."""
    rewards: Any
    models = [model for _, model in parts]
    kernels = [model.csr() for model in models]
    transitions = _sum(weights(kernel) for (weights, _), kernel in zip(parts, kernels, strict=True))
    if not any(model.has_transition_rewards for model in models):
        rewards = np.sum([weights(np.ravel(model.rewards)) for weights, model in parts], axis=0).reshape(
            -1, models[0].num_actions
        )
    else:
        flow = _sum(weights(_flow(model, kernel)) for (weights, model), kernel in zip(parts, kernels, strict=True))
        entries = _sum(weights(_entries(model)) for weights, model in parts)
        rewards = _conditional_means(transitions, flow, entries)
    if not any(model.is_sparse for model in models):
        states, actions = models[0].num_states, models[0].num_actions
        transitions = transitions.toarray().reshape(states, actions, states)
    return models[0].replace(transitions=transitions, rewards=rewards)


def _sum(matrices: Any) -> Any:
    """Return the sum of CSR matrices without stored zeros, which solvers would take for successors."""
    total: Any = sparse.csr_array(sum(matrices))
    total.sum_duplicates()
    total.eliminate_zeros()
    return total


def _flow(model: TabularMDP, kernel: Any) -> Any:
    """Return P(s'|s,a) r(s,a,s'), CSR."""
    if model.has_transition_rewards:
        return kernel.multiply(_entries(model)).tocsr()
    return sparse.diags_array(np.ravel(model.rewards)) @ kernel


def _entries(model: TabularMDP) -> Any:
    """Return the entries r(s,a,s'), CSR; r(s,a) of a sparse model would fill the matrix, and has none."""
    states, rewards = model.num_states, model.rewards
    if sparse.issparse(rewards):
        return rewards
    if model.has_transition_rewards:
        return sparse.csr_array(np.reshape(rewards, (-1, states)))
    if model.is_sparse:
        return sparse.csr_array((model.num_actions * states, states))
    return sparse.csr_array(np.repeat(np.reshape(rewards, (-1, 1)), states, axis=1))


def _conditional_means(transitions: Any, flow: Any, entries: Any) -> Any:
    """Return flow / transitions where the mixture goes, and the models' entries where it doesn't."""
    rows = np.repeat(np.arange(transitions.shape[0]), np.diff(transitions.indptr))
    visited, means = transitions.copy(), transitions.copy()
    visited.data = np.ones_like(visited.data)
    # indexing, not multiplying by 1/P: a reward that doesn't depend on the part stays exact
    means.data = np.asarray(flow[rows, transitions.indices]).ravel() / transitions.data
    return _sum([means, entries - entries.multiply(visited)])
