import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.equilibria import equilibria, marginals, product, stage_gaps
from robust_rl.errors import InvalidArgumentError

from .oracle import gap_by_enumeration

SHAPES = [(3,), (2, 2), (2, 3), (3, 1), (2, 2, 2), (2, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["ne", "ce", "cce"])
def test_gaps_are_the_best_of_all_deterministic_deviations(shape, kind):
    rng = np.random.default_rng(0)
    payoffs = rng.normal(size=(10, len(shape), *shape))
    joint = rng.dirichlet(np.full(int(np.prod(shape)), 0.5), size=10).reshape(10, *shape)
    if kind == "ne":
        joint = product(marginals(joint))
    found = stage_gaps(payoffs, joint, kind)
    expected = [gap_by_enumeration(q, x, kind) for q, x in zip(payoffs, joint, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_gaps_widen_from_coarse_correlated_to_correlated(shape, seed):
    """Each kind of deviation includes the one before, and for products both are the gap of Nash."""
    rng = np.random.default_rng(seed)
    payoffs = rng.normal(size=(4, len(shape), *shape))
    joint = rng.dirichlet(np.ones(int(np.prod(shape))), size=4).reshape(4, *shape)
    assert (stage_gaps(payoffs, joint, "cce") <= stage_gaps(payoffs, joint, "ce") + 1e-13).all()
    alone = product(marginals(joint))
    for kind in ("ce", "cce"):
        np.testing.assert_allclose(stage_gaps(payoffs, alone, kind), stage_gaps(payoffs, alone, "ne"), atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (2, 2, 2)])
def test_a_nash_equilibrium_is_correlated_and_coarse_correlated(shape):
    payoffs = np.random.default_rng(1).normal(size=(50, len(shape), *shape))
    policies = equilibria(payoffs, "ne").policies
    for kind in ("ne", "ce", "cce"):
        assert stage_gaps(payoffs, policies, kind).max() < 1e-9
    assert stage_gaps(payoffs, equilibria(payoffs, "ce").policies, "cce").max() < 1e-9


def test_marginals_and_product_undo_each_other():
    rng = np.random.default_rng(2)
    strategies = [rng.dirichlet(np.ones(size), size=5) for size in (2, 3, 4)]
    joint = product(strategies)
    assert joint.shape == (5, 2, 3, 4)
    for found, given_ in zip(marginals(joint), strategies, strict=True):
        np.testing.assert_allclose(found, given_, atol=1e-15)


def test_wrong_policies_are_named():
    payoffs = np.zeros((2, 2, 2, 2))
    uniform = np.full((2, 2, 2), 0.25)
    with pytest.raises(InvalidArgumentError, match=r"need \(2, 2, 2\)"):
        stage_gaps(payoffs, uniform[:1], "ce")
    with pytest.raises(InvalidArgumentError, match=r"policies\[1\] isn't a distribution"):
        stage_gaps(payoffs, uniform * [[[1.0]], [[2.0]]], "ce")
    with pytest.raises(InvalidArgumentError, match=r"policies\[0\] is correlated"):
        stage_gaps(payoffs, [[[0.5, 0], [0, 0.5]], [[0.25, 0.25], [0.25, 0.25]]], "ne")
