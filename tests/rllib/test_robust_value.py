"""The best dual variables give the worst case that the solvers' sets compute, which share no code with these targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import robust_rl as rr

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from robust_rl.rllib.robust_value import LEAST, MOST, worst_value  # noqa: E402

states = st.integers(2, 6)


def draw(seed: int, size: int):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(size)), rng.normal(0.0, 3.0, size)


def mean(ball, p, z, dual, floor):
    """Expectation over z ~ p of what one next state is worth, all with the same dual variables."""
    rows = None if dual is None else torch.as_tensor(np.tile(dual, (len(z), 1)))
    return float(torch.as_tensor(p) @ worst_value(ball, torch.as_tensor(z), rows, floor))


def exact(ball, p, z, floor):
    """The set's own worst case, with the worst state as one more that the row doesn't reach."""
    return float(ball.worst_case(np.append(p, 0.0), np.append(z, floor)).value)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**6), states, st.floats(0.0, 1.0))
def test_contamination_is_unbiased(seed, size, radius):
    p, z = draw(seed, size)
    ball, floor = rr.Contamination(radius, support="free"), z.min() - 1
    assert mean(ball, p, z, None, floor) == pytest.approx(exact(ball, p, z, floor), abs=1e-9)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**6), states, st.floats(0.0, 1.0))
def test_best_eta_gives_the_worst_case_and_no_other_more(seed, size, radius):
    """The mean is concave and piecewise linear in eta with kinks at z, so one of them or m is best."""
    p, z = draw(seed, size)
    ball, floor = rr.TotalVariation(radius, support="free"), z.min() - 1
    worst = exact(ball, p, z, floor)
    assert max(mean(ball, p, z, eta, floor) for eta in (*z, floor)) == pytest.approx(worst, abs=1e-9)
    others = np.random.default_rng(seed).normal(0.0, 10.0, 20)
    assert max(mean(ball, p, z, eta, floor) for eta in others) <= worst + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), states, st.floats(0.02, 0.5))
def test_best_nu_and_lambda_give_the_worst_case_of_kl(seed, size, radius):
    p, z = draw(seed, size)
    p = (p + 0.3) / (p + 0.3).sum()
    ball = rr.KL(radius)
    worst = ball.worst_case(p, z)
    if (worst.q > 0.9 * MOST * p).any() or worst.multiplier < 2 * LEAST:
        return  # the tangent or the least lambda is in use there, as documented
    best = minimize(
        lambda dual: -mean(ball, p, z, dual, None), [z.mean(), 1.0], method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 4000},
    )  # fmt: skip
    assert -best.fun == pytest.approx(float(worst.value), abs=1e-5)


def test_kl_keeps_gradients_where_the_exponential_would_overflow():
    dual = torch.tensor([[100.0, -5.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(worst_value(rr.KL(0.1), torch.tensor([-100.0]), dual, None).sum(), dual)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 0] < 0  # nu is far too large
