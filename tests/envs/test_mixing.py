import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.envs import mix
from robust_rl.errors import InvalidArgumentError

from .helpers import dense, dense_rewards, random_model

weights = st.floats(0.001, 0.999)
kinds = st.sampled_from(["sa", "sas"])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), weights, kinds, kinds, st.booleans(), st.booleans())
def test_kernel_and_expected_reward_are_the_weighted_means(seed, weight, one_kind, other_kind, one_sparse, other_sparse):
    rng = np.random.default_rng(seed)
    one = random_model(rng, rewards=one_kind, sparse=one_sparse, terminal=[3])
    other = random_model(rng, rewards=other_kind, sparse=other_sparse, terminal=[3])
    mixed = mix(one, other, weight)
    assert mixed.is_sparse == (one_sparse or other_sparse)
    assert mixed.has_transition_rewards == ("sas" in (one_kind, other_kind))
    np.testing.assert_allclose(dense(mixed), (1 - weight) * dense(one) + weight * dense(other), atol=1e-15)
    expected = (1 - weight) * one.expected_rewards() + weight * other.expected_rewards()
    np.testing.assert_allclose(mixed.expected_rewards(), expected, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), weights, kinds)
def test_sparse_and_dense_agree_in_every_entry(seed, weight, kind):
    results = []
    for sparse in (False, True):
        rng = np.random.default_rng(seed)
        results.append(mix(*(random_model(rng, rewards=kind, sparse=sparse) for _ in range(2)), weight))
    np.testing.assert_array_equal(dense(results[0]), dense(results[1]))
    if kind == "sas":
        np.testing.assert_allclose(dense_rewards(results[0]), dense_rewards(results[1]), atol=1e-13)


def test_a_reward_is_the_mean_given_the_successor():
    rng = np.random.default_rng(0)
    one, other = (random_model(rng) for _ in range(2))
    mixed = mix(one, other, 0.25)
    flow = 0.75 * one.transitions * one.rewards + 0.25 * other.transitions * other.rewards
    kernel = 0.75 * one.transitions + 0.25 * other.transitions
    unreached = kernel == 0
    assert unreached.any()
    np.testing.assert_allclose(mixed.rewards[~unreached], (flow / np.where(unreached, 1, kernel))[~unreached])
    np.testing.assert_allclose(mixed.rewards[unreached], (0.75 * one.rewards + 0.25 * other.rewards)[unreached])


def test_a_cost_by_state_and_action_is_paid_by_an_adversary_too():
    rng = np.random.default_rng(0)
    one, other = random_model(rng, rewards="sa"), random_model(rng, rewards="sas")
    one, other = one.replace(rewards=np.full_like(one.rewards, -2)), other.replace(rewards=np.full_like(other.rewards, -2))
    np.testing.assert_allclose(mix(one, other, 0.5).rewards, -2)


def test_weights_0_and_1_return_the_models_themselves():
    rng = np.random.default_rng(0)
    one, other = random_model(rng), random_model(rng)
    assert mix(one, other, 0) is one
    assert mix(one, other, 1) is other


def test_models_that_do_not_fit_are_refused_by_what_differs():
    rng = np.random.default_rng(0)
    model = random_model(rng)
    with pytest.raises(InvalidArgumentError, match=r"\(5, 3\) and \(4, 3\)"):
        mix(model, random_model(rng, states=4), 0.5)
    with pytest.raises(InvalidArgumentError, match=r"terminal differs \(s=2\)"):
        mix(model, random_model(rng, terminal=[2]), 0.5)
    mask = np.ones((5, 3), dtype=bool)
    mask[1, 2] = False
    with pytest.raises(InvalidArgumentError, match=r"action_mask differs \(s=1, a=2\)"):
        mix(model, random_model(rng, mask=mask), 0.5)
    with pytest.raises(InvalidArgumentError, match="weight=1.5"):
        mix(model, model, 1.5)
