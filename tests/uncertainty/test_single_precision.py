"""Models and rows in float32: half the memory, bounds that say so."""

import numpy as np
import pytest

import robust_rl as rr
from tests.worlds import random_model

from .cases import CASES


def in_single_precision(model):
    return model.replace(transitions=model.transitions.astype(np.float32))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows_agree_with_double_precision(case):
    rng = np.random.default_rng(0)
    p, z = rng.dirichlet(np.ones(8), size=50), rng.normal(size=(50, 8))
    answer = case.build(p, 0.2, "free").worst_case(p.astype(np.float32), z.astype(np.float32))
    exact = case.build(p, 0.2, "free").worst_case(p, z)
    assert answer.value.dtype == answer.q.dtype == np.float32
    np.testing.assert_allclose(answer.value, exact.value, atol=1e-4)
    np.testing.assert_allclose(answer.q.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ("tv", "linf", "kl", "l2")], ids=lambda case: case.name)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.filterwarnings("ignore::robust_rl.errors.ConvergenceWarning")  # bounds can't come closer than the rows are known
def test_bounds_hold_for_the_model_in_double_precision(case, sparse):
    """The exact optimum of the same numbers over their sums lies within the certificate of the float32 model."""
    for seed in range(3):
        model = in_single_precision(random_model(seed, sparse=sparse, transition_rewards=False))
        assert model.transitions.dtype == np.float32
        p = model.csr().toarray().astype(np.float64)
        p[model.active_rows] /= p[model.active_rows].sum(axis=1, keepdims=True)
        exact = rr.TabularMDP(
            p.reshape(model.num_states, model.num_actions, -1),
            model.rewards,
            terminal=model.terminal,
            action_mask=model.action_mask,
        )
        uncertainty = case.build(np.empty(0), 0.1, "nominal")
        found = rr.solve(model, uncertainty, discount=0.9)
        truth = rr.solve(exact, uncertainty, discount=0.9, tol=1e-9)
        assert (found.certificate.lower <= truth.certificate.upper).all()
        assert (found.certificate.upper >= truth.certificate.lower).all()
        np.testing.assert_allclose(found.value, truth.value, atol=1e-4 * (1 + abs(truth.value).max()))


def test_rows_that_do_not_sum_to_one_are_refused_in_single_precision_too():
    with pytest.raises(rr.errors.InvalidModelError, match=r"P\[s=0, a=0\] sums to 0.9"):
        rr.TabularMDP(np.array([[[0.4, 0.5]], [[0.0, 1.0]]], dtype=np.float32), np.zeros((2, 1)))


def test_saved_models_keep_their_precision(tmp_path):
    model = in_single_precision(random_model(0))
    assert rr.TabularMDP.load(model.save(tmp_path / "model")).transitions.dtype == np.float32
