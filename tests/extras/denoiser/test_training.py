import numpy as np
import pytest

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from tests.training.contract import check_trainable

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from robust_rl.extras.denoiser import DenoiserTraining, contact_sheet, digits, patches, recipe  # noqa: E402
from robust_rl.extras.denoiser.data import HELD_OUT_PICTURES, TRAINING_PICTURES  # noqa: E402
from robust_rl.training import RunDirectory, Trainer  # noqa: E402

TINY = {
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
}


def bars(count=200):
    """Bright left or bright right half, 8 by 8."""
    pictures = np.full((count, 1, 8, 8), -0.9, dtype=np.float32)
    pictures[::2, :, :, :4] = 0.9
    pictures[1::2, :, :, 4:] = 0.9
    return pictures


def tiny(steps=6, **options):
    return DenoiserTraining(bars(), network=TINY, steps=steps, batch_size=8, warm_up=2, **options)


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    assert check_trainable(tiny, tmp_path, max_steps=6, checkpoint_every=2, kills=(3,)).done


def test_the_average_is_that_of_its_definition():
    """Against the sum it abbreviates: weights of the steps times what was decayed since."""
    training, seen = tiny(steps=5, decay=0.6), []
    while not training.done:
        training.step()
        seen.append([p.detach().clone() for p in training.network.parameters()])
    decays = [min(0.6, k / (10 + k)) for k in range(1, 6)]
    weights = [(1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(5)]
    first = list(tiny(steps=5).network.parameters())
    for j, mean in enumerate(training.average.parameters()):
        expected = first[j] * np.prod(decays) + sum(w * values[j] for w, values in zip(weights, seen))
        torch.testing.assert_close(mean.data, expected.data)


def test_the_same_seed_gives_the_same_weights_and_leaves_torch_s_own_generator_alone():
    before = torch.random.get_rng_state()
    one, two, other = tiny(), tiny(), tiny(seed=1)
    one.step(), two.step()
    assert torch.equal(before, torch.random.get_rng_state())
    first, second, third = (next(t.network.parameters()) for t in (one, two, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_it_learns_the_one_picture_there_is_and_is_left_as_a_pipeline(tmp_path):
    from diffusers import DDPMPipeline

    picture = bars(1).repeat(200, axis=0)
    training = DenoiserTraining(picture, network=TINY, steps=100, batch_size=16, learning_rate=1e-2, decay=0.95, warm_up=10)
    start = training.held_out_loss(picture)
    Trainer().fit(training)
    assert training.held_out_loss(picture) < 0.25 < start, "all noise can be told: the picture is known"
    training.pipeline().save_pretrained(tmp_path / "model")
    assert not [path for path in (tmp_path / "model").rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    loaded = DDPMPipeline.from_pretrained(tmp_path / "model")
    assert loaded.scheduler.config.clip_sample is False
    noise, time = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.full((32,), 200)
    noisy = loaded.scheduler.add_noise(torch.from_numpy(picture[:32]), noise, time)
    with torch.no_grad():
        told = loaded.unet(noisy, time).sample
    assert (told - noise).square().mean() < 0.3, "knowing only mean and variance of the pixels leaves 0.6"


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    tiny().save_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="another problem: its steps"):
        tiny(steps=7).load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"decay": 1.0}, "decay is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"pictures": bars() * 2}, r"\[-1, 1\]"),
        ({"pictures": bars()[:, 0]}, "shape"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"pictures": bars(), "network": TINY, "steps": 5} | change
    with pytest.raises(InvalidArgumentError, match=message):
        DenoiserTraining(**arguments)


def test_digits_are_scaled_and_split():
    pytest.importorskip("sklearn")
    found = digits()
    assert found.train.shape == (1500, 1, 8, 8)
    assert found.held_out.shape == (297, 1, 8, 8)
    assert (found.train.min(), found.train.max()) == (-1, 1)


def test_patches_of_the_two_parts_come_from_different_pictures():
    pytest.importorskip("skimage")
    assert not set(HELD_OUT_PICTURES) & set(TRAINING_PICTURES)
    found = patches(train=24, held_out=6)
    assert found.train.shape == (24, 1, 32, 32)
    assert np.abs(found.train).max() <= 1
    np.testing.assert_array_equal(found.held_out, patches(train=24, held_out=6).held_out)
    with pytest.raises(InvalidArgumentError, match="size is 1000"):
        patches(size=1000)


def test_a_run_becomes_a_pipeline_with_sheets_and_a_page(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    from diffusers import DDPMPipeline

    from robust_rl.extras.denoiser.run import train

    trained = train(recipe("digits"), RunDirectory(tmp_path / "digits"), steps=4, batch_size=4, every=2)
    assert not trained.interrupted
    assert [path.name for path in sorted((tmp_path / "digits/result/samples").iterdir())] == [
        "step_000002.png",
        "step_000004.png",
    ]
    loaded = DDPMPipeline.from_pretrained(tmp_path / "digits").unet
    for kept, mean in zip(loaded.parameters(), trained.training.average.parameters(), strict=True):
        assert torch.equal(kept, mean)
    page = trained.write_report(tmp_path / "page.html").read_text()
    assert page.count("data:image/png") == 2


def test_unknown_pictures_are_named():
    with pytest.raises(UnknownNameError, match="did you mean digits"):
        recipe("digit")


def test_a_sheet_places_pictures_in_rows():
    pictures = np.stack([np.full((1, 2, 2), value) for value in (-1.0, 0.0, 1.0)])
    sheet = np.asarray(contact_sheet(pictures, columns=2, scale=1))
    assert sheet.shape == (5, 5)
    assert (sheet[:2, :2] == 0).all()
    assert (sheet[:2, 3:] == 128).all()
    assert (sheet[3:, :2] == 255).all()
