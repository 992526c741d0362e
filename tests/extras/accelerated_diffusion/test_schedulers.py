"""The two schedulers as diffusers uses them, and against the samplers on score functions."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.diffusion_common import level_table
from tests.extras.accelerated_diffusion.targets import PLANE

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import (  # noqa: E402
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
)

from robust_rl.extras.accelerated_diffusion import AcceleratedDDIMScheduler, AcceleratedDDPMScheduler  # noqa: E402
from robust_rl.extras.accelerated_diffusion.levels import SPACINGS  # noqa: E402
from robust_rl.extras.accelerated_diffusion.ode import sample_ode  # noqa: E402
from robust_rl.extras.accelerated_diffusion.sde import accelerated_step  # noqa: E402

BOTH = (AcceleratedDDIMScheduler, AcceleratedDDPMScheduler)


def outputs(sample, ab, kind):
    """What a network of that kind, perfect for the mixture in the plane, says of a sample (n, 2)."""
    a, b = np.sqrt(ab), np.sqrt(1 - ab)
    epsilon = -b * PLANE.score(sample.numpy(), ab)
    original = (sample.numpy() - b * epsilon) / a if a > 0 else np.zeros_like(epsilon) + PLANE.weights @ PLANE.means
    return torch.from_numpy({"epsilon": epsilon, "sample": original, "v_prediction": a * epsilon - b * original}[kind])


def run(scheduler, sample, steps=None, generator=None, timesteps=None):
    scheduler.set_timesteps(steps) if timesteps is None else scheduler.set_timesteps(timesteps=timesteps)
    table = level_table(scheduler.alphas_cumprod)
    for t in scheduler.timesteps:
        output = outputs(sample, table[int(t)], scheduler.config.prediction_type)
        sample = scheduler.step(output, t, sample, generator=generator).prev_sample
    return sample


def noise(count=50, seed=0):
    return torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def visited(scheduler, end=1.0):
    """The levels of a run as the samplers on score functions take them."""
    table = level_table(scheduler.alphas_cumprod)
    return np.concatenate([[end], table[scheduler.timesteps.numpy()[::-1]]])


@settings(max_examples=40)
@given(
    st.sampled_from(SPACINGS),
    st.integers(1, 25),
    st.sampled_from(["ab2_alpha", "ab2_sigma"]),
    st.sampled_from(["epsilon", "sample", "v_prediction"]),
    st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]),
)
def test_the_deterministic_scheduler_is_the_sampler_on_its_score(spacing, steps, variant, kind, schedule):
    scheduler = AcceleratedDDIMScheduler(timestep_spacing=spacing, variant=variant, prediction_type=kind, beta_schedule=schedule)
    end = run(scheduler, noise(), steps)
    levels = visited(scheduler)
    assert len(levels) - 1 == scheduler.num_inference_steps == len(scheduler.timesteps)
    # x0 and v at levels like 1e-9 keep half of the digits
    np.testing.assert_allclose(end, sample_ode(PLANE.scores(levels), noise().numpy(), levels, variant), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noised_start", [True, False])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_stochastic_scheduler_is_the_sampler_on_its_score_with_merged_noise(kind, noised_start):
    """Step for step: what the scheduler returns is Y plus the early half of the next noise, in the mean and the variance."""
    scheduler = AcceleratedDDPMScheduler(prediction_type=kind, noised_start=noised_start, noise_at_end=True)
    scheduler.set_timesteps(7)
    levels = visited(scheduler)
    score = PLANE.scores(levels)
    sample, table = noise(4), level_table(scheduler.alphas_cumprod)
    for k, t in enumerate(scheduler.timesteps):
        i = 7 - k
        h, alpha = 1 - levels[i] / levels[i - 1], levels[i] / levels[i - 1]
        following = 1 - levels[i - 1] / levels[i - 2] if i > 1 else 0.0
        z = torch.randn(sample.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
        output = outputs(sample, table[int(t)], kind)
        after = scheduler.step(output, t, sample, generator=torch.Generator().manual_seed(k)).prev_sample
        mean = accelerated_step(score, sample.numpy(), i, levels, 0.0, 0.0)  # the sample is Y^+ already
        late = accelerated_step(score, sample.numpy(), i, levels, 0.0, 1.0) - mean
        if k == 0 and not noised_start:
            late = np.sqrt(h * (1 - levels[i - 1]) / (1 - levels[i]))  # DDPM's
        else:
            np.testing.assert_allclose(late, np.sqrt(h / 2 / alpha))
        np.testing.assert_allclose(after, mean + np.sqrt(late**2 + following / 2) * z.numpy(), rtol=1e-6, atol=1e-7)
        sample = after
    h = 1 - levels[7] / levels[6]
    assert scheduler.init_noise_sigma == pytest.approx(np.sqrt(1 + h / 2) if noised_start else 1)


def variance_after(scheduler_kind, steps, data=0.3, **options):
    """Relative error of the variance on Gaussian data: the step is linear there, so its coefficients tell it without chance."""
    scheduler = scheduler_kind(timestep_spacing="logsnr", noise_at_end=True, set_alpha_to_one=False, **options)
    scheduler.set_timesteps(steps)
    table, v = level_table(scheduler.alphas_cumprod), float(scheduler.init_noise_sigma) ** 2
    for t in scheduler.timesteps[:-1]:  # the last one's interval is empty: it ends at its own level
        ab = table[int(t)]
        slope = np.sqrt(1 - ab) / (ab * data + 1 - ab)
        ends = []
        for start in (1.0, 0.0):
            sample = torch.full((1, 1), start, dtype=torch.float64)
            last, generator = scheduler._last, torch.Generator().manual_seed(0)
            ends.append(scheduler.step(slope * sample, t, sample, generator=generator).prev_sample.item())
            following, scheduler._last = scheduler._last, last
        scheduler._last = following
        z = torch.randn(1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).item()
        v = (ends[0] - ends[1]) ** 2 * v + (ends[1] / z) ** 2
    return abs(v / (table[0] * data + 1 - table[0]) - 1)


@pytest.mark.parametrize("noised_start", [True, False])
def test_the_stochastic_scheduler_is_of_second_order_in_the_variance_either_way(noised_start):
    errors = [variance_after(AcceleratedDDPMScheduler, steps, noised_start=noised_start) for steps in (20, 40, 80)]
    assert np.polyfit(np.log([20, 40, 80]), np.log(errors), 1)[0] < -1.8


def test_the_first_step_is_that_of_diffusers():
    """DDIM's first step; DDPM's too, less the early noise of the next, which is nothing at the end of a one-step run."""
    sample, output = noise(5), noise(5, seed=1)
    theirs = DDIMScheduler(clip_sample=False)
    ours = AcceleratedDDIMScheduler()
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(10)
    expected, got = (s.step(output, int(s.timesteps[0]), sample) for s in (theirs, ours))
    torch.testing.assert_close(got.prev_sample, expected.prev_sample, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.pred_original_sample, expected.pred_original_sample, rtol=1e-5, atol=1e-6)
    theirs, ours = DDPMScheduler(clip_sample=False), AcceleratedDDPMScheduler()
    for scheduler in (theirs, ours):
        scheduler.set_timesteps(10)
    ends = [s.step(output, s.timesteps[0], sample, generator=torch.Generator().manual_seed(2)) for s in (theirs, ours)]
    z = torch.randn(sample.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    table = level_table(ours.alphas_cumprod)
    late = np.sqrt((1 - table[800]) / (1 - table[900]) * (1 - table[900] / table[800]))
    early = (1 - table[800] / table[700]) / 2
    torch.testing.assert_close(
        ends[1].prev_sample - np.sqrt(late**2 + early) * z, ends[0].prev_sample - late * z, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_it_comes_closer_to_a_thousand_steps_than_ddim(spacing):
    reference = run(DDIMScheduler(clip_sample=False), noise(400), 1000)

    def distance(scheduler, steps):
        return (run(scheduler, noise(400), steps) - reference).square().sum(1).mean().sqrt().item()

    for steps in (10, 20, 50):
        for variant in ("ab2_alpha", "ab2_sigma"):
            ours = distance(AcceleratedDDIMScheduler(timestep_spacing=spacing, variant=variant), steps)
            assert ours < 0.85 * distance(DDIMScheduler(timestep_spacing=spacing, clip_sample=False), steps)


def test_constant_noise_leaves_nothing_to_correct():
    """Then DDIM is exact, and both variants are DDIM."""
    for variant in ("ab2_alpha", "ab2_sigma"):
        ends = []
        for scheduler in (DDIMScheduler(clip_sample=False), AcceleratedDDIMScheduler(variant=variant)):
            scheduler.set_timesteps(10)
            sample = noise(3)
            for t in scheduler.timesteps:
                sample = scheduler.step(torch.full_like(sample, 0.7), t, sample).prev_sample
            ends.append(sample)
        torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)  # DDIMScheduler's coefficients are float32


def test_clipping_goes_into_the_history_too():
    """Against DDIM with use_clipped_model_output, whose eps is that of the clipped x0, plus the weighted difference of those."""
    from robust_rl.extras.accelerated_diffusion.ode import ab2_weight

    ours, theirs = AcceleratedDDIMScheduler(clip_sample=True), DDIMScheduler(clip_sample=True)
    sample, seen = noise(6), []
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(4)
    table = level_table(ours.alphas_cumprod)
    for k, t in enumerate(ours.timesteps.tolist()):
        output = 2 * noise(6, seed=k)
        expected = theirs.step(output, t, sample, use_clipped_model_output=True)
        epsilon = (sample - np.sqrt(table[t]) * expected.pred_original_sample) / np.sqrt(1 - table[t])
        to = table[t - 250] if t >= 250 else 1.0
        wanted = expected.prev_sample
        if seen:
            wanted = wanted + ab2_weight("ab2_alpha", table[t + 250], table[t], to) * (seen[-1] - epsilon)
        seen.append(epsilon)
        got = ours.step(output, t, sample)
        assert got.pred_original_sample.abs().max() <= 1
        torch.testing.assert_close(got.prev_sample, wanted, rtol=1e-4, atol=1e-4)
        sample = got.prev_sample


def test_thresholding_is_diffusers_own():
    ours, theirs = AcceleratedDDIMScheduler(thresholding=True), DDIMScheduler(thresholding=True)
    sample, output = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    got, expected = (s.step(output, 500, sample).pred_original_sample for s in (ours, theirs))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", BOTH)
def test_a_run_that_begins_anew_forgets_the_one_before(kind):
    """After the last step, or in the middle: a step that doesn't follow its neighbour has no history."""
    scheduler = kind()
    first = run(scheduler, noise(), 5, generator=torch.Generator().manual_seed(0))
    scheduler.step(noise(), scheduler.timesteps[2], noise())
    again = noise()
    generator, table = torch.Generator().manual_seed(0), level_table(scheduler.alphas_cumprod)
    for t in scheduler.timesteps:  # without set_timesteps
        again = scheduler.step(outputs(again, table[int(t)], "epsilon"), t, again, generator=generator).prev_sample
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.parametrize("kind", BOTH)
def test_zero_terminal_snr_runs_with_v_and_is_refused_with_epsilon(kind):
    scheduler = kind(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
    end = run(scheduler, noise(200), 25, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(end).all()
    nearest = (end[:, None] - torch.from_numpy(PLANE.means)).norm(dim=2).min(dim=1).values
    assert nearest.median() < 0.8
    with pytest.raises(InvalidArgumentError, match="zero terminal SNR"):
        kind(rescale_betas_zero_snr=True, timestep_spacing="trailing").set_timesteps(25)
    kind(rescale_betas_zero_snr=True).set_timesteps(25)  # "leading" never asks for it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", BOTH)
def test_the_sample_s_dtype_is_kept_and_a_learned_variance_left_out(kind, dtype):
    scheduler = kind()
    scheduler.set_timesteps(3)
    sample = torch.randn(2, 3, 4, 4, dtype=dtype)
    for t in scheduler.timesteps:
        sample = scheduler.step(torch.randn(2, 6, 4, 4, dtype=dtype), t, sample).prev_sample
        assert sample.dtype == dtype
        assert sample.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("kind", BOTH)
def test_configurations_survive_files_and_swaps(kind, tmp_path):
    scheduler = kind(beta_schedule="scaled_linear", timestep_spacing="logsnr", trained_betas=None, prediction_type="v_prediction")
    scheduler.save_config(tmp_path)
    assert json.loads((tmp_path / "scheduler_config.json").read_text())["timestep_spacing"] == "logsnr"
    loaded = kind.from_pretrained(tmp_path)
    assert loaded.config.items() >= {k: v for k, v in scheduler.config.items() if not k.startswith("_")}.items()
    other = DPMSolverMultistepScheduler.from_config(DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1).config)
    swapped = kind.from_config(other.config)
    assert (swapped.config.beta_schedule, swapped.config.steps_offset) == ("scaled_linear", 1)
    assert swapped.config.clip_sample is False, "DDIMScheduler's default is not taken for a wish"
    assert kind.from_config(DDPMScheduler(clip_sample=True).config).config.clip_sample is True
    assert DDIMScheduler in swapped.compatibles
    betas = kind(trained_betas=[0.1, 0.2, 0.3])
    np.testing.assert_allclose(betas.alphas_cumprod, np.cumprod([0.9, 0.8, 0.7]), rtol=1e-6)


@pytest.mark.parametrize("kind", BOTH)
def test_noise_is_added_as_diffusers_adds_it(kind):
    ours, theirs = kind(), DDPMScheduler()
    x, z, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 500, 999])
    torch.testing.assert_close(ours.add_noise(x, z, t), theirs.add_noise(x, z, t))
    torch.testing.assert_close(ours.get_velocity(x, z, t), theirs.get_velocity(x, z, t))
    assert len(ours) == len(theirs) == 1000
    assert ours.scale_model_input(x, 3) is x


@pytest.mark.parametrize("kind", BOTH)
def test_timesteps_may_be_given(kind):
    scheduler = kind()
    scheduler.set_timesteps(timesteps=[900, 500, 10])
    assert scheduler.timesteps.tolist() == [900, 500, 10]
    assert torch.isfinite(run(scheduler, noise(), timesteps=[900, 500, 10])).all()


@pytest.mark.parametrize("kind", BOTH)
def test_bad_arguments_are_named(kind):
    for wrong, message in (({"timestep_spacing": "karras"}, "karras"), ({"prediction_type": "flow"}, "flow")):
        with pytest.raises(InvalidArgumentError, match=message):
            kind(**wrong)
    scheduler = kind()
    with pytest.raises(InvalidArgumentError, match="call set_timesteps"):
        scheduler.step(noise(), 900, noise())
    for wrong, message in (
        ({}, "either"),
        ({"num_inference_steps": 5, "timesteps": [1]}, "either"),
        ({"timesteps": [1, 5]}, "decrease"),
        ({"timesteps": [1000]}, "0 to 999"),
        ({"num_inference_steps": 0}, "is 0"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            scheduler.set_timesteps(**wrong)
    scheduler.set_timesteps(10)
    with pytest.raises(InvalidArgumentError, match="37 is not among"):
        scheduler.step(noise(), 37, noise())
    with pytest.raises(InvalidArgumentError, match="ab3"):
        AcceleratedDDIMScheduler(variant="ab3")
    deterministic = AcceleratedDDIMScheduler()
    deterministic.set_timesteps(10)
    with pytest.raises(InvalidArgumentError, match="eta is 1"):
        deterministic.step(noise(), 900, noise(), eta=1.0)
    start = AcceleratedDDPMScheduler(
        noised_start=True, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    with pytest.raises(InvalidArgumentError, match="pure noise"):
        start.set_timesteps(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline with a tiny network of random weights, as anybody would have saved it."""
    path = tmp_path_factory.mktemp("pipeline")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(clip_sample=False)).save_pretrained(path)
    return path


def loaded(folder, kind, pipeline=DDPMPipeline):
    pipe = pipeline.from_pretrained(folder)
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("pipeline", [DDPMPipeline, DDIMPipeline])
@pytest.mark.parametrize("kind", BOTH)
def test_pipelines_from_a_folder_run_unchanged(folder, kind, pipeline, tmp_path):
    pipe = loaded(folder, kind, pipeline)
    make = lambda: [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]  # noqa: E731
    batch = pipe(3, make(), num_inference_steps=6, output_type="pt").images
    assert batch.shape == (3, 1, 8, 8)
    alone = pipe(1, torch.Generator().manual_seed(2), num_inference_steps=6, output_type="pt").images
    torch.testing.assert_close(alone[0], batch[1], rtol=1e-4, atol=1e-5)
    assert len(pipe(2, num_inference_steps=2).images) == 2
    if pipeline is DDPMPipeline:  # DDIMPipeline makes its scheduler a DDIMScheduler when it is loaded
        pipe.save_pretrained(tmp_path)
        again = DDPMPipeline.from_pretrained(tmp_path)
        assert type(again.scheduler) is kind
        again.set_progress_bar_config(disable=True)
        torch.testing.assert_close(again(3, make(), num_inference_steps=6, output_type="pt").images, batch)


@pytest.mark.parametrize("kind", BOTH)
def test_latent_pipelines_and_their_callbacks_work(kind):
    """Stable Diffusion's pipeline, with networks of a few hundred weights and a prompt given as numbers."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4,
    )  # fmt: skip
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=None, tokenizer=None, unet=unet, scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    seen = []

    def look(pipeline, step, timestep, tensors):
        seen.append((step, int(timestep), tensors["latents"].shape))
        return {"latents": tensors["latents"] * 0} if step == 3 else tensors

    images = pipe(
        prompt_embeds=torch.zeros(2, 3, 8), guidance_scale=1.0, height=8, width=8, num_inference_steps=5, output_type="latent",
        generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)], callback_on_step_end=look,
    ).images  # fmt: skip
    assert [step for step, _, _ in seen] == [0, 1, 2, 3, 4]
    assert [timestep for _, timestep, _ in seen] == pipe.scheduler.timesteps.tolist() == [801, 601, 401, 201, 1]
    assert images.shape == (2, 4, 8, 8)
    assert torch.isfinite(images).all()
