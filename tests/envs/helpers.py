"""Oracles of this folder's tests: they share no code with what they check."""

import numpy as np


def optimal_value(model, discount, sweeps=100_000):
    """Value iteration in plain loops over dense arrays, until nothing moves any more."""
    kernel, rewards = dense(model), model.expected_rewards()
    value = np.zeros(model.num_states)
    for _ in range(sweeps):
        q = rewards + discount * kernel @ value
        q[~model.action_mask] = -np.inf
        new = np.where(model.terminal, 0.0, q.max(axis=1))
        if np.abs(new - value).max() <= 1e-15 * max(1.0, np.abs(new).max()):
            return new
        value = new
    return value


def policy_iteration(model, discount):
    """Nominal optimum by exact evaluation of greedy policies."""
    kernel, rewards = dense(model), model.expected_rewards()
    live = ~model.terminal
    states = np.arange(model.num_states)
    policy = np.zeros(model.num_states, dtype=int)
    while True:
        step = kernel[states, policy] * live[:, None]
        value = np.linalg.solve(np.eye(len(states)) - discount * step, rewards[states, policy] * live)
        q = rewards + discount * kernel @ value
        better = q.max(axis=1) > q[states, policy] + 1e-10
        if not (better & live).any():
            return value
        policy = np.where(better, q.argmax(axis=1), policy)


def dense(model):
    kernel = model.transitions.toarray() if model.is_sparse else model.transitions
    return np.where(model.terminal[:, None, None], 0.0, kernel.reshape(model.num_states, model.num_actions, model.num_states))


def dense_rewards(model):
    rewards = model.rewards.toarray() if model.is_sparse else model.rewards
    return rewards.reshape(model.num_states, model.num_actions, model.num_states)


def random_model(rng, states=5, actions=3, *, sparse=False, rewards="sas", terminal=(), mask=None):
    """A random model in which about half of all entries are zero."""
    from scipy.sparse import csr_array

    from robust_rl.models import TabularMDP

    kernel = rng.random((states, actions, states)) * (rng.random((states, actions, states)) < 0.5)
    kernel[..., 0] += 0.05
    kernel /= kernel.sum(axis=2, keepdims=True)
    pay = rng.normal(size=(states, actions, states) if rewards == "sas" else (states, actions))
    if sparse:
        kernel = csr_array(kernel.reshape(-1, states))
    return TabularMDP(kernel, pay, terminal=list(terminal), action_mask=mask)
