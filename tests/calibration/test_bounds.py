"""The bounds fail no more often than they may, and are as sharp as they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from robust_rl.calibration import bounds

DATA_SETS = 1000
DELTA = 0.1
LAWS = [[1.0, 0.0, 0.0, 0.0], [0.98, 0.01, 0.01, 0.0], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]
FIXED = [[1.0, 0.0, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0]]


def check_failures(failed, delta=DELTA):
    """The 99.9 % binomial interval of the failure rate must not lie above delta."""
    low = stats.binomtest(int(np.sum(failed)), len(failed)).proportion_ci(0.999, "exact").low
    assert low <= delta, f"{np.mean(failed):.3f} of the data sets failed, {delta:g} may"


def draws(law, n, seed=0):
    return np.random.default_rng(seed).multinomial(n, law, size=DATA_SETS)


@pytest.mark.parametrize("n", [1, 7, 40, 600])
@pytest.mark.parametrize("law", LAWS)
def test_weissman_covers_at_the_promised_rate(law, n):
    counts = draws(law, n)
    apart = abs(counts / n - law).sum(axis=1) / 2
    check_failures(apart > bounds.weissman(n, 4, DELTA) + 1e-12)
    # two outcomes are one binomial, for which eq. 1 is Hoeffding's two-sided bound
    assert bounds.weissman(n, 2, DELTA) == pytest.approx(min(np.sqrt(np.log(2 / DELTA) / (2 * n)), 1))


@pytest.mark.parametrize("limits", [bounds.hoeffding, bounds.clopper_pearson])
@pytest.mark.parametrize("n", [1, 7, 40, 600])
@pytest.mark.parametrize("p", [0.0, 0.003, 0.2, 0.5, 1.0])
def test_intervals_cover_at_the_promised_rate(limits, n, p):
    lower, upper = limits(np.random.default_rng(1).binomial(n, p, DATA_SETS), n, DELTA)
    check_failures((p < lower - 1e-12) | (p > upper + 1e-12))


@pytest.mark.parametrize("n", [1, 7, 40, 600])
@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("law", LAWS)
def test_distance_to_a_simulator_covers_at_the_promised_rate(law, fixed, n):
    counts = draws(law, n)
    true = abs(np.subtract(law, fixed)).sum() / 2
    check_failures(true > distance_bound(counts, fixed) + 1e-12)
    # eq. 5 alone, which serves rows of many outcomes
    check_failures(true > abs(counts / n - fixed).sum(axis=1) / 2 + np.sqrt(np.log(1 / DELTA) / (2 * n)) + 1e-12)


def test_distance_is_not_a_vacuous_bound():
    """Where the simulator is off by one event, eq. 4 is the exact binomial limit of that event, and fails nearly as often."""
    n, law, fixed = 1000, [0.3, 0.7], [0.0, 1.0]
    failed = distance_bound(draws(law, n), fixed) < 0.3
    assert 0.06 < failed.mean() < 0.13
    assert distance_bound(np.array([[500, 0]]), [1.0, 0.0]) == pytest.approx(1 - DELTA ** (1 / 500))


def test_many_outcomes_fall_back_on_hoeffding_which_covers():
    rng = np.random.default_rng(2)
    law, fixed = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
    counts = rng.multinomial(500, law, size=DATA_SETS)
    found = distance_bound(counts, fixed)
    assert found == pytest.approx(abs(counts / 500 - fixed).sum(axis=1) / 2 + np.sqrt(np.log(1 / DELTA) / 1000))
    check_failures(abs(law - fixed).sum() / 2 > found)


def test_rows_in_blocks_are_rows(monkeypatch):
    rng = np.random.default_rng(4)
    counts, fixed = rng.poisson(1.0, (40, 6)) + np.eye(6, dtype=int)[0], rng.dirichlet(np.ones(6))
    whole = distance_bound(counts, fixed)
    monkeypatch.setattr(bounds, "BLOCK", 100)
    assert (distance_bound(counts, fixed) == whole).all()


def test_clopper_pearson_is_scipys():
    for n in (1, 2, 9, 250):
        for k in {0, 1, n // 3, n - 1, n}:
            expected = stats.binomtest(k, n).proportion_ci(0.93, "exact")
            assert bounds.clopper_pearson(k, n, 0.07) == pytest.approx(tuple(expected), abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=11).filter(any),
    st.integers(0, 1000),
    st.floats(1e-6, 0.4),
    st.integers(2, 9),
)
def test_bounds_shrink_with_draws_grow_with_confidence_and_nest(counts, seed, delta, times):
    """More of the same never widens a bound, a smaller delta never narrows one, eq. 4 lies between what is seen and eq. 5."""
    counts = np.array(counts)
    fixed = np.random.default_rng(seed).dirichlet(np.ones(len(counts)) * 0.5)
    n, seen = counts.sum(), abs(counts / counts.sum() - fixed).sum() / 2
    once = widths(counts, fixed, delta)
    assert all(less <= more + 1e-9 for less, more in zip(widths(counts * times, fixed, delta), once, strict=True))
    assert all(more >= less - 1e-9 for more, less in zip(widths(counts, fixed, delta / 3), once, strict=True))
    assert seen - 1e-12 <= once[0] <= min(seen + np.sqrt(np.log(1 / delta) / (2 * n)), 1) + 1e-12
    (low, high), (wide_low, wide_high) = bounds.clopper_pearson(counts, n, delta), bounds.hoeffding(counts, n, delta)
    assert (wide_low <= low + 1e-9).all()
    assert (high <= wide_high + 1e-9).all()
    assert (low <= counts / n + 1e-12).all()
    assert (counts / n <= high + 1e-12).all()


def test_the_largest_event_is_found():
    """Eq. 4 by enumeration in plain Python, undrawn outcomes included."""
    from itertools import product

    rng = np.random.default_rng(3)
    for _ in range(20):
        counts, fixed = rng.multinomial(20, rng.dirichlet(np.full(5, 0.5))), rng.dirichlet(np.full(5, 0.5))
        events = [np.array(event, dtype=bool) for event in product([False, True], repeat=5)]
        limits = [
            stats.binomtest(int(counts[e].sum()), 20).proportion_ci(1 - 2 * DELTA, "exact").high - fixed[e].sum() for e in events
        ]
        limits = [
            limit if counts[e].any() else 1 - DELTA ** (1 / 20) - fixed[e].sum() for limit, e in zip(limits, events, strict=True)
        ]
        assert distance_bound(counts[None], fixed)[0] == pytest.approx(min(max(limits), 1), abs=1e-9)


def distance_bound(counts, fixed, delta=DELTA):
    rows = sparse.csr_array(counts.astype(float))
    rows.eliminate_zeros()
    return bounds.distance_bound(rows, sparse.csr_array(np.broadcast_to(fixed, counts.shape)), np.full(len(counts), delta))


def widths(counts, fixed, delta):
    n = counts.sum()
    spans = [np.max(np.subtract(*limits(counts, n, delta)[::-1])) for limits in (bounds.hoeffding, bounds.clopper_pearson)]
    return [distance_bound(counts[None], fixed, delta)[0], float(bounds.weissman(n, len(counts), delta)), *spans]
