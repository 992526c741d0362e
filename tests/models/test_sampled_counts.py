"""Counts: the same wherever blocks are drawn, from the right distribution, and no more than was asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import HashedGarnet, TabularSimulator, sampled_counts, whole_model
from tests.worlds import random_model


def worlds():
    model = random_model(1, states=23)
    garnet = HashedGarnet(40, 2, 3)
    return {"model": model, "simulator": TabularSimulator(model), "source": garnet, "the source's model": whole_model(garnet)}


@pytest.mark.parametrize("name", worlds())
def test_any_order_of_blocks_gives_the_same_counts(name):
    world = worlds()[name]
    counts = sampled_counts(world, 30, seed=5, block=7)
    with ThreadPoolExecutor(3) as pool:
        assert (sampled_counts(world, 30, seed=5, block=7, map=pool.map) != counts).nnz == 0

    def backwards(function, *parts):
        found = [function(*part) for part in reversed(list(zip(*parts, strict=True)))]
        return reversed(found)

    assert (sampled_counts(world, 30, seed=5, block=7, map=backwards) != counts).nnz == 0
    assert (sampled_counts(world, 30, seed=6, block=7) != counts).nnz > 0


def test_a_source_and_its_model_are_drawn_alike():
    by_name = worlds()
    assert (sampled_counts(by_name["source"], 9) != sampled_counts(by_name["the source's model"], 9)).nnz == 0


@pytest.mark.parametrize("name", ["model", "simulator"])
def test_counts_follow_the_model(name):
    """Chi-square over all rows that mean something, at 1 in 10,000; none elsewhere."""
    model, samples = random_model(1, states=23), 2000
    counts = sampled_counts(worlds()[name], samples, seed=1).toarray()
    assert counts.dtype.kind == "i"
    active = model.active_rows
    np.testing.assert_array_equal(counts.sum(axis=1), np.where(active, samples, 0))
    expected = samples * model.csr().toarray()[active]
    found = counts[active]
    assert not found[expected == 0].any()
    cells = expected > 0
    statistic = ((found - expected)[cells] ** 2 / expected[cells]).sum()
    assert statistic < stats.chi2.ppf(0.9999, cells.sum() - len(found))


def test_refuses_what_is_no_number_of_samples():
    with pytest.raises(InvalidArgumentError, match="samples is 0"):
        sampled_counts(random_model(0), 0)
    with pytest.raises(InvalidArgumentError, match="no simulator"):
        sampled_counts(3, 10)
