import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.mixtures import GaussianMixture
from robust_rl.extras.accelerated_diffusion.score_error import disturbed
from tests.extras.accelerated_diffusion.targets import MIXTURE, PLANE

LEVELS = st.floats(0.01, 1.0)


@settings(max_examples=30)
@given(LEVELS, st.floats(-3, 3), st.floats(-3, 3))
def test_the_score_is_the_slope_of_the_log_density(alpha_bar, x, y):
    point, h = np.array([x, y]), 1e-5
    if PLANE.density(point, alpha_bar) < 1e-200:
        return
    slope = [
        (np.log(PLANE.density(point + h * e, alpha_bar)) - np.log(PLANE.density(point - h * e, alpha_bar))) / (2 * h)
        for e in np.eye(2)
    ]
    np.testing.assert_allclose(PLANE.score(point, alpha_bar), slope, rtol=1e-4, atol=1e-4)


def test_the_density_is_that_of_noised_data():
    """Against the convolution it stands for, by quadrature."""

    def clean(x):
        return sum(w * norm.pdf(x, m, s) for w, m, s in zip([0.3, 0.5, 0.2], [-1.2, 0.4, 1.5], [0.25, 0.35, 0.15]))

    for x in (-1.0, 0.2, 2.0):
        noised = quad(lambda z, x: clean(z) * norm.pdf(x, np.sqrt(0.7) * z, np.sqrt(0.3)), -4, 4, args=(x,), limit=200)[0]
        assert MIXTURE.density(np.array([x]), 0.7) == pytest.approx(noised, rel=1e-7)


def test_quantiles_and_samples_have_the_mass_they_should():
    probabilities = np.linspace(0.01, 0.99, 25)
    points = MIXTURE.quantiles(probabilities, 0.8)[:, 0]
    mass = [quad(lambda x: float(MIXTURE.density(np.array([x]), 0.8)), -6, point, limit=200)[0] for point in points[::6]]
    np.testing.assert_allclose(mass, probabilities[::6], atol=1e-7)
    drawn = MIXTURE.sample(40_000, np.random.default_rng(0), 0.8)[:, 0]
    np.testing.assert_allclose((drawn[:, None] < points).mean(axis=0), probabilities, atol=4 * 0.5 / 200)


@settings(max_examples=30)
@given(st.floats(0, 0.5), st.floats(0.1, 20), st.integers(0, 5))
def test_a_disturbed_score_is_wrong_by_the_amount_it_says(size, frequency, seed):
    """Root mean square over a whole number of waves, in units of the noise."""
    levels, t = [1.0, 0.6, 0.2], 2
    deviation = np.sqrt(0.8)
    x = np.linspace(0, 2 * np.pi / frequency * deviation * 10, 5000, endpoint=False)[:, None]
    exact = MIXTURE.scores(levels)
    error = deviation * (disturbed(exact, levels, size, frequency, seed)(x, t) - exact(x, t))
    assert np.sqrt(np.mean(error**2)) == pytest.approx(size, abs=1e-9)
    slope = np.sqrt(np.mean(np.gradient(error[:, 0], x[:, 0])[1:-1] ** 2)) * deviation
    assert slope == pytest.approx(size * frequency, rel=1e-2, abs=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(InvalidArgumentError, match="agree on the components"):
        GaussianMixture([1.0], [0.0, 1.0], [1.0])
    with pytest.raises(InvalidArgumentError, match="positive"):
        GaussianMixture([1.0], [0.0], [0.0])
    with pytest.raises(InvalidArgumentError, match="one dimension"):
        PLANE.quantiles(np.array([0.5]))
    with pytest.raises(InvalidArgumentError, match="at least 0"):
        disturbed(lambda x, t: x, [1.0, 0.5], -1.0)
