"""Domains of any size: built as CSR without a dense array, and the same models as the dense ones."""

import time

import numpy as np
import pytest

from robust_rl.envs import domains

from .helpers import dense, dense_rewards

SIZED = [
    domains.river_swim, domains.river_swim_craam, domains.chain, domains.machine, domains.forest, domains.inventory,
    domains.perishable, domains.capacity,
]  # fmt: skip


@pytest.mark.parametrize("size", [2, 3, 11, 40])
@pytest.mark.parametrize("domain", SIZED, ids=lambda domain: domain.__name__)
def test_sparse_is_dense(domain, size):
    one, other = domain(size, sparse=False), domain(size, sparse=True)
    assert not one.is_sparse
    assert other.is_sparse
    kernel = dense(one)
    np.testing.assert_allclose(dense(other), kernel, atol=1e-15)
    np.testing.assert_allclose(other.expected_rewards(), one.expected_rewards(), atol=1e-12)
    np.testing.assert_array_equal(other.terminal, one.terminal)
    np.testing.assert_array_equal(other.start, one.start)
    reached = (kernel > 0) & ~one.terminal[:, None, None]
    if other.has_transition_rewards:
        np.testing.assert_allclose(dense_rewards(other)[reached], dense_rewards(one)[reached], atol=1e-12)


@pytest.mark.parametrize("domain", SIZED, ids=lambda domain: domain.__name__)
def test_the_size_decides(domain, monkeypatch):
    model = domain(30)
    entries = model.num_states**2 * model.num_actions
    monkeypatch.setattr("robust_rl.envs.domains.build.DENSE_ENTRIES", entries)
    assert not domain(30).is_sparse
    monkeypatch.setattr("robust_rl.envs.domains.build.DENSE_ENTRIES", entries - 1)
    assert domain(30).is_sparse
    assert not domain(30, sparse=False).is_sparse


@pytest.mark.parametrize("domain", SIZED, ids=lambda domain: domain.__name__)
def test_a_hundred_thousand_states_are_built_in_a_moment(domain):
    """A dense kernel would take 160 GB or more."""
    begin = time.perf_counter()
    model = domain(100_000)
    assert time.perf_counter() - begin < 10
    assert model.is_sparse
    assert model.num_states == 100_000
    assert model.csr().nnz <= 100_000 * model.num_actions * 6


def test_blocks_of_states_join_without_a_seam(monkeypatch):
    whole = domains.inventory(50, sparse=True)
    blocks = domains.operations.build.state_blocks
    monkeypatch.setattr("robust_rl.envs.domains.build.state_blocks", lambda n: blocks(n, 7))
    parts = domains.inventory(50, sparse=True)
    np.testing.assert_array_equal(dense(parts), dense(whole))
    np.testing.assert_array_equal(dense_rewards(parts), dense_rewards(whole))
