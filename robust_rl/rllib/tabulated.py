"""A network's policy as a table, which exact evaluation can judge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.rllib.network_policy import NetworkPolicy, first_element


def policy_table(policy: NetworkPolicy, model: TabularMDP, *, deterministic: bool = True) -> NDArray[Any]:
    """Return a network's policy as a table, to be judged exactly by :func:`robust_rl.solvers.policy_value`.

    Parameters
    ----------
    policy : NetworkPolicy
        That reads one-hot vectors.
    model : TabularMDP
        Of the environment; its states are the network's, and possibly some extra ones for ends of episodes, which come last.
    deterministic : bool
        False gives probabilities instead of actions.

    Returns
    -------
    (S,) actions, or (S, A) probabilities

    Raises
    ------
    InvalidArgumentError
        If the network doesn't read states, or the model has fewer states or other actions.

    Examples
    --------
    >>> import numpy as np, robust_rl as rr
    >>> from gymnasium import spaces
    >>> from robust_rl.rllib.layers import Layer
    >>> right = Layer("linear", np.zeros((4, 16), np.float32), np.array([0, 0, 1, 0], np.float32))
    >>> policy = NetworkPolicy("greedy", [right], spaces.Discrete(16), spaces.Discrete(4))
    >>> table = policy_table(policy, rr.envs.tabular("FrozenLake-v1"))
    >>> ball = rr.TotalVariation(0.1, support="reachable")
    >>> value = rr.solvers.policy_value(rr.envs.tabular("FrozenLake-v1"), table, ball, discount=0.99)
    >>> round(float(value[14]), 3)
    0.415
    """
    states = policy.num_states
    if states is None:
        raise InvalidArgumentError(
            f"the policy reads {policy.observation_space}, not states; only a policy of states has a table"
        )
    if model.num_states < states:
        raise InvalidArgumentError(
            f"the model has {model.num_states} states, the policy {states}; give the model it was trained in"
        )
    chances = policy.probabilities(np.arange(states) + first_element(policy.observation_space))
    if chances.shape[1] != model.num_actions:
        raise InvalidArgumentError(f"the model has {model.num_actions} actions, the policy {chances.shape[1]}; they must agree")
    extra = model.num_states - states
    if deterministic:
        return np.concatenate([chances.argmax(axis=1), model.action_mask[states:].argmax(axis=1)])
    return np.concatenate([chances, np.full((extra, model.num_actions), 1 / model.num_actions)])
