"""``robust-rl mim``, in this process: from a sign of the gap to a page, and from two folders to a table."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import torch

from robust_rl.cli import app
from robust_rl.errors import InvalidArgumentError, RobustRLError
from robust_rl.extras.mim import SpatialPatchData, compare, gap_sizes, simulate
from robust_rl.extras.mim.folders import image_batches, image_files, load_vision_model
from robust_rl.extras.mim.snapshots import choose_scene, load_snapshots
from robust_rl.training import RunDirectory

SHORT = ["--patches", "16", "--clusters", "2", "--steps", "12", "--json"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, name="simulate"):
        app(["mim", name, *arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_simulate_leaves_numbers_maps_and_pictures(objective, command, tmp_path):
    result = json.loads(command("--gap", "negative", "--objective", objective, *SHORT, "--out", "run"))
    assert result["steps"] == 12
    assert result["information_gap"] < 0
    assert result["global_size"], result["local_size"] == gap_sizes("negative", 16)
    assert 0 < result["own_area"] < 1
    run = RunDirectory(tmp_path / "run")
    assert [line["step"] for line in run.metrics()] == list(range(1, 13))
    assert {"train/loss", "phi/local_to_own", "phi/local_to_global", "upsilon/self"} <= set(run.metrics()[0])
    maps = load_snapshots(run.result / "maps")
    assert list(maps) == [0, 10, 12]
    assert np.allclose(maps[0]["attention"], 1 / 16)
    assert not np.allclose(maps[12]["attention"], 1 / 16, atol=1e-3)
    page = (run.result / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2
    again = json.loads(command("--gap", "negative", "--objective", objective, *SHORT, "--out", "run"))
    assert again == result, "a finished run is found done"


def test_it_says_in_a_line_what_was_found(command):
    shown = command(*SHORT[:-1], "--out", "run")
    assert "12 steps, gap +" in shown
    assert "run/result/report.html" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gap", "positiv"], "did you mean positive"),
        (["--objective", "masked"], "known are mae, contrastive"),
        (["--patches", "35"], "square number"),
        (["--layout", "round"], "scattered"),
        (["--keys", "some"], "visible"),
        (["--steps", "0"], "steps is 0"),
        (["--learning-rate", "-1"], "above 0"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(arguments, message, command, tmp_path):
    with pytest.raises(RobustRLError, match=message):
        command(*arguments)
    assert not (tmp_path / "runs").exists()


def test_a_run_of_another_training_is_refused(tmp_path):
    simulate(tmp_path / "run", n_patches=16, steps=3)
    with pytest.warns(UserWarning, match="another data"), pytest.raises(InvalidArgumentError, match="another problem: its data"):
        simulate(tmp_path / "run", n_patches=16, steps=3, seed=1)


@pytest.mark.parametrize("gap", ["positive", "negative"])
def test_the_sizes_of_the_specification(gap):
    assert gap_sizes(gap) == {"positive": (24, 2), "negative": (7, 4)}[gap]
    for n_patches in (36, 64, 100, 196):
        assert (SpatialPatchData(n_patches, 1, *gap_sizes(gap, n_patches)).information_gap > 0) == (gap == "positive")


def test_a_scene_asks_hidden_patches_with_visible_mates():
    data = SpatialPatchData(36, 3, 7, 4)
    scene = choose_scene(data, seed=3)
    area, mask = scene.image["area"][0], scene.mask[0]
    assert len(scene.queries) == 3
    assert [int(area[p]) == 0 for p in scene.queries] == [False, False, True]
    assert len({int(area[p]) for p in scene.queries}) == 3
    for p in scene.queries:
        assert mask[p]
        assert bool((~mask & (area == area[p])).any())
    assert torch.equal(choose_scene(data, seed=3).mask, scene.mask)


@pytest.fixture
def folders(tmp_path):
    """A tiny ViTMAE that says how it wants its pixels, and pictures of two kinds in two sizes."""
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    config = transformers.ViTMAEConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.ViTMAEModel(config).save_pretrained(tmp_path / "model")
    (tmp_path / "model/preprocessor_config.json").write_text('{"image_mean": [0.25], "image_std": [2.0]}')
    (tmp_path / "pictures/more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "pictures/a.png")
    Image.fromarray(pixels).resize((20, 12)).save(tmp_path / "pictures/more/b.JPG")
    (tmp_path / "pictures/notes.txt").write_text("no picture")
    return pixels


def test_diversity_of_a_folder_is_that_of_its_pictures(folders, command, tmp_path):
    given = ["--model", "model", "--images", "pictures", "--measure", "cos", "--measure", "distance", "--json", "--out", "run"]
    result = json.loads(command(*given, name="diversity"))
    assert result["pictures"] == 2
    assert [(row["measure"], row["layer"]) for row in result["rows"]] == [
        (measure, f"layers.{i}.attention") for measure in ("cos", "distance") for i in range(2)
    ]
    assert "data:image/svg+xml" in (tmp_path / "run/result/report.html").read_text()
    assert json.loads((tmp_path / "run/result/diversity.json").read_text())["rows"] == result["rows"]
    model = load_vision_model("model")
    batches = list(image_batches(image_files(tmp_path / "pictures"), model, "model", batch_size=2))
    assert [batch.shape for batch in batches] == [(2, 1, 8, 8)]
    assert torch.allclose(batches[0][0, 0], torch.tensor((folders[..., 0] / 255 - 0.25) / 2.0, dtype=torch.float32))
    found = compare({"model": model}, batches, measures=("cos",)).rows()
    assert [row["mean"] for row in found] == pytest.approx([row["mean"] for row in result["rows"][:2]], abs=1e-6)
    one = command(*given[:-3], "--limit", "1", "--out", "one", name="diversity")
    assert "layers.1.attention" in one


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--model": "pictures"}, "cannot load pictures"),
        ({"--images": "model"}, "no folder with pictures"),
        ({"--limit": "0"}, "limit is 0"),
        ({"--measure": "cosine"}, "known are cos"),
    ],
)
def test_what_cannot_be_measured_is_told(changed, message, folders, command, tmp_path):
    given = {"--model": "model", "--images": "pictures"} | changed
    with pytest.raises(RobustRLError, match=message):
        command(*(word for pair in given.items() for word in pair), name="diversity")
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_no_picture_is_named(folders, command, tmp_path):
    (tmp_path / "pictures/broken.png").write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match=r"broken\.png"):
        command("--model", "model", "--images", "pictures", name="diversity")
