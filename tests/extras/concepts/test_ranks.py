"""Tests of ranks: their size under the hypothesis, their power, and their refusals."""

import numpy as np
import pytest

pytest.importorskip("networkx")

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import DiscreteHierarchy, rank_test
from robust_rl.extras.concepts.cover_tree import Block
from robust_rl.extras.concepts.sample_ranks import SampleRanks


def tables(n, replicates, left, right):
    """Draws of the table of some of G2's leaves, by multinomial sampling of its exact law."""
    truth = DiscreteHierarchy.random("G2", seed=0)
    joint = truth.joint([*left, *right]).reshape(2 ** len(left), -1)
    rng = np.random.default_rng(n)
    return rng.multinomial(n, joint.ravel(), size=replicates).reshape(replicates, *joint.shape)


@pytest.mark.parametrize("method", ["kp", "cca"])
@pytest.mark.parametrize("n", [500, 2000, 10_000])
def test_size_and_power_of_pairs_against_triples(method, n):
    """X1 and X2 have one binary parent, so rank 2 holds; X1 and X4 have two, so it doesn't."""
    under_null = [rank_test(table, 2, method).pvalue for table in tables(n, 400, ["X1", "X2"], ["X4", "X5", "X7"])]
    assert 0.02 <= np.mean(np.array(under_null) < 0.05) <= 0.09
    otherwise = [rank_test(table, 2, method).pvalue for table in tables(n, 50, ["X1", "X4"], ["X2", "X5", "X7"])]
    assert np.mean(np.array(otherwise) < 0.05) > 0.85


def test_pvalues_are_uniform_when_directions_are_left_out():
    """Eight rows and 32 columns: far more directions than are used, on a table of rank 2."""
    pvalues = [rank_test(table, 2).pvalue for table in tables(20_000, 200, ["X1", "X2", "X3"], ["X4", "X5", "X6", "X7", "X8"])]
    assert 0.02 <= np.mean(np.array(pvalues) < 0.05) <= 0.09
    assert 0.42 < np.mean(pvalues) < 0.58


def test_statistic_of_independence_is_near_pearsons():
    """Rank 1 is independence, and there the test is asymptotically the chi-square test."""
    from scipy.stats import chi2_contingency

    rng = np.random.default_rng(0)
    table = rng.multinomial(20_000, np.outer([0.2, 0.3, 0.5], [0.1, 0.3, 0.2, 0.4]).ravel()).reshape(3, 4)
    expected = chi2_contingency(table)
    for method in ("kp", "cca"):
        result = rank_test(table, 1, method)
        assert result.df == expected.dof
        assert result.statistic == pytest.approx(expected.statistic, rel=0.02)


def test_a_table_too_small_to_contradict_is_not_rejected():
    result = rank_test([[40, 10], [10, 40]], 2)
    assert (result.df, result.pvalue) == (0, 1.0)


def test_questions_are_answered_once_and_shared_between_levels():
    truth = DiscreteHierarchy.random("G2", seed=0)
    ranks = SampleRanks(truth.sample(2000), truth.observed)
    a, b = [Block(("X1",), 1), Block(("X2",), 1)], [Block((f"X{i}",), 1) for i in range(3, 10)]
    assert ranks.at_most(a, b, 2)
    assert not ranks.at_level(0.9999).at_most(a, b, 2)
    assert len(ranks.records) == 1


def test_errors():
    with pytest.raises(InvalidArgumentError, match="table of counts"):
        rank_test([[-1, 2], [3, 4]], 1)
    with pytest.raises(InvalidArgumentError, match="kp, cca"):
        rank_test([[1, 2], [3, 4]], 1, "svd")
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        rank_test([[1, 2], [3, 4]], 0)


def test_nonnegative_rank_is_the_number_of_states_of_the_cause():
    from robust_rl.extras.concepts import nonnegative_rank

    for states, names in ((2, ["X1", "X2", "X3"]), (3, ["X1", "X2", "X3"]), (2, ["X1", "X2"]), (3, ["X1", "X2", "X3", "X4"])):
        joint = DiscreteHierarchy.random("G1", (states, 4), seed=1).joint(names)
        table = np.random.default_rng(0).multinomial(20_000, joint.ravel()).reshape(joint.shape)
        found = nonnegative_rank(table)
        assert found.rank == states
        assert all(p < 0.01 for p in found.pvalues[:-1])


def test_one_cause_does_not_explain_two():
    """X1 and X2 have another parent than X4 and X5: no two states explain all four, though each pair's table has rank 2."""
    from robust_rl.extras.concepts import nonnegative_rank

    truth = DiscreteHierarchy.random("G2", seed=0)
    table = np.random.default_rng(0).multinomial(20_000, truth.joint(["X1", "X2", "X4", "X5"]).ravel()).reshape(2, 2, 2, 2)
    assert nonnegative_rank(table, 2).rank is None
    assert nonnegative_rank(table.sum((1, 3))).rank == 2
