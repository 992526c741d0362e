"""The commands, as a user types them."""

import json
from functools import partial

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("networkx")

from typer.testing import CliRunner

from robust_rl.cli.concepts import app
from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import skeleton_f1, stages
from robust_rl.training import Trainer


def call(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_simulate_then_discover(tmp_path):
    data, graph = tmp_path / "data.csv", tmp_path / "graph.json"
    shown = call("simulate", "--graph", "G3", "--n", 5000, "--seed", 51, "--out", data)
    assert shown.exit_code == 0, shown.output
    shown = call("discover", data, "--n-states", 2, "--no-refine", "--out", graph, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(graph.read_text())
    assert json.loads(shown.stdout) == found
    children = {}
    for edge in found["edges"]:
        children.setdefault(edge["parent"], []).append(edge["child"])
    assert skeleton_f1(children, "G3") == 1.0
    assert {node["name"]: node["n_states"] for node in found["nodes"] if node["latent"]} == {"L1": 2, "L2": 2, "L3": 2}
    again = call("simulate", "--graph", data.with_suffix(".json"), "--n", 10, "--out", tmp_path / "more.csv")
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "more.csv").read_text().splitlines()) == 11


def test_a_run_has_a_page_with_the_share_of_resamples(tmp_path):
    pytest.importorskip("matplotlib")
    call("simulate", "--graph", "G1", "--n", 1000, "--out", tmp_path / "data.csv")
    shown = call("discover", tmp_path / "data.csv", "--bootstraps", 3, "--no-refine", "--out", tmp_path / "run", "--json")
    assert shown.exit_code == 0, shown.output
    result = json.loads(shown.stdout)
    assert all(0 <= edge["frequency"] <= 1 for edge in result["edges"])
    assert len(result["edges"]) == 4
    page = (tmp_path / "run" / "result" / "report.html").read_text()
    assert "data:image/svg+xml" in page
    assert "share of resamples" in page
    assert json.loads((tmp_path / "run" / "result" / "graph.json").read_text())["n_states"] == 2


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, monkeypatch):
    """Stopped in the search, the refinement and the resamples in turn, a run ends like one that was not."""
    call("simulate", "--graph", "G1", "--n", 400, "--seed", 3, "--out", tmp_path / "data.csv")
    command = ["discover", tmp_path / "data.csv", "--n-states", 2, "--bootstraps", 2, "--json"]
    whole = call(*command, "--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    steps = len((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines())
    for stop in (1, 6, steps - 1):
        with monkeypatch.context() as patched:
            patched.setattr(stages, "Trainer", partial(Trainer, max_steps=stop))
            assert call(*command, "--out", tmp_path / "run").exit_code == 130
    shown = call(*command, "--out", tmp_path / "run")
    assert shown.exit_code == 0, shown.output
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == steps
    files = [tmp_path / name / "result" / "graph.json" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "whole/result/report.html").read_text() == (tmp_path / "run/result/report.html").read_text()
    with pytest.warns(UserWarning, match="another bootstraps"):
        fewer = call(*command, "--bootstraps", 1, "--out", tmp_path / "run")
    assert {edge["frequency"] for edge in json.loads(fewer.stdout)["edges"]} <= {0.0, 1.0}
    with pytest.warns(UserWarning, match="another alpha"):
        again = call(*command, "--out", tmp_path / "run", "--alpha", 0.01)
    assert isinstance(again.exception, InvalidArgumentError)
    assert "another problem: its alpha is 0.001, not 0.01" in str(again.exception)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,3\n", "'a' is constant"),
        ("a,b\n1,\n2,3\n", "empty cells in b"),
        ("", "cannot load"),
        ("a,b\n", "has 0 rows"),
        ("a,b\ninf,1\n2,3\n", "infinite"),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, message):
    (tmp_path / "data.csv").write_text(content)
    shown = call("discover", tmp_path / "data.csv", "--out", tmp_path / "graph.json")
    assert isinstance(shown.exception, InvalidArgumentError)
    assert message in str(shown.exception)
