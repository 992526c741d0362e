"""Random models with intervals, and what it means that two models are the same."""

import numpy as np

import robust_rl as rr
from tests.worlds import random_model


def interval_model(seed, *, transition_rewards=False):
    """Draw a CSR model that starts anywhere, and intervals around its probabilities."""
    rng = np.random.default_rng(seed)
    model = random_model(seed, sparse=True, transition_rewards=transition_rewards)
    model = model.replace(start=np.full(model.num_states, 1 / model.num_states))
    lower, upper = model.csr().copy(), model.csr().copy()
    lower.data = np.maximum(lower.data - rng.uniform(0, 0.2, lower.nnz), 0)
    upper.data = np.minimum(upper.data + rng.uniform(0, 0.2, upper.nnz), 1)
    return model, rr.Interval(lower, upper)


def assert_same(one, other):
    """Compare what means something: active rows, and which they are."""
    active = one.active_rows
    np.testing.assert_array_equal(other.active_rows, active)
    np.testing.assert_array_equal(other.terminal, one.terminal)
    np.testing.assert_array_equal(other.csr().toarray()[active], one.csr().toarray()[active])
    np.testing.assert_allclose(other.expected_rewards(), one.expected_rewards(), rtol=1e-14, atol=1e-14)  # sums in another order
