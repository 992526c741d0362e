"""Stochastic samplers: closed forms on Gaussian data, whole laws on a mixture; nothing is drawn but in one test."""

import numpy as np
import pytest

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.laws import sde_law, total_variation
from robust_rl.extras.accelerated_diffusion.levels import log_snr_levels
from robust_rl.extras.accelerated_diffusion.mixtures import GaussianMixture
from robust_rl.extras.accelerated_diffusion.sde import accelerated_step, ddpm_step, sample_sde
from tests.extras.accelerated_diffusion.targets import MIXTURE, slope

VARIANCE = 0.3  # of the Gaussian data
STEPS = np.array([25, 50, 100, 200, 400, 800])


def variance_error(one_step, steps):
    """Relative error of the output's variance; ``one_step`` says the variance after a step."""
    levels = log_snr_levels(steps)
    v = levels[-1] * VARIANCE + 1 - levels[-1]
    for t in range(steps, 0, -1):
        alpha = levels[t] / levels[t - 1]
        v = one_step(v, 1 - alpha, alpha, t, levels)
    return abs(v / (levels[0] * VARIANCE + 1 - levels[0]) - 1)


def data_variance(t, levels):
    return levels[t] * VARIANCE + 1 - levels[t]


def ours(v, h, alpha, t, levels):
    """Our own step is linear here: read its three coefficients off, and add variances."""
    score = lambda y, t: -y / data_variance(t, levels)  # noqa: E731
    parts = [accelerated_step(score, *unit[:1], t, levels, *unit[1:]) for unit in np.eye(3)]
    return parts[0] ** 2 * v + parts[1] ** 2 + parts[2] ** 2


def ddpm(v, h, alpha, t, levels):
    score = lambda y, t: -y / data_variance(t, levels)  # noqa: E731
    return ddpm_step(score, 1.0, t, levels, 0.0) ** 2 * v + ddpm_step(score, 0.0, t, levels, 1.0) ** 2


def outside(v, h, alpha, t, levels):
    """As the README of the authors prints it."""
    return (1 - h / data_variance(t, levels)) ** 2 * (v + h / 2) / alpha + h / 2


def cifar(v, h, alpha, t, levels):
    """As the authors' CIFAR file has it."""
    return (1 - h / data_variance(t, levels)) ** 2 * (v + alpha * h / 2) / alpha + h / 2


def test_noise_inside_the_bracket_gains_an_order_and_noise_outside_loses_it():
    errors = {step.__name__: [variance_error(step, n) for n in STEPS] for step in (ours, ddpm, outside, cifar)}
    assert slope(STEPS[2:], errors["ours"][2:]) <= -1.9
    for name in ("ddpm", "outside", "cifar"):
        assert -1.1 <= slope(STEPS[2:], errors[name][2:]) <= -0.9
    # the numbers of diffusion-design.md, section 4
    assert errors["ours"][0] == pytest.approx(7.8e-2, rel=0.01)
    assert errors["ours"][-1] == pytest.approx(7.5e-5, rel=0.01)
    assert errors["ddpm"][0] == pytest.approx(4.3e-1, rel=0.02)


def test_one_step_s_variance_is_right_to_third_order():
    """v - h + h^3 / (2 v^2), times 1 / alpha, from the true variance v at time t."""
    for h in (0.1, 0.01):
        levels = np.array([0.5 / (1 - h), 0.5])
        v = data_variance(1, levels)
        assert ours(v, h, 1 - h, 1, levels) * (1 - h) == pytest.approx(v - h + h**3 / (2 * v**2), rel=1e-12)


@pytest.fixture(scope="module")
def laws():
    """Total variation to the mixture's law at the last level."""
    grid = np.linspace(-8, 8, 2048)

    def error(method, steps, **options):
        levels = log_snr_levels(steps)
        start, end = (MIXTURE.density(grid[:, None], levels[k]) for k in (-1, 0))
        return total_variation(sde_law(MIXTURE.scores(levels), start, grid, levels, method, **options), end, grid)

    steps = (50, 100, 200)
    return {
        "ddpm": np.array([error("ddpm", n) for n in steps]),
        "accelerated": np.array([error("accelerated", n) for n in steps]),
        "outside": np.array([error("accelerated", n, late_outside=True) for n in steps]),
    }


def test_on_a_mixture_acceleration_more_than_halves_the_error(laws):
    assert (laws["accelerated"] <= 0.6 * laws["ddpm"]).all()
    assert slope((50, 100, 200), laws["accelerated"]) <= -0.85
    assert (laws["outside"] > 1.5 * laws["accelerated"]).all()
    np.testing.assert_allclose([laws["ddpm"][1], laws["accelerated"][1], laws["outside"][1]], [2.1e-2, 8.7e-3, 1.5e-2], rtol=0.03)


def test_the_law_on_the_grid_is_the_closed_form():
    """A second way to the same number: the spectral propagation of a Gaussian, and its variance by recursion."""
    data = GaussianMixture([1.0], [0.0], [np.sqrt(VARIANCE)])
    grid, levels = np.linspace(-12, 12, 2048), log_snr_levels(20)  # DDPM's variance reaches 1.5
    for method, step in (("accelerated", ours), ("ddpm", ddpm)):
        v = data_variance(-1, levels)
        for t in range(20, 0, -1):
            v = step(v, 1 - levels[t] / levels[t - 1], levels[t] / levels[t - 1], t, levels)
        density = sde_law(data.scores(levels), data.density(grid[:, None], levels[-1]), grid, levels, method)
        cell = grid[1] - grid[0]
        assert density.sum() * cell == pytest.approx(1, abs=1e-9)
        assert (density * grid**2).sum() * cell == pytest.approx(v, rel=1e-7)


@pytest.mark.parametrize("method", ["accelerated", "ddpm"])
def test_what_is_drawn_has_the_law_computed(method):
    """Kolmogorov-Smirnov on three seeds: a wrong law at this size fails on all of them."""
    from scipy.stats import kstest

    grid, levels = np.linspace(-8, 8, 2048), log_snr_levels(15)
    density = sde_law(MIXTURE.scores(levels), MIXTURE.density(grid[:, None], levels[-1]), grid, levels, method)
    cumulative = np.cumsum(density) * (grid[1] - grid[0])
    p_values = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        start = MIXTURE.sample(20_000, rng, levels[-1])
        end = sample_sde(MIXTURE.scores(levels), start, levels, method, generator=rng, noise_at_end=True)
        p_values.append(kstest(end[:, 0], lambda x: np.interp(x, grid + (grid[1] - grid[0]) / 2, cumulative)).pvalue)
    assert max(p_values) > 0.05


def test_the_last_noise_is_left_out_unless_asked_for():
    torch = pytest.importorskip("torch")
    levels = [0.9, 0.6]
    draws = [
        sample_sde(lambda y, t: -y, torch.zeros(1000, 2), levels, generator=torch.Generator().manual_seed(0), noise_at_end=end)
        for end in (False, True)
    ]
    h = 1 - 0.6 / 0.9
    assert draws[0].var() == pytest.approx((1 - h) ** 2 * h / 2 / (1 - h), rel=0.15)
    assert draws[1].var() == pytest.approx(((1 - h) ** 2 * h / 2 + h / 2) / (1 - h), rel=0.15)


def test_the_same_generator_gives_the_same_samples():
    levels = log_snr_levels(4)
    first, second = (sample_sde(lambda y, t: -y, np.zeros(3), levels, generator=np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgumentError, match="ancestral"):
        sample_sde(lambda y, t: -y, np.zeros(2), [1.0, 0.5], "ancestral")
    grid = np.linspace(-4, 4, 256)
    sharp = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.01, 0.01])
    levels = [1.0, 0.5]
    with pytest.raises(InvalidArgumentError, match="folds"):
        sde_law(lambda y, t: -3 * y, sharp.density(grid[:, None], 0.5), grid, levels)
