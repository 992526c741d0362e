"""How well data cover a policy: the definition by brute force, and what DROP keeps of its promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.envs import random_linear
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import LinearMDP
from robust_rl.solvers import coverage, linear_values
from tests.solvers.test_linear_mdp import ball, learned


def corners(p, radius):
    """Every corner of the ball of total variation about p: mass taken off some states in turn, all of it put on one."""
    found = []
    for order in itertools.permutations(range(len(p))):
        q, left = p.copy(), radius
        for s in order:
            moved = min(left, q[s])
            q[s] -= moved
            left -= moved
        found += [q + radius * np.eye(len(p))[to] for to in range(len(p))] if left == 0 else []
    return np.unique(np.round(found, 14), axis=0)


def squares(model, factors, policy):
    """E[phi_i^2] of every stage under these factors, (H, d), forwards and in plain loops."""
    state, out = model.start, np.zeros(model.theta.shape)
    for h in range(model.horizon):
        following = np.zeros(model.num_states)
        for s in range(model.num_states):
            out[h] += state[s] * model.phi[s, policy[h, s]] ** 2
            following += state[s] * model.phi[s, policy[h, s]] @ factors[h]
        state = following
    return out


def gram(model, behaviour):
    state, out = model.start, np.zeros((model.horizon, model.phi.shape[2], model.phi.shape[2]))
    for h in range(model.horizon):
        following = np.zeros(model.num_states)
        for s in range(model.num_states):
            for a in range(model.num_actions):
                chance, phi = state[s] * behaviour[h, s, a], model.phi[s, a]
                out[h] += chance * np.outer(phi, phi)
                following += chance * phi @ model.factors[h]
        state = following
    return out


@pytest.mark.parametrize("radius", [0.0, 0.2])
def test_concentrability_is_the_largest_ratio_over_every_corner_of_the_set(radius):
    model = random_linear(3, 2, 2, 3, seed=1)
    policy = linear_values(model, ball(radius)).policy
    behaviour = np.random.default_rng(0).dirichlet(np.ones(2), size=(3, 3))
    inverse = np.stack([np.diag(np.linalg.inv(b)) for b in gram(model, behaviour)])
    most = np.zeros((3, 2))
    options = [corners(model.factors[h, i], radius) for h in range(2) for i in range(2)]  # the last stage leads nowhere
    for chosen in itertools.product(*options):
        factors = np.concatenate([np.reshape(chosen, (2, 2, 3)), model.factors[2:]])
        most = np.maximum(most, squares(model, factors, policy))
    expected = np.minimum(most, 1 / 2) * inverse
    found = coverage(model, ball(radius), policy, behaviour)
    np.testing.assert_allclose(found.by_feature, expected, rtol=1e-10)
    assert found.concentrability == found.by_feature.max()
    assert found.least_eigenvalue == pytest.approx(min(np.linalg.eigvalsh(b)[0] for b in gram(model, behaviour)), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(1, 5))
def test_concentrability_is_at_least_one_over_d_and_bounds_any_direction(seed, radius, dimension):
    model, rng = random_linear(4, 3, dimension, 2, seed=seed), np.random.default_rng(seed)
    behaviour = rng.dirichlet(np.ones(3), size=(2, 4))
    policy = rng.integers(3, size=(2, 4))
    found = coverage(model, ball(radius), policy, behaviour).concentrability
    assert found >= 1 / dimension - 1e-9
    squared = np.minimum(squares(model, model.factors, policy), 1 / dimension)
    for u in rng.normal(size=(20, dimension)):
        for h, b in enumerate(gram(model, behaviour)):
            assert (squared[h] * u**2).max() <= found * (u @ b @ u) * (1 + 1e-6)


def two_halves(seed):
    """Actions 0, 1 live on features 0-2, which pay more; 2, 3 on features 3-5. Optimal policies never leave the first half."""
    rng = np.random.default_rng(seed)
    phi = np.zeros((8, 4, 6))
    phi[:, :2, :3], phi[:, 2:, 3:] = rng.dirichlet(np.ones(3), size=(8, 2)), rng.dirichlet(np.ones(3), size=(8, 2))
    theta = np.concatenate([rng.uniform(0.5, 1, (3, 3)), rng.uniform(0, 0.4, (3, 3))], axis=1)
    return LinearMDP(phi, rng.dirichlet(np.full(8, 0.3), size=(3, 6)), theta, np.full(8, 1 / 8))


def test_data_of_the_optimal_neighbourhood_alone_are_enough_and_those_without_it_are_not():
    """Both leave half of the features unseen, so kappa = 0; C tells them apart. Mean over 20 models."""
    lost = {"near": np.zeros((2, 20)), "away": np.zeros((2, 20))}
    for seed in range(20):
        model = two_halves(seed)
        best = linear_values(model, ball(0.1))
        near, away = np.zeros((3, 8, 4)), np.zeros((3, 8, 4))
        near[..., :2], away[..., 2:] = 0.5, 0.5
        for name, behaviour, finite in (("near", near, True), ("away", away, False)):
            covered = coverage(model, ball(0.1), best.policy, behaviour)
            assert covered.least_eigenvalue <= 1e-12
            assert np.isfinite(covered.concentrability) == finite
            for k, episodes in enumerate((100, 6400)):
                policy = learned(model, 0.1, episodes, seed, policy=behaviour, penalty=0.1).policy(np.arange(8))
                lost[name][k, seed] = model.start @ (best.value - linear_values(model, ball(0.1), policy).value)[0]
    print({name: values.mean(axis=1) for name, values in lost.items()})
    near, away = (lost[name].mean(axis=1) for name in ("near", "away"))
    assert near[1] <= near[0] / 8  # at least as the square root of 64
    assert near[1] <= 0.002
    assert (away >= 1.0).all()


def test_a_policy_of_another_shape_is_named():
    model = random_linear(3, 2, 2, 2)
    with pytest.raises(InvalidArgumentError, match=r"policy has shape \(3,\)"):
        coverage(model, None, np.zeros(3))
    with pytest.raises(InvalidArgumentError, match=r"policy has shape \(2, 3, 4\)"):
        coverage(model, rr.TotalVariation(0.1, support="free"), np.zeros((2, 3), dtype=int), np.zeros((2, 3, 4)))
