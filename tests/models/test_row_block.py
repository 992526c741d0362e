"""Rows by themselves: the same whatever the cuts, and checked like a model's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidModelError
from robust_rl.models import FileRows, HashedGarnet, RowBlock, as_source, whole_model
from robust_rl.solvers import BellmanOperator
from tests.worlds import random_model


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32), st.booleans(), st.data())
def test_hashed_rows_do_not_depend_on_cuts(states, actions, successors, seed, single, data):
    source = HashedGarnet(states, actions, successors, seed, single)
    whole = source.rows(0, states)
    first = data.draw(st.integers(0, states - 1))
    last = data.draw(st.integers(first + 1, states))
    block, cut = source.rows(first, last), slice(first * actions, last * actions)
    assert (block.transitions != whole.transitions[cut]).nnz == 0
    np.testing.assert_array_equal(block.rewards, whole.rewards[first:last])
    assert (np.diff(whole.transitions.indptr) == successors).all(), "successors are distinct"


def test_hashed_uniforms_are_uniform():
    """Rewards, first successors and weights of 2e5 rows: means within five standard errors, no correlation between neighbours."""
    block = HashedGarnet(100_000, 2, 2, seed=7).rows(0, 100_000)
    count = block.rewards.size
    first = block.transitions.indices[::2] / 50_000
    for sample in (block.rewards.ravel(), first):
        assert abs(sample.mean() - 0.5) < 5 / np.sqrt(12 * count)
        assert abs(sample.var() - 1 / 12) < 5 / np.sqrt(180 * count)
        assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 5 / np.sqrt(count)
    other = HashedGarnet(100_000, 2, 2, seed=8).rows(0, 100_000).rewards.ravel()
    assert abs(np.corrcoef(other, block.rewards.ravel())[0, 1]) < 5 / np.sqrt(count)


@pytest.mark.parametrize("name", ["world.model", "world.npz"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_operator_on_blocks_of_a_file_is_the_operator_on_the_file(name, is_sparse, tmp_path):
    model = random_model(2, states=17, sparse=is_sparse)
    source = FileRows(model.save(tmp_path / name))
    value = np.random.default_rng(0).normal(size=17)
    value[model.terminal] = 0.0
    for ball in (rr.TotalVariation(0.2, support="reachable"), rr.CVaR(0.3), rr.L2(0.1, support="nominal"), None):
        expected, _ = BellmanOperator(whole_model(source), ball, 0.9)(value)
        parts = [BellmanOperator(source.rows(a, b), ball, 0.9)(value) for a, b in ((0, 5), (5, 6), (6, 17))]
        np.testing.assert_array_equal(np.concatenate([applied for applied, _ in parts]), expected)
        np.testing.assert_allclose(BellmanOperator(model, ball, 0.9)(value)[0], expected, atol=1e-12)
    np.testing.assert_array_equal(source.start, model.start)


def test_bad_rows_are_refused(tmp_path):
    with pytest.raises(InvalidModelError, match="misses 1 by more than rounding"):
        RowBlock(sparse.csr_array([[0.5, 0.5 + 3e-9]]), np.zeros((1, 1)), 1)
    with pytest.raises(InvalidModelError, match="sums to 0.9"):
        RowBlock(sparse.csr_array([[0.5, 0.4]]), np.zeros((1, 1)), 1)
    with pytest.raises(InvalidModelError, match="expected"):
        RowBlock(sparse.csr_array([[0.5, 0.5]]), np.zeros((2, 1)), 1)
    with pytest.raises(InvalidModelError, match="fewer|needs"):
        HashedGarnet(3, 1, 4)
    with pytest.raises(InvalidArgumentError, match="source of rows"):
        as_source(3)
    with pytest.raises(FileFormatError):
        FileRows(tmp_path / "nothing.model")
