"""Gram sums by blocks, and DROP on sums from elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError
from robust_rl.solvers import DROPSolver, gram_sums, linear_problem
from tests.solvers.test_drop import log

BALL = rr.TotalVariation(0.1, support="free")


def test_gram_sums_count_visits_for_one_hot_features():
    data = log(0, horizon=7)
    grams = gram_sums(data, rr.features.OneHot(5, 2), 7, block=16)
    for h, gram in enumerate(grams):
        at = data.stage == h
        visits = np.bincount(data.observations[at] * 2 + data.actions[at], minlength=10)
        np.testing.assert_array_equal(gram, np.diag(visits))


def test_the_order_in_which_blocks_end_changes_no_bit():
    data, features = log(1, horizon=7), rr.features.OneHot(5, 2)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(gram_sums(data, features, 7, block=8, map=pool.map), gram_sums(data, features, 7, block=8))


def test_drop_on_given_sums_is_drop():
    data = log(2, horizon=7)
    problem = linear_problem(data, BALL, features=rr.features.OneHot(5, 2), horizon=7)
    found = []
    for grams in (None, gram_sums(data, problem.features, 7, block=8)):
        solver = DROPSolver(problem, data, grams=grams)
        while not solver.done:
            solver.step()
        found.append(solver.solution().weights)
    np.testing.assert_allclose(found[1], found[0], atol=1e-10)
    with pytest.raises(InvalidArgumentError, match="grams of shape"):
        DROPSolver(problem, data, grams=np.zeros((3, 3)))
    with pytest.raises(InvalidArgumentError, match="horizon is 0"):
        gram_sums(data, problem.features, 0)
