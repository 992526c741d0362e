"""DDS against the law it samples, known on a grid: by quantiles without chance for the flow, by total variation for both."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp import DDSDDIM, DDSDDPM, NoisePredictor, dds
from tests.extras.dpnp.problems import LEVELS, generator, line, prior_on_line

Z, ETA = 0.3, 0.8


def flow_error(steps, order, monkeypatch):
    """W2 between the flow's law near z = -0.5 at eta 1.5, started from the quantiles of u, and the exact one."""
    model = prior_on_line.predictor(LEVELS)
    shares = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    monkeypatch.setattr("robust_rl.extras.dpnp.dds.normal", lambda like, chance: torch.special.ndtri(shares)[:, None])
    level = model.nearest(1.5)
    x = DDSDDIM(model, steps, order)(torch.full((2000, 1), -0.5, dtype=torch.float64), level, generator())
    exact = line.quantiles(line.near(-0.5, float(model.levels[level])), shares.numpy())
    return float(np.sqrt(np.mean((np.sort(x[:, 0].numpy()) - exact) ** 2)))


def test_flow_converges_with_its_order(monkeypatch):
    first = [flow_error(steps, 1, monkeypatch) for steps in (10, 20, 40)]
    second = [flow_error(steps, 2, monkeypatch) for steps in (10, 20, 40)]
    assert np.polyfit(np.log([10, 20, 40]), np.log(first), 1)[0] < -0.9
    assert np.polyfit(np.log([10, 20, 40]), np.log(second), 1)[0] < -1.4
    assert second[-1] < 0.4 * first[-1]


@pytest.mark.parametrize("sampler", [DDSDDIM, DDSDDPM])
def test_twenty_calls_come_near_the_law(sampler):
    model = prior_on_line.predictor(LEVELS)
    level = model.nearest(ETA)
    exact = line.near(Z, float(model.levels[level]))
    z = torch.full((4000, 1), Z, dtype=torch.float64)
    found = [line.distance(sampler(model, 20)(z, level, generator(seed))[:, 0].numpy(), exact) for seed in (0, 1, 2)]
    assert max(found) < line.floor(exact, 4000) + 0.04
    assert model.calls <= 60
    far = np.mean(np.abs(exact - line.prior)) * len(line.x) * line.step / 2
    assert far > 0.15, "the prior itself would fail"


def test_gaussian_prior_in_closed_form():
    """N(mu, v) near z at eta is N((eta^2 mu + v z) / (v + eta^2), v eta^2 / (v + eta^2)); here with every level."""
    from robust_rl.extras.dpnp import GaussianMixture

    model = GaussianMixture([1.0], [[0.4]], [0.09]).predictor(LEVELS)
    level = model.nearest(0.5)
    eta2 = float(model.levels[level]) ** 2
    for sampler in (DDSDDIM(model, 1000), DDSDDPM(model, 1000)):
        x = sampler(torch.full((20_000, 1), -0.5, dtype=torch.float64), level, generator(1))
        variance = 0.09 * eta2 / (0.09 + eta2)
        assert abs(float(x.mean()) - (eta2 * 0.4 + 0.09 * -0.5) / (0.09 + eta2)) < 4 * np.sqrt(variance / 20_000) + 3e-3
        assert float(x.var()) == pytest.approx(variance, rel=0.05)


def test_levels_are_the_models_own_and_no_more_than_asked():
    model = prior_on_line.predictor(LEVELS)
    for steps in (1, 7, 5000):
        nodes, angles = dds.descent(model.levels, model.nearest(0.3), steps)
        assert len(nodes) <= steps
        assert nodes[0] == model.nearest(0.3)
        assert angles[0] == pytest.approx(np.pi / 2)
        assert all(a > b > 0 for a, b in pairwise(angles))
    assert dds.descent(model.levels, 0, 20)[0] == [0], "the smallest level is a single step"


def test_bad_arguments_are_named():
    model = prior_on_line.predictor(LEVELS)
    with pytest.raises(InvalidArgumentError, match="beyond the smallest noise level"):
        model.nearest(1e-4)
    with pytest.raises(InvalidArgumentError, match="beyond the largest"):
        model.nearest(1e6)
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        DDSDDIM(model, 0)
    with pytest.raises(InvalidArgumentError, match="order is 3"):
        DDSDDIM(model, 5, order=3)
    with pytest.raises(InvalidArgumentError, match="without noise"):
        NoisePredictor(lambda x, t: x, [1.0, 0.5])
