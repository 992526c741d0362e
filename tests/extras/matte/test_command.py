"""The commands, on a model of a few steps."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")
pytest.importorskip("sacrebleu")

from typer.testing import CliRunner

from robust_rl.cli.main import app
from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.matte import synthetic_sentences

SETTINGS = {
    "c_dim": 3,
    "s_dim": 2,
    "enc_hidden": 8,
    "dec_hidden": 8,
    "embedding": 4,
    "flow_hidden": 8,
    "steps": 3,
    "batch_size": 8,
}


def call(*arguments):
    return CliRunner().invoke(app, ["matte", *map(str, arguments)])


def test_train_transfer_evaluate(tmp_path):
    data = synthetic_sentences(140, seed=0)
    lines = ["domain,style,text", *(f'{d},{s},"{t}"' for d, s, t in zip(data.domains, data.styles, data.texts))]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    table, run = tmp_path / "data.csv", tmp_path / "run"
    trained = call("train", table, "--config", tmp_path / "settings.json", "--out", run, "--json")
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["influence"].keys() == {"style", "content"}
    ask = ("--domain", "restaurant", "--to", "positive", "--text", "the pasta with the sauce was bland , i hated it")
    written = call("transfer", run, *ask, "--json")
    assert written.exit_code == 0, written.output
    assert json.loads(written.stdout)[0].keys() == {"text", "source", "c_shift", "s_shift", "score"}
    measured = call("evaluate", run, table, "--limit", 5, "--out", tmp_path / "evaluation", "--json")
    assert measured.exit_code == 0, measured.output
    rows = {row["method"]: row for row in json.loads(measured.stdout)["table"]}
    assert rows.keys() == {"copy", "antonyms", "reconstruction", "MATTE"}
    assert rows["copy"]["self_bleu"] == pytest.approx(100)
    assert {"g_geometric", "g_harmonic", "scorer", "classifier"} <= rows["MATTE"].keys()
    assert (tmp_path / "evaluation" / "result" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("train", "nowhere.csv"), InvalidArgumentError, "cannot read nowhere.csv"),
        (("train", "nowhere.tar.gz"), InvalidArgumentError, "pip download"),
        (("train", "grammar", "--config", "settings.json"), UnknownNameError, "did you mean c_dim"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.json").write_text('{"c_dims": 3}')
    found = call(*arguments)
    assert isinstance(found.exception, error)
    assert message in str(found.exception)
    assert not (tmp_path / "runs").exists()
