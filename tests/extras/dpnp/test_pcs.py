"""PCS: the exact draw against dense linear algebra, Langevin against densities on a grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.extras.dpnp import GaussianPCS, LangevinPCS, flip_sign
from robust_rl.extras.dpnp.mala import released_step
from robust_rl.extras.dpnp.pcs import prox
from robust_rl.extras.dpnp.physics import GaussianLikelihood
from tests.extras.dpnp.oracles import normal
from tests.extras.dpnp.problems import NOISE1, Y1, Amplitude, Matrix, generator, line

D = torch.float64


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), gamma=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_the_solve_is_exact_however_loose_the_operator_is(rows, columns, gamma, seed):
    rng = np.random.default_rng(seed)
    M, x, y = rng.normal(size=(rows, columns)), rng.normal(size=(3, columns)), rng.normal(size=(3, rows))
    found = prox(Matrix(M, 0.1), torch.tensor(x), torch.tensor(y), gamma)
    exact = np.linalg.solve(gamma * M.T @ M + np.eye(columns), (gamma * y @ M + x).T).T
    assert np.abs(found.numpy() - exact).max() <= 1e-6 * (1 + gamma) * (1 + np.abs(exact).max())


def test_a_wrong_adjoint_is_an_error():
    physics = Matrix([[1.0, 2.0], [0.0, 1.0]], 0.1)
    physics.A_adjoint = lambda y: -10 * y
    with pytest.raises(ConvergenceError, match="A_adjoint"):
        prox(physics, torch.randn(2, 2, dtype=D, generator=generator()), torch.ones(2, 2, dtype=D), 1.0)


def test_exact_draws_have_the_mean_and_covariance_of_the_formula():
    M, y, x, eta, sigma, n = (
        np.array([[0.8, 0.6, 0.0], [0.0, 1.0, -1.0]]),
        np.array([0.5, -0.2]),
        np.array([1.0, 0, -1]),
        0.7,
        0.3,
        40_000,
    )
    C = np.linalg.inv(M.T @ M / sigma**2 + np.eye(3) / eta**2)
    m = C @ (M.T @ y / sigma**2 + x / eta**2)
    pcs = GaussianPCS(torch.tensor(y)[None], Matrix(M, sigma), sigma)
    z, _ = pcs(torch.tensor(x).expand(n, 3), eta, generator())
    assert np.all(np.abs(z.numpy().mean(0) - m) < 4.5 * np.sqrt(np.diag(C) / n))
    assert np.abs(np.cov(z.numpy().T) - C).max() < 5 * np.abs(C).max() * np.sqrt(2 / n)


def target(x, eta):
    return line.density(line.likelihood * normal(line.x, x, eta))


@pytest.mark.parametrize("first_step", [1e-3, 0.05, 3.0])
def test_langevin_finds_its_step_and_the_law(first_step):
    L = GaussianLikelihood(torch.tensor([[Y1]], dtype=D), Amplitude(NOISE1), NOISE1)
    pcs, x = LangevinPCS(L, steps=60), torch.full((4000, 1), 0.9, dtype=D)
    pcs.restore({"step": torch.full((4000, 1), first_step, dtype=D)})
    z, numbers = pcs(x, 0.4, generator(1))
    exact = target(0.9, 0.4)
    assert line.distance(z[:, 0].numpy(), exact) < line.floor(exact, 4000) + 0.015
    assert 0.45 < numbers["acceptance"] < 0.75


def test_without_the_test_a_long_step_biases():
    L = GaussianLikelihood(torch.tensor([[Y1]], dtype=D), Amplitude(NOISE1), NOISE1)
    x, exact = torch.full((4000, 1), 0.9, dtype=D), target(0.9, 0.4)
    for scale, biased in ((2000.0, True), (5.0, False)):
        pcs = LangevinPCS(L, steps=100, adjust=False, step_rule=released_step(scale, NOISE1))
        z, numbers = pcs(x, 0.4, generator(1))
        assert numbers["acceptance"] == 1
        assert (line.distance(z[:, 0].numpy(), exact) > line.floor(exact, 4000) + 0.05) == biased


def test_only_a_change_of_sign_crosses_between_the_modes():
    """At eta = 1.5 from x = 0.2 both signs have their share, and no Langevin step connects them."""
    L = GaussianLikelihood(torch.tensor([[Y1]], dtype=D), Amplitude(0.05), 0.05)
    x = torch.full((2000, 1), 0.2, dtype=D)
    share = 1 / (1 + np.exp(-2 * 0.2 * Y1 / 1.5**2))
    found = {}
    for moves in ((), (flip_sign,)):
        pcs = LangevinPCS(L, steps=30, moves=moves)
        z, _ = pcs(x, 1.5, generator(2))
        found[len(moves)] = float((z > 0).double().mean())
    assert found[1] == pytest.approx(share, abs=0.04)
    assert abs(found[0] - share) > 0.2


def test_the_gradient_at_amplitude_zero_is_zero():
    L = GaussianLikelihood(torch.tensor([[Y1]], dtype=D), Amplitude(NOISE1), NOISE1)
    z, _ = LangevinPCS(L, steps=1)(torch.zeros(3, 1, dtype=D), 0.1, generator())
    assert bool(z.isfinite().all())


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgumentError, match="adjust=False"):
        LangevinPCS(lambda x: x.sum(1), step_rule=released_step(1.0, 0.1))
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        LangevinPCS(lambda x: x.sum(1), steps=0)
    with pytest.raises(InvalidArgumentError, match="above 0"):
        GaussianPCS(torch.zeros(1, 1), Matrix([[1.0]], 0.0), 0.0)
    with pytest.raises(InvalidArgumentError, match="not finite"):
        LangevinPCS(lambda x: x.log().sum(1))(-torch.ones(2, 1), 0.1, generator())
