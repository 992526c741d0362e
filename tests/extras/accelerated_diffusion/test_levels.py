import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.accelerated_diffusion.levels import SPACINGS, log_snr_levels, select_timesteps, theory_levels
from robust_rl.extras.diffusion_common import noise_ratio

LINEAR = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


@settings(max_examples=60)
@given(st.sampled_from(["leading", "trailing", "linspace"]), st.integers(2, 1000), st.integers(0, 1))
def test_spacings_of_diffusers_are_its_own(spacing, steps, offset):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    theirs = scheduler.timesteps.numpy()
    ours = select_timesteps(spacing, steps, LINEAR, offset)
    # a network knows 0 to 999; with 1000 steps and an offset of 1 DDIMScheduler asks for 1000, with "trailing" and 497 for -1
    known = np.unique(np.minimum(theirs, 999))[::-1]
    np.testing.assert_array_equal(ours, known[known >= 0])
    assert len(ours) <= steps


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 999, 1000])
def test_every_spacing_decreases_and_is_no_longer_than_asked(spacing, steps):
    chosen = select_timesteps(spacing, steps, LINEAR)
    assert (np.diff(chosen) < 0).all()
    assert 1 <= len(chosen) <= steps
    assert chosen[0] < 1000
    assert chosen[-1] >= 0


def test_log_snr_drops_duplicates_as_the_specification_counts_them():
    assert len(select_timesteps("logsnr", 80, LINEAR)) == 76
    assert len(select_timesteps("logsnr", 160, LINEAR)) == 144
    gaps = np.diff(np.log(noise_ratio(LINEAR[select_timesteps("logsnr", 10, LINEAR)])))
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=0.1)


def test_log_snr_begins_at_pure_noise_where_there_is_one():
    assert select_timesteps("logsnr", 5, np.array([0.9, 0.5, 0.2, 0.1, 0.05, 0.0]))[0] == 5


def test_levels_are_uniform_in_log_snr():
    levels = log_snr_levels(7)
    assert levels[0] == pytest.approx(1 - 1e-3)
    assert levels[-1] == pytest.approx(np.exp(-10))
    np.testing.assert_allclose(np.diff(np.log(noise_ratio(levels))), np.diff(np.log(noise_ratio(levels)))[0])


def test_theory_levels_rise_exponentially_and_then_stay():
    levels = theory_levels(200)
    beta = 1 - levels[1:] / levels[:-1]
    rate = 4 * np.log(200) / 200
    assert beta[0] == pytest.approx(200**-2.0)
    assert beta[-1] == pytest.approx(rate)
    growing = (beta[1:] < 0.99 * rate)[:-1]
    np.testing.assert_allclose((beta[2:] / beta[1:-1])[growing][:-1], 1 + rate)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select_timesteps("karras", 5, LINEAR), "karras"),
        (lambda: select_timesteps("leading", 0, LINEAR), "is 0"),
        (lambda: select_timesteps("leading", 1001, LINEAR), "is 1001"),
        (lambda: theory_levels(5), "below 1"),
        (lambda: log_snr_levels(5, clean=0.1, noisy=0.2), "noisy"),
        (lambda: log_snr_levels(0), "steps is 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call()
