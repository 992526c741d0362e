"""Deterministic samplers: orders on a mixture whose quantiles are known, weights against quadrature, exact cases."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.laws import wasserstein
from robust_rl.extras.accelerated_diffusion.levels import log_snr_levels
from robust_rl.extras.accelerated_diffusion.ode import METHODS, VARIANTS, ab2_weight, sample_ode
from robust_rl.extras.diffusion_common import noise_ratio
from tests.extras.accelerated_diffusion.targets import MIXTURE, slope

STEPS = (100, 200, 400)
PROBABILITIES = (np.arange(400) + 0.5) / 400


@pytest.fixture(scope="module")
def errors():
    """W2 to the data's law at the last level, by method and number of steps, from exact quantiles at the first."""

    def error(method, steps):
        levels = log_snr_levels(steps)
        end = sample_ode(MIXTURE.scores(levels), MIXTURE.quantiles(PROBABILITIES, levels[-1]), levels, method)
        return wasserstein(end, MIXTURE.quantiles(PROBABILITIES, levels[0]))

    return {method: np.array([error(method, steps) for steps in STEPS]) for method in METHODS}


@pytest.mark.parametrize("method", ["euler", "ddim"])
def test_plain_samplers_are_of_first_order(errors, method):
    assert -1.1 <= slope(STEPS, errors[method]) <= -0.9


@pytest.mark.parametrize("method", ["ab2_alpha", "ab2_sigma", "one_call", "two_call"])
def test_accelerated_samplers_are_of_second_order(errors, method):
    assert slope(STEPS, errors[method]) <= -1.8


def test_errors_are_those_of_the_specification(errors):
    """Table of diffusion-design.md, section 4, at T = 100 and 400."""
    table = {
        "euler": (1.5e-1, 3.9e-2),
        "ddim": (2.2e-2, 5.6e-3),
        "two_call": (8.6e-3, 7.0e-4),
        "one_call": (7.9e-3, 5.3e-4),
        "ab2_alpha": (1.1e-3, 7.2e-5),
        "ab2_sigma": (2.4e-3, 1.6e-4),
    }
    for method, expected in table.items():
        np.testing.assert_allclose(errors[method][[0, 2]], expected, rtol=0.04)


levels3 = st.lists(st.floats(1e-4, 1 - 1e-4), min_size=3, max_size=3, unique=True).map(sorted)


@given(levels3)
def test_weights_are_the_integrals_that_they_stand_for(levels):
    """The extrapolated part of eps integrated over sg, by quadrature in sg."""
    before, now, to = levels
    assume(min(now - before, to - now) > 1e-3)
    sg = [float(noise_ratio(level)) for level in levels]

    def ab_of(s):
        return 1 / (1 + s * s)

    in_alpha = quad(lambda s: (ab_of(s) - now) / (before - now), sg[1], sg[2])[0]
    in_sigma = quad(lambda s: (s - sg[1]) / (sg[0] - sg[1]), sg[1], sg[2])[0]
    assert ab2_weight("ab2_alpha", before, now, to) == pytest.approx(np.sqrt(to) * in_alpha, rel=1e-6, abs=1e-12)
    assert ab2_weight("ab2_sigma", before, now, to) == pytest.approx(np.sqrt(to) * in_sigma, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("clean", [1e-4, 1e-6, 1e-8])
def test_the_weight_keeps_its_digits_near_clean_levels(clean):
    """Against the series in sg: integral of (sg^2 - u^2) / (sg_before^2 - sg^2), u from 0 to sg, to leading order."""
    before, now = 1 - 2 * clean, 1 - clean
    sg = float(noise_ratio(now))
    expected = sg * (2 / 3) * sg**2 / (float(noise_ratio(before)) ** 2 - sg**2)
    assert ab2_weight("ab2_alpha", before, now, 1.0) == pytest.approx(expected, rel=10 * clean + 1e-15 / clean)


def test_pure_noise_before_is_no_obstacle():
    assert np.isfinite(ab2_weight("ab2_alpha", 0.0, 0.1, 0.5))
    assert ab2_weight("ab2_sigma", 0.0, 0.1, 0.5) == 0


@settings(max_examples=25)
@given(st.integers(2, 12), st.floats(-2, 2), st.floats(-2, 2), st.sampled_from(VARIANTS))
def test_each_variant_is_exact_for_noise_linear_in_its_variable(steps, a, b, variant):
    """But for the first step, DDIM's, which is exact for constant noise."""
    levels = log_snr_levels(steps)
    variable = {"ab2_alpha": lambda s: 1 / (1 + s * s), "ab2_sigma": lambda s: s}[variant]
    noise = lambda s: a + b * variable(s)  # noqa: E731
    sg = noise_ratio(levels)
    end = sample_ode(lambda y, t: -noise(sg[t]) / np.sqrt(1 - levels[t]), 0.0, levels, variant)
    first = noise(sg[-1]) * (sg[-2] - sg[-1])
    rest = quad(noise, sg[-2], sg[0], epsabs=1e-12, limit=200)[0]
    assert end / np.sqrt(levels[0]) == pytest.approx(first + rest, abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_calls_of_the_score(method):
    levels, seen = log_snr_levels(5), []

    def score(y, t):
        seen.append(t)
        return MIXTURE.score(y, levels[t])

    sample_ode(score, np.zeros((3, 1)), levels, method)
    assert seen == ([5, 4, 5, 3, 4, 2, 3, 1, 2] if method == "two_call" else [5, 4, 3, 2, 1])


def test_one_step_of_any_method_is_a_plain_one():
    levels = [0.7, 0.3]
    y = np.array([[0.4], [-1.0]])
    ends = {method: sample_ode(MIXTURE.scores(levels), y, levels, method) for method in METHODS}
    for method in VARIANTS:
        np.testing.assert_array_equal(ends[method], ends["ddim"])
    for method in ("one_call", "two_call"):
        np.testing.assert_array_equal(ends[method], ends["euler"])


def test_tensors_give_what_arrays_give():
    torch = pytest.importorskip("torch")
    levels = log_snr_levels(6)
    y = np.linspace(-1, 1, 5)
    given = sample_ode(lambda x, t: -x * (1 + t), y, levels)
    tensor = sample_ode(lambda x, t: -x * (1 + t), torch.from_numpy(y), levels)
    np.testing.assert_allclose(tensor.numpy(), given, rtol=1e-12)


@pytest.mark.parametrize(
    ("levels", "method", "message"),
    [
        ([1.0, 0.5], "heun", "heun"),
        ([1.0], "ddim", "two levels"),
        ([0.5, 0.6], "ddim", "levels decrease"),
        ([1.0, 0.0], "ddim", "pure noise"),
    ],
)
def test_bad_arguments_are_named(levels, method, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sample_ode(lambda y, t: -y, 0.0, levels, method)
