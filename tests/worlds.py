"""Random models for tests, dense and sparse, with zeros, masks, terminal states and both kinds of reward."""

import gymnasium
import numpy as np
from scipy import sparse as scipy_sparse

import robust_rl as rr

# gymnasium 1.4 renamed it
TAXI = "Taxi-v3" if "Taxi-v3" in gymnasium.registry else "Taxi-v4"


def random_model(seed, *, states=5, actions=3, transition_rewards=True, sparse=False, terminal=True, masked=True):
    """Draw a model; the same seed gives the same model in every layout."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(states, 0.7), size=(states, actions)) * (rng.random((states, actions, states)) < 0.6)
    p[..., -1] += p.sum(-1) == 0
    p /= p.sum(-1, keepdims=True)
    r = rng.normal(size=(states, actions, states) if transition_rewards else (states, actions))
    ends = np.zeros(states, bool)
    ends[0] = terminal
    mask = np.ones((states, actions), bool)
    if masked:
        mask[rng.integers(1, states), rng.integers(actions)] = False
    start = rng.dirichlet(np.ones(states))
    if sparse:
        p = csr_array(p.reshape(-1, states))
        r = csr_array(r.reshape(-1, states)) if transition_rewards else r
    return rr.TabularMDP(p, r, start=start, terminal=ends, action_mask=mask)


def expected_rewards(kernel, rewards):
    """Mean reward of each row of a worst kernel, whose rewards are r(s,a,s') beside it or r(s,a)."""
    return np.asarray(kernel.multiply(rewards).sum(axis=1)).ravel() if scipy_sparse.issparse(rewards) else rewards.ravel()
