import json

import pytest

from robust_rl.errors import InvalidArgumentError
from tests.test_cli import call

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")


def invoke(*arguments):
    """In this process, where torch is loaded already."""
    from typer.testing import CliRunner

    from robust_rl.cli.main import app

    return CliRunner().invoke(app, ["diffusion-train", *arguments])


def test_the_command_leaves_a_pipeline_and_goes_on_where_it_stopped(tmp_path):
    from diffusers import DDPMPipeline

    model = tmp_path / "model"
    done = invoke("digits", "--steps", "3", "--batch-size", "4", "--out", str(model), "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["steps"], result["model"]) == (3, str(model))
    assert 0.5 < result["held_out_loss"] < 2
    assert {"run.json", "metrics.jsonl", "model_index.json", "unet", "scheduler"} <= {path.name for path in model.iterdir()}
    assert DDPMPipeline.from_pretrained(model).unet.config.sample_size == 8
    longer = invoke("digits", "--steps", "4", "--batch-size", "4", "--out", str(model))
    assert isinstance(longer.exception, InvalidArgumentError)
    assert "another problem: its steps is 3, not 4" in str(longer.exception)


def test_bad_input_is_named_before_any_work(tmp_path):
    done = call("diffusion-train", "digit", "--out", "model", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean digits" in done.stderr
    refused = invoke("digits", "--device", "gpu", "--out", str(tmp_path / "model"))
    assert "cpu always works" in str(refused.exception)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "model").exists()
    wrong = invoke("digits", "--steps", "0", "--out", str(tmp_path / "model"))
    assert isinstance(wrong.exception, InvalidArgumentError)
    assert not (tmp_path / "model").exists()
