"""``robust-rl mim simulate`` from a sign of the gap to a page, in this process."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import torch

from robust_rl.cli import app
from robust_rl.errors import FileFormatError, RobustRLError
from robust_rl.extras.mim import SpatialPatchData, gap_sizes, simulate
from robust_rl.extras.mim.snapshots import choose_scene, load_snapshots
from robust_rl.training import RunDirectory

SHORT = ["--patches", "16", "--clusters", "2", "--steps", "12", "--json"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        app(["mim", "simulate", *arguments], standalone_mode=False)
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
    with pytest.warns(UserWarning, match="another data"), pytest.raises(FileFormatError, match="another training"):
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
