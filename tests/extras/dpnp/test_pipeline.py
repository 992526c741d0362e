"""The diffusers pipeline and the command, on a tiny random network; deepinv's operators and its Reconstructor."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.dpnp import Inpainting, QuantizedSensing
from robust_rl.extras.dpnp.pcs import prox
from tests.extras import vision
from tests.extras.dpnp.problems import generator

diffusers = pytest.importorskip("diffusers")
Image = pytest.importorskip("PIL.Image")

from robust_rl.extras.dpnp import DPnPPipeline  # noqa: E402
from robust_rl.extras.dpnp.noise_predictor import NoisePredictor  # noqa: E402
from robust_rl.extras.dpnp.restoration import Restoration, read_picture  # noqa: E402

QUICK = {"k": 3, "dds_steps": 2, "pcs_steps": 3}


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    made = DPnPPipeline(unet.eval(), diffusers.DDPMScheduler(1000))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folder(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(path)
    values = (np.random.default_rng(0).random((8, 8)) * 255).astype(np.uint8)
    Image.fromarray(values).save(path / "photo.png")
    Image.fromarray(np.tile(values, (2, 3))).save(path / "wide.png")
    return path


def seen():
    return Inpainting((torch.rand(8, 8, generator=generator(1)) < 0.5).float(), 0.1)


def measured(physics):
    return physics(torch.rand(1, 1, 8, 8, generator=generator(2)) * 2 - 1, generator(3))


def test_a_pipeline_from_a_folder_samples_and_reports(pipe, folder):
    physics = seen()
    loaded = DPnPPipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    told = []

    def look(pipeline, iteration, level, tensors):
        told.append((iteration, level))
        assert tensors["samples"].shape == (5, 1, 8, 8)

    found = loaded(measured(physics), physics, num_samples=5, generator=generator(), callback_on_step_end=look, **QUICK)
    assert found.samples.shape == (5, 1, 8, 8)
    assert found.mean.shape == found.std.shape == (1, 8, 8)
    assert [line["network_calls"] for line in found.diagnostics] == [2, 4, 6]
    assert [iteration for iteration, _ in told] == [0, 1, 2]
    (again,) = pipe(measured(physics), physics, num_samples=5, generator=generator(), return_dict=False, **QUICK)
    assert torch.equal(again, found.samples)


def test_a_list_of_generators_gives_each_sample_its_own_chance(pipe):
    physics = QuantizedSensing(0.4)
    y = measured(physics)
    many = pipe(y, physics, num_samples=3, generator=[generator(s) for s in (4, 5, 6)], **QUICK).samples
    one = pipe(y, physics, num_samples=1, generator=[generator(5)], **QUICK).samples
    torch.testing.assert_close(many[1], one[0], atol=1e-4, rtol=1e-4)


def test_an_operator_in_0_1_gives_the_same_pictures(pipe):
    """y = mask x on [-1, 1] with noise s is y' = (y + mask) / 2 on [0, 1] with noise s / 2."""
    signed = seen()
    y = measured(signed)
    unit = Inpainting(signed.mask, 0.05)
    unit.pixel_range = (0.0, 1.0)
    first = pipe(y, signed, num_samples=2, generator=generator(), **QUICK)
    second = pipe((y + signed.mask) / 2, unit, num_samples=2, generator=generator(), **QUICK)
    torch.testing.assert_close(second.samples, (first.samples + 1) / 2, atol=1e-4, rtol=1e-4)
    assert second.diagnostics[-1]["residual"] == pytest.approx(first.diagnostics[-1]["residual"], rel=1e-3)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_every_kind_of_prediction_tells_the_same_noise(kind):
    ab = diffusers.DDPMScheduler(1000).alphas_cumprod.double()
    x0, eps = torch.randn(2, 2, 1, 8, 8, generator=generator(), dtype=torch.float64)

    class Network:
        dtype = torch.float64

        def __call__(self, x, t, return_dict):
            a, b = ab[t].sqrt(), (1 - ab[t]).sqrt()
            out = {"epsilon": eps, "sample": x0, "v_prediction": a * eps - b * x0}[kind]
            return (torch.cat([out, 7 + out], dim=1),)  # with a learned variance

    model = NoisePredictor.from_diffusers(Network(), diffusers.DDPMScheduler(1000, prediction_type=kind))
    torch.testing.assert_close(model(x0 + model.levels[300] * eps, 300), eps, atol=1e-5, rtol=1e-5)


def test_bad_arguments_are_named(pipe, folder):
    physics = seen()
    with pytest.raises(InvalidArgumentError, match="DPnPReconstructor"):
        pipe(measured(physics).expand(2, 1, 8, 8), physics)
    with pytest.raises(InvalidArgumentError, match="y has shape"):
        pipe(torch.zeros(1, 1, 4, 4), physics)
    with pytest.raises(InvalidArgumentError, match="no alphas_cumprod"):
        DPnPPipeline(pipe.unet, diffusers.FlowMatchEulerDiscreteScheduler())(measured(physics), physics)
    with pytest.raises(UnknownNameError, match="did you mean inpainting"):
        Restoration(folder, folder / "photo.png", "inpaint")


def call(*arguments, cwd):
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "robust_rl", "dpnp", *arguments], cwd=cwd, env=environment)


def command(arguments, monkeypatch, capsys):
    """The command in this process; what it prints as JSON."""
    from robust_rl.cli import main

    monkeypatch.setattr(sys, "argv", ["robust-rl", "dpnp", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    return json.loads(capsys.readouterr().out)


def test_command_is_killed_resumed_and_leaves_the_pictures(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    base = [
        "--model",
        str(folder),
        "--operator",
        "phase-retrieval",
        "--image",
        str(folder / "photo.png"),
        "--samples",
        "3",
        "--json",
    ]
    base += ["--dds-steps", "2", "--pcs-steps", "20", "--iterations", "30"]
    killed = call(*base, "--out", "run", cwd=tmp_path)
    deadline = time.time() + 200
    while not list((tmp_path / "run" / "checkpoints").glob("step_*[2-9]")) and time.time() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert 2 <= len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 30
    monkeypatch.chdir(tmp_path)
    resumed, whole = (command([*base, "--out", out], monkeypatch, capsys) for out in ("run", "whole"))
    assert resumed["psnr_mean"] == whole["psnr_mean"]
    result = tmp_path / "run" / "result"
    names = {path.name for path in result.iterdir()}
    assert {"mean.png", "std.png", "samples.png", "input.png", "posterior.safetensors", "summary.json", "report.html"} <= names
    assert (result / "posterior.safetensors").read_bytes() == (
        tmp_path / "whole" / "result" / "posterior.safetensors"
    ).read_bytes()
    assert (result / "report.html").read_text().count("data:image/svg+xml") == 2
    assert Image.open(result / "mean.png").size == (192, 192)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--image": "wide.png"}, "24 x 16 pixels, the model's pictures are 8 x 8; --fit"),
        ({"--image": "none.png"}, "there is no picture"),
        ({"--image": "model_index.json"}, "as a picture"),
        ({"--model": "nowhere"}, "there is no folder"),
        ({"--model": "unet"}, "has no unet/config.json"),
        ({"--noise": "0"}, "noise is 0"),
        ({"--eta-min": "1e-5"}, "beyond the smallest noise level"),
        ({"--preset": "papercode"}, "exact, paper-code"),
    ],
    ids=str,
)
def test_bad_input_is_named_before_any_work(change, message, folder, monkeypatch, tmp_path):
    from robust_rl.cli import main

    monkeypatch.chdir(folder)
    given = {"--model": ".", "--operator": "blur", "--image": "photo.png", "--out": str(tmp_path / "run")} | change
    monkeypatch.setattr(sys, "argv", ["robust-rl", "dpnp", *[part for pair in given.items() for part in pair]])
    said = []
    monkeypatch.setattr("robust_rl.cli.options.note", said.append)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in said[0]
    assert not (tmp_path / "run").exists()


def test_pickled_weights_are_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(InvalidArgumentError, match="can run code when read"):
        Restoration(tmp_path, tmp_path / "photo.png", "blur")


def test_fit_cuts_and_scales(folder):
    found = Restoration(folder, folder / "wide.png", "super-resolution", fit=True, samples=1, **QUICK)
    assert found.truth.shape == (1, 8, 8)
    assert found.y.shape == (1, 1, 4, 4)


def operators(deepinv):
    noise = deepinv.physics.GaussianNoise(0.1)
    kernel = torch.ones(1, 1, 3, 3) / 9
    return {
        "inpainting": deepinv.physics.Inpainting((1, 8, 8), mask=0.5, noise_model=noise, rng=generator()),
        "blur": deepinv.physics.Blur(kernel, padding="valid", noise_model=noise),
        "blur in Fourier space": deepinv.physics.BlurFFT((1, 8, 8), filter=kernel, noise_model=noise),
        "downsampling": deepinv.physics.Downsampling((1, 8, 8), factor=2, filter="bilinear", noise_model=noise),
    }


def test_deepinv_operators_are_solved_to_the_dense_solution():
    deepinv = vision.deepinv()
    for name, physics in operators(deepinv).items():
        columns = torch.eye(64).reshape(64, 1, 8, 8)
        M = physics.A(columns).flatten(1).T.double()
        z, y = torch.randn(2, 1, 8, 8, generator=generator(5)), physics.A(torch.randn(2, 1, 8, 8, generator=generator(6)))
        for gamma in (0.1, 30.0):
            right = gamma * y.flatten(1).double() @ M + z.flatten(1).double()
            exact = torch.linalg.solve(gamma * M.T @ M + torch.eye(64, dtype=torch.float64), right.T).T
            found = prox(physics, z, y, gamma).flatten(1).double()
            assert float((found - exact).norm() / exact.norm()) < 2e-3, (name, gamma)


def test_reconstructor_is_one_of_deepinvs_and_takes_batches(pipe):
    deepinv = vision.deepinv()
    from robust_rl.extras.dpnp import DPnPReconstructor

    physics = operators(deepinv)["inpainting"]
    y = physics(torch.rand(3, 1, 8, 8, generator=generator(1)))
    model = DPnPReconstructor(pipe.unet, pipe.scheduler, num_samples=4, **QUICK)
    assert isinstance(model, deepinv.models.Reconstructor)
    samples = model.samples(y, physics)
    assert samples.shape == (3, 4, 1, 8, 8)
    torch.testing.assert_close(model(y, physics), samples.mean(1))
    seen_pixels = physics.mask[0].bool()
    away = (samples.mean(1) - y)[:, seen_pixels].abs().mean(), (samples.mean(1) - y.roll(1, 0))[:, seen_pixels].abs().mean()
    assert away[0] < away[1], "each measurement's chains are its own"


def test_deepinv_noise_without_a_density_is_refused(pipe):
    deepinv = vision.deepinv()
    physics = deepinv.physics.Denoising(deepinv.physics.PoissonNoise(0.1))
    with pytest.raises(InvalidArgumentError, match="names no Gaussian noise; give sigma=, or log_likelihood="):
        pipe(torch.rand(1, 1, 8, 8), physics)
    found = pipe(
        torch.rand(1, 1, 8, 8),
        physics,
        lambda x, y: (10 * y * x.clamp_min(1e-3).log() - 10 * x).flatten(1).sum(1),
        num_samples=2,
        **QUICK,
    )
    assert "acceptance" in found.diagnostics[0]


def test_a_picture_of_more_points_than_memory_holds_is_refused(tmp_path):
    (tmp_path / "large.ppm").write_bytes(b"P5 100000 100000 255\n")
    with pytest.raises(InvalidArgumentError, match=r"cannot load .*large\.ppm as a picture: Image size"):
        read_picture(tmp_path / "large.ppm", (1, 8, 8), True)
