import pytest

from robust_rl.errors import InvalidArgumentError

torch = pytest.importorskip("torch")


def test_a_device_that_torch_has_is_found_and_another_is_refused_with_a_remedy():
    from robust_rl.extras.devices import usable_device

    assert usable_device("cpu") == torch.device("cpu")
    missing = ["gpu", "cpu:x", ""] + ([] if torch.cuda.is_available() else ["cuda", "cuda:1"])
    for name in missing:
        with pytest.raises(InvalidArgumentError, match="cpu always works"):
            usable_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_moves_between_processor_and_gpu(tmp_path):
    pytest.importorskip("diffusers")
    from robust_rl.extras.denoiser import denoiser_training, recipe

    chosen = recipe("digits")
    pictures = chosen.pictures()
    here, there = (denoiser_training(chosen, pictures, steps=4, batch_size=8, device=place) for place in ("cpu", "cuda"))
    for _ in range(2):
        here.step(), there.step()
    there.save_checkpoint(tmp_path)
    back = denoiser_training(chosen, pictures, steps=4, batch_size=8)
    back.load_checkpoint(tmp_path)
    assert back.step()["train/loss"] == pytest.approx(here.step()["train/loss"], rel=1e-3)
