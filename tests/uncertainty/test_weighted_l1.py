"""What holds of the weighted L1 ball beyond the contract of all sets."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.solvers import BellmanOperator
from tests.worlds import random_model

from .cases import Constraints
from .oracle import minimise
from .test_backup import plain_rows
from .test_worst_case import random_instances


def definition(p, radius, weights):
    """sum of weights * t <= radius, with t >= |q - p|."""
    n = len(p)
    eye = np.eye(n)
    a = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, n)), weights[None]]])
    return Constraints(a, np.concatenate([p, -p, [radius]]), np.zeros(n), np.ones(n))


def random_weights(rng, n):
    """Spread, tied, or of sizes from 1e-3 to 1e3."""
    return [rng.uniform(0.2, 3, n), rng.integers(1, 4, n).astype(float), 10.0 ** rng.uniform(-3, 3, n)][rng.integers(3)]


def test_agrees_with_a_linear_program_whatever_the_weights():
    """Ties, donors that hold more than nominal, receivers that hand over: a wrong knot shows as a difference above 1e-9."""
    rng = np.random.default_rng(0)
    instances = [(*instance, random_weights(rng, len(instance[0]))) for instance in random_instances(1000, seed=9)]
    answers = [
        rr.WeightedL1(2 * r, weights=w, support="free").worst_case(p, z, allowed=allowed) for p, z, r, allowed, w in instances
    ]
    expected = minimise([(z, allowed, definition(p, 2 * r, w)) for p, z, r, allowed, w in instances])
    for answer, value, (p, z, r, allowed, w) in zip(answers, expected, instances, strict=True):
        assert abs(answer.value - value) < 1e-9 * (1 + abs(z).max())
        assert w @ abs(answer.q - p) <= 2 * r + 1e-12 * (1 + w.max())
        assert (answer.q >= 0).all()
        assert (answer.q[~allowed] == 0).all()
        assert abs(answer.q.sum() - 1) < 1e-12
        assert abs(answer.q @ z - answer.value) <= 1e-12 * (1 + abs(z).max())


@pytest.mark.parametrize("support", ["free", "nominal", "reachable"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_equal_weights_are_the_l1_ball(support, transition_rewards):
    for seed in range(10):
        model = random_model(seed, states=12, transition_rewards=transition_rewards, sparse=seed % 2 == 0)
        value = np.random.default_rng(seed).normal(size=12) * 5
        for radius in (0.0, 0.1, 0.7, 2.0):
            weighted = rr.WeightedL1(1.7 * radius, weights=np.full(12, 1.7), support=support)
            plain = BellmanOperator(model, rr.L1(radius, support=support), 0.9).q_values(value)
            np.testing.assert_allclose(BellmanOperator(model, weighted, 0.9).q_values(value), plain, rtol=0, atol=1e-12)


def test_a_receiver_hands_over_what_it_was_given():
    """From state 2, mass first moves to 1, which is cheap to change, and from there to 0, which is lower. By hand:

    moving m from 2 to 1 costs 2m and gains m; moving it on to 0 costs 3m - m, the difference of the weights, and gains m / 2.
    """
    p, z, weights = [0.0, 0.0, 1.0], [0.0, 0.5, 1.5], [3.0, 1.0, 1.0]
    for radius, q, multiplier in ((1.0, [0, 0.5, 0.5], 0.5), (3.0, [0.5, 0.5, 0.0], 0.25), (4.0, [1.0, 0.0, 0.0], 0.25)):
        worst = rr.WeightedL1(radius, weights=weights, support="free").worst_case(p, z)
        np.testing.assert_allclose(worst.q, q, atol=1e-15)
        assert worst.multiplier == pytest.approx(multiplier)
    assert rr.WeightedL1(4.1, weights=weights, support="free").worst_case(p, z).multiplier == 0.0


@pytest.mark.parametrize("support", ["free", "reachable"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_weights_of_each_row(support, transition_rewards):
    """Each row by a linear program with its own weights; weights that all rows share are the same set however they are given."""
    for seed in range(3):
        model = random_model(seed, transition_rewards=transition_rewards)
        rng = np.random.default_rng(seed)
        weights, value = rng.uniform(0.3, 2, model.transitions.shape), rng.normal(size=model.num_states)
        q = BellmanOperator(model, rr.WeightedL1(0.3, weights=weights, support=support), 0.9).q_values(value)
        rows = list(plain_rows(model, support, value, 0.9))
        expected = minimise([(z, allowed, definition(p, 0.3, weights[s, a])) for s, a, p, z, allowed in rows])
        np.testing.assert_allclose([q[s, a] for s, a, *_ in rows], expected, atol=1e-9)
        shared = [
            BellmanOperator(model, rr.WeightedL1(0.3, weights=w, support=support), 0.9).q_values(value)
            for w in (weights[0, 0], np.broadcast_to(weights[0, 0], weights.shape))
        ]
        np.testing.assert_array_equal(*shared)


def test_states_may_be_renamed_and_split_with_their_weights():
    rng = np.random.default_rng(3)
    for p, z, radius, _ in random_instances(300, seed=4):
        weights, order = random_weights(rng, len(p)), rng.permutation(len(p))
        worst = rr.WeightedL1(radius, weights=weights, support="free").worst_case(p, z).value
        renamed = rr.WeightedL1(radius, weights=weights[order], support="free").worst_case(p[order], z[order]).value
        halves = np.append(p, p[0] / 2)
        halves[0] /= 2
        split = rr.WeightedL1(radius, weights=np.append(weights, weights[0]), support="free").worst_case(
            halves, np.append(z, z[0])
        )
        assert renamed == pytest.approx(worst, abs=1e-12 * (1 + abs(z).max()))
        assert split.value == pytest.approx(worst, abs=1e-12 * (1 + abs(z).max()))


def test_long_rows_agree_with_the_dual():
    """max over lambda of nu + sum_i p_i min(z_i - nu, lambda w_i) - lambda kappa, nu = min(z + lambda w), at all its knots."""
    rng = np.random.default_rng(5)
    for n in (33, 80):
        p, z, w = rng.dirichlet(np.ones(n)), rng.normal(size=n), rng.uniform(0.2, 2, n)
        first, second = np.triu_indices(n, 1)
        with np.errstate(divide="ignore"):
            knots = np.concatenate([[0.0], abs(z[first] - z[second]) / (w[first] + w[second]),
                                    abs((z[first] - z[second]) / (w[first] - w[second]))])  # fmt: skip
        nu = (z + knots[:, None] * w).min(axis=1)
        kept = np.minimum(z - nu[:, None], knots[:, None] * w) @ p
        for kappa in (0.01, 0.2, 1.0):
            dual = (nu + kept - knots * kappa).max()
            assert rr.WeightedL1(kappa, weights=w, support="free").worst_case(p, z).value == pytest.approx(dual, abs=1e-12)
