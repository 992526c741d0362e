import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras import diffusion_common as common

torch = pytest.importorskip("torch")

LEVELS = st.floats(1e-6, 1 - 1e-6)


@given(LEVELS, st.integers(0, 2**32 - 1))
def test_every_prediction_type_tells_the_noise_and_the_picture_it_was_made_of(alpha_bar, seed):
    rng = np.random.default_rng(seed)
    original, noise = rng.standard_normal((2, 3, 1, 2, 2))
    sample = np.sqrt(alpha_bar) * original + np.sqrt(1 - alpha_bar) * noise
    outputs = {
        "epsilon": noise,
        "sample": original,
        "v_prediction": np.sqrt(alpha_bar) * noise - np.sqrt(1 - alpha_bar) * original,
    }
    for kind, output in outputs.items():
        epsilon, x0 = common.epsilon_and_original(output, sample, alpha_bar, kind)
        # what is divided by a small coefficient keeps the rounding of what was added
        np.testing.assert_allclose(epsilon, noise, atol=1e-14 / np.sqrt(1 - alpha_bar))
        np.testing.assert_allclose(x0, original, atol=1e-14 / np.sqrt(alpha_bar))


def test_a_learned_variance_is_left_out_and_the_dtype_kept():
    output, sample = torch.randn(2, 6, 4, 4, dtype=torch.float16), torch.randn(2, 3, 4, 4, dtype=torch.float16)
    epsilon, x0 = common.epsilon_and_original(output, sample, 0.3, "epsilon")
    assert torch.equal(epsilon, output[:, :3])
    assert x0.dtype == torch.float16


@given(LEVELS)
def test_ratio_and_level_are_each_other_s_inverse(alpha_bar):
    assert common.alpha_bar_of(common.noise_ratio(alpha_bar)) == pytest.approx(alpha_bar, rel=1e-12)


def test_level_table_takes_tensors_and_names_what_is_wrong():
    assert common.level_table(torch.tensor([0.5, 0.25])).dtype == np.float64
    for wrong, message in ([0.5, 0.6], r"\[1\] is not below"), ([1.5, 0.5], r"\[0\] is 1.5"), ([], "shape"):
        with pytest.raises(InvalidArgumentError, match=message):
            common.level_table(wrong)


def test_unusable_predictions_are_refused():
    with pytest.raises(InvalidArgumentError, match="zero terminal SNR"):
        common.check_prediction_type("epsilon", 0.0)
    common.check_prediction_type("v_prediction", 0.0)
    with pytest.raises(InvalidArgumentError, match="flow"):
        common.check_prediction_type("flow")
