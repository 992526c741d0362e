"""``robust-rl less`` from text to tables, on a tiny model in a folder."""

import json
import random

import pytest

pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
pytest.importorskip("matplotlib")

from robust_rl.cli import app
from robust_rl.errors import RobustRLError
from robust_rl.extras.less import LessKernels
from tests.alignment import tiny

SHORT = ["--length", "48", "--sequences", "12", "--budget", "8"]
FIT = ["--model", "model", "--text", "corpus.txt", *SHORT, "--epochs", "2", "--hidden", "8", "--rank", "4", "--layers", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("less")
    tiny.model().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    rng = random.Random(0)
    (folder / "corpus.txt").write_text(" ".join(rng.choices(tiny.WORDS, k=400)))
    return folder


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Return a function that runs ``robust-rl less`` in this process, as starting another one takes longer than all else."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)

    def run(*arguments):
        app(["less", *arguments, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


def test_fit_then_evaluate(folder, command):
    result = command("fit", *FIT, "--out", "run")
    assert result["policy"] == "H2O(heavy=4, recent=4)"
    assert list(result["loss"]) == ["1"]
    assert 0 < result["loss"]["1"] < 1.1
    assert LessKernels.load(folder / result["kernels"]).layers == [1]
    assert "data:image/svg+xml" in (folder / result["report"]).read_text()

    given = ["--model", "model", "--kernels", "run", "--text", "corpus.txt", *SHORT, "--sequences", "2", "--out", "eval"]
    tables = command("evaluate", *given)
    assert list(tables["decoding"]) == ["full", "policy", "policy+", "LESS"]
    assert tables["decoding"]["full"]["agreement"] == 1
    assert tables["decoding"]["LESS"]["cache_bytes"] < tables["decoding"]["full"]["cache_bytes"]
    assert json.loads((folder / "eval/result/evaluation.json").read_text())["policy"] == result["policy"]
    assert "Attention output" in (folder / "eval/result/report.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--policy", "h20"], "did you mean h2o"),
        (["--budget", "0"], "budget is 0.0"),
        (["--layers", "1,x"], "isn't a list of numbers"),
        (["--text", "missing.txt"], "cannot read --text"),
        (["--model", "no/such/folder"], "cannot load no/such/folder"),
    ],
)
def test_bad_input_is_refused_before_any_work(folder, command, change, message):
    with pytest.raises(RobustRLError, match=message):
        command("fit", *FIT, *change, "--out", "bad")
    assert not (folder / "bad").exists()
