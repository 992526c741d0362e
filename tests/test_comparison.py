"""Runs side by side: the settings that differ, the last values, and a page."""

import json

import pytest

from robust_rl.comparison import compare_runs, write_comparison
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import RunDirectory

INF = float("inf")


def run(folder, name, settings, lines, command="robust-rl solve"):
    directory = RunDirectory(folder / name)
    directory.start(settings, seed=0, command=command)
    for step, metrics in enumerate(lines, start=1):
        directory.log(step, metrics)
    directory.finish()
    return directory


@pytest.fixture
def folder(tmp_path):
    shared = {"env": "Taxi-v3", "discount": 0.9}
    run(tmp_path, "a", shared | {"set": {"radius": 0.1, "norm": "tv"}}, [{"gap": 5.0, "lower": 1.0}, {"gap": 0.5}])
    run(tmp_path, "b", shared | {"set": {"radius": 0.2, "norm": "tv"}, "tol": 1e-3}, [{"gap": INF}, {"gap": 0.25}])
    run(tmp_path, "c", {"env": "soccer"}, [{"regret": 2.0}], command="robust-rl game")
    return tmp_path


def test_settings_are_those_that_differ_within_a_command(folder):
    a, b, c = compare_runs(folder, ["gap", "lower"])
    assert a["settings"] == {"set.radius": 0.1}
    assert b["settings"] == {"set.radius": 0.2, "tol": 1e-3}
    assert c["settings"] == {}, "alone of its command"
    assert [record["gap"] for record in (a, b, c)] == [0.5, 0.25, None]
    assert [record["lower"] for record in (a, b, c)] == [1.0, None, None], "the last value there is"
    assert list(a) == ["run", "command", "status", "started", "steps", "gap", "lower", "settings"]


def test_an_unknown_metric_is_refused_with_those_there_are(folder):
    with pytest.raises(InvalidArgumentError, match="'loss'; there are gap, lower, regret"):
        compare_runs(folder, ["loss"])
    assert compare_runs(folder / "nothing", ["loss"]) == []


@pytest.mark.parametrize("broken", ["{", '{"step": 1}\n{"step": 2, "gap": "high"}\n', "\n\n"])
def test_one_broken_file_does_not_hide_the_others(folder, broken):
    (folder / "a" / "metrics.jsonl").write_text(broken)
    assert [record["gap"] for record in compare_runs(folder, ["gap"])] == [None, 0.25, None]


def test_page_has_a_section_a_command_and_a_chart_a_metric(folder):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    run(folder, "d <odd>", {"env": "soccer"}, [{"regret": 1.0}] * 3, command="robust-rl game").report("r", [])
    text = write_comparison(folder / "page" / "all.html", folder).read_text()
    assert text.count("<h2>") == 2
    assert text.count("<img") == 3, "gap and lower of one command, regret of the other"
    assert '<th scope="col" class="number">set.radius</th>' in text
    assert '<a href="../d%20%3Codd%3E/result/report.html">d &lt;odd&gt;</a>' in text
    only = write_comparison(folder / "page" / "gap.html", folder, ["gap"]).read_text()
    assert only.count("<img") == 1


def test_page_of_many_runs_draws_the_newest_and_says_so(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    for number in range(12):
        run(tmp_path, f"r{number:02}", {"radius": number}, [{f"m{k}": 1.0 for k in range(9)}])
    text = write_comparison(tmp_path / "all.html", tmp_path).read_text()
    assert "The charts show the newest 10 of 12 runs. The charts show 8 of 9 metrics" in text
    assert text.count("<img") == 8
    assert text.count("<tr>") == 13


def test_nothing_to_compare_is_said(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no runs in"):
        write_comparison(tmp_path / "all.html", tmp_path)


def test_command_lists_and_writes(folder, command):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    code, shown, said = command("runs", str(folder), "--metric", "gap", "--json", "--page", "all.html")
    assert code == 0
    assert [record["gap"] for record in json.loads(shown)] == [0.5, 0.25, None]
    assert "all.html" in said
    shown = command("runs", str(folder))[1]
    assert "set.radius=0.2, tol=0.001" in shown
