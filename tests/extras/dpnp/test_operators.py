"""Operators against their dense matrices, the one-bit likelihood against counts, and intervals against their promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp import (
    Blur,
    CodedPhaseRetrieval,
    Inpainting,
    Posterior,
    QuantizedSensing,
    SuperResolution,
    coded_masks,
    flip_channel,
    flip_sign,
    gaussian_kernel,
)
from tests.extras.dpnp.oracles import matrix
from tests.extras.dpnp.problems import generator

D = torch.float64
SHAPE = (2, 4, 6)
LINEAR = {
    "inpainting": lambda: Inpainting((torch.rand(4, 6, generator=generator(3)) < 0.5).double()),
    "super-resolution": lambda: SuperResolution(2),
    "blur": lambda: Blur(torch.rand(3, 5, generator=generator(4), dtype=D)),
}


@pytest.mark.parametrize("name", LINEAR)
@settings(max_examples=10, deadline=None)
@given(gamma=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_adjoint_and_prox_are_those_of_the_dense_matrix(name, gamma, seed):
    physics, rng = LINEAR[name](), np.random.default_rng(seed)
    M = matrix(lambda x: physics.A(torch.from_numpy(x)).numpy(), SHAPE)
    z, y = rng.normal(size=(1, *SHAPE)), physics.A(torch.from_numpy(rng.normal(size=(1, *SHAPE))))
    found = physics.prox_l2(torch.from_numpy(z), y, gamma).numpy().ravel()
    exact = np.linalg.solve(gamma * M.T @ M + np.eye(M.shape[1]), gamma * M.T @ y.numpy().ravel() + z.ravel())
    assert np.abs(found - exact).max() < 1e-9 * (1 + gamma)
    np.testing.assert_allclose(physics.A_adjoint(y).numpy().ravel(), M.T @ y.numpy().ravel(), atol=1e-12)


def test_amplitudes_are_those_of_a_dense_transform_and_know_no_sign():
    masks = coded_masks((3, 3), generator(1), count=2, seen=0.9)
    physics, x = CodedPhaseRetrieval(masks, padding=1), torch.randn(2, 2, 3, 3, generator=generator(2), dtype=D)
    F = np.exp(-2j * np.pi * np.outer(np.arange(5), np.arange(5)) / 5) / np.sqrt(5)
    for m in range(2):
        for c in range(2):
            padded = np.pad((masks[m] * x[1, c]).numpy(), 1)
            np.testing.assert_allclose(physics.A(x)[1, m * 2 + c].numpy(), np.abs(F @ padded @ F.T), atol=1e-12)
    assert torch.equal(physics.A(flip_sign(x)), physics.A(x))
    assert torch.equal(physics.A(flip_channel(1)(x)), physics.A(x))
    assert torch.equal(flip_channel(0)(flip_channel(0)(x)), x)


def test_masks_are_the_papers():
    masks = coded_masks((200, 200), generator(0))
    shares = [float((masks == value).double().mean()) for value in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [1 / 8, 6 / 8, 1 / 8], atol=0.01)


def test_one_bit_likelihood_counts():
    physics, x = QuantizedSensing(0.4), torch.full((1, 1, 100, 100), 0.3, dtype=D)
    y = physics(x, generator(0))
    share = float((y > 0).double().mean())
    assert share == pytest.approx(1 / (1 + np.exp(-0.3 / 0.4)), abs=0.02)
    grid = torch.linspace(-1, 1, 201, dtype=D)
    L = torch.stack([physics.log_likelihood(value.expand(1, 1, 100, 100), y)[0] for value in grid])
    assert float(grid[L.argmax()]) == pytest.approx(0.4 * np.log(share / (1 - share)), abs=0.01), "the maximum is at the log odds"
    alone = physics(x.expand(2, 1, 100, 100), [generator(0), generator(1)])
    assert torch.equal(alone[0], y[0])


@pytest.mark.parametrize(("count", "level"), [(19, 0.9), (30, 0.9), (9, 0.5)])
def test_an_interval_covers_as_often_as_it_says(count, level):
    rng = np.random.default_rng(0)
    draws = torch.from_numpy(rng.gamma(2.0, size=(count + 1, 40_000)))
    assert Posterior(draws[1:]).coverage(draws[0], level) == pytest.approx(level, abs=0.01)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgumentError, match="draw at least 19"):
        Posterior(torch.zeros(16, 3)).interval(0.9)
    with pytest.raises(InvalidArgumentError, match="divide into blocks"):
        SuperResolution(4).A(torch.zeros(1, 1, 6, 8))
    with pytest.raises(InvalidArgumentError, match="larger than the picture"):
        Blur(gaussian_kernel(2.0)).A(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InvalidArgumentError, match="don't fit masks"):
        CodedPhaseRetrieval(torch.ones(1, 4, 4), 2).A(torch.zeros(1, 1, 8, 8))
    with pytest.raises(InvalidArgumentError, match="dither"):
        QuantizedSensing(0.0)
