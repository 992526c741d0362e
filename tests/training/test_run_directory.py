import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest

from robust_rl.errors import CheckpointError, FileFormatError, InvalidArgumentError, RunInUseError
from robust_rl.training import RunDirectory


def started(path, **options):
    run = RunDirectory(path)
    run.start(**options)
    return run


def test_making_the_object_touches_no_disk(tmp_path):
    RunDirectory(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_run_json_says_what_was_run(tmp_path):
    @dataclass
    class Settings:
        rate: float = 0.1

    class Set:
        def __repr__(self):
            return "TotalVariation(0.1)"

    configuration = {
        "set": Set(), "settings": Settings(), "array": np.arange(3), "one": np.float32(0.5), "inf": float("inf"),
        "path": tmp_path, "nested": {1: (True, None)},
    }  # fmt: skip
    started(tmp_path / "r", configuration=configuration, seed=np.int64(7), command="robust-rl solve")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["configuration"] == {
        "set": "TotalVariation(0.1)", "settings": {"rate": 0.1}, "array": [0, 1, 2], "one": 0.5, "inf": "inf",
        "path": str(tmp_path), "nested": {"1": [True, None]},
    }  # fmt: skip
    assert (record["seed"], record["command"], record["status"]) == (7, "robust-rl solve", "running")
    assert record["argv"] == sys.argv
    assert record["versions"]["numpy"] == np.__version__
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["memory"] > 0
    assert record["started"].endswith("+00:00")


def test_versions_are_read_without_importing_the_packages():
    code = "import sys; from robust_rl.training import provenance as p; p.versions(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_git_revision_is_that_of_the_checkout_or_none(tmp_path, monkeypatch):
    from robust_rl.training.provenance import git_revision

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "f").write_text("1")
    subprocess.run([*git, "add", "f"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    assert git_revision()["dirty"] is False
    assert len(git_revision()["revision"]) == 40
    (tmp_path / "f").write_text("2")
    assert git_revision()["dirty"] is True


def test_resuming_keeps_the_original_and_adds_a_record(tmp_path):
    run = started(tmp_path / "r", configuration={"a": 1}, seed=3)
    run.log(5, {})
    run.finish("interrupted")
    original = run.read()
    with pytest.warns(UserWarning, match="another a"):
        run.start({"a": 2})
    record = run.read()
    assert record["configuration"] == {"a": 1}
    assert record["seed"] == 3
    assert record["started"] == original["started"]
    assert record["status"] == "running"
    assert record["finished"] is None
    assert [(entry["configuration"], entry["step"]) for entry in record["resumed"]] == [({"a": 2}, 5)]


def test_metrics_come_back_with_their_infinities_and_every_line_is_json(tmp_path):
    run = RunDirectory(tmp_path / "r")
    run.log(1, {"solve/gap": float("inf"), "a/low": -np.inf, "a/nan": np.nan, "a/int": 3, "a/numpy": np.float32(0.5)})
    run.log(2, {"a/flag": np.bool_(True), "a/array": np.array([[2.0]])})
    first, second = run.metrics()
    assert first["solve/gap"] == np.inf
    assert first["a/low"] == -np.inf
    assert np.isnan(first["a/nan"])
    assert (first["step"], first["a/int"], first["a/numpy"]) == (1, 3, 0.5)
    assert second["a/flag"] == 1
    assert second["a/array"] == 2.0
    assert type(first["a/int"]) is int
    assert first["time"] > 1.7e9

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("metrics", [{"step": 1}, {"time": 1}, {"a/b": "text"}, {"a/b": None}, {"a/b": np.ones(2)}, None])
def test_what_is_no_metric_is_refused(tmp_path, metrics):
    with pytest.raises(InvalidArgumentError):
        RunDirectory(tmp_path / "r").log(1, metrics)


def test_a_line_cut_by_a_kill_is_ignored_and_not_glued_to_the_next(tmp_path):
    run = RunDirectory(tmp_path / "r")
    for step in (1, 2):
        run.log(step, {"a/b": step})
    run.finish()
    path = tmp_path / "r" / "metrics.jsonl"
    for length in range(1, 30):
        path.write_bytes(
            path.read_bytes()[: path.read_bytes().index(b"\n") + 1] + b'{"step": 2, "time": 17.25, "a/b": 2}'[:length]
        )
        assert [line["step"] for line in RunDirectory(tmp_path / "r").metrics()] == [1]
        other = RunDirectory(tmp_path / "r")
        other.log(3, {})
        assert [line["step"] for line in other.metrics()] == [1, 3]
        other.finish()


def test_a_long_cut_line_is_removed_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + b"x" * 200_000)
    run = RunDirectory(tmp_path)
    run.log(2, {})
    assert [line["step"] for line in run.metrics()] == [1, 2]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n[]\n{"step": 3}\n')
    with pytest.raises(FileFormatError, match="metrics.jsonl, line 2"):
        RunDirectory(tmp_path).metrics()


def test_truncating_drops_later_lines_and_allows_more(tmp_path):
    run = RunDirectory(tmp_path / "r")
    for step in range(1, 8):
        run.log(step, {"a/b": step})
    run.truncate_metrics(4)
    run.log(5, {"a/b": 50})
    assert [(line["step"], line["a/b"]) for line in run.metrics()] == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 50)]
    RunDirectory(tmp_path / "empty").truncate_metrics(0)


def test_a_checkpoint_is_never_ahead_of_the_metrics(tmp_path):
    run = RunDirectory(tmp_path / "r")
    run.log(1, {})
    with run.checkpoint(1):
        assert (tmp_path / "r" / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_create_makes_a_fresh_directory_however_many_ask_at_once(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(RunDirectory.create(tmp_path / "runs", "ALE/Pong v5").path))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 12
    assert all(path.is_dir() for path in found)
    assert all(path.parent == tmp_path / "runs" and path.name.startswith("ALE-Pong-v5-2") for path in found)


@pytest.mark.parametrize("name", ["", "..", "../../etc", "/abs", "a\nb", "-x"])
def test_no_name_leaves_the_parent(tmp_path, name):
    assert RunDirectory.create(tmp_path, name).path.resolve().parent == tmp_path.resolve()


def test_list_shows_runs_and_ignores_the_rest(tmp_path):
    first = started(tmp_path / "b", command="solve")
    first.log(12, {"a/b": 1})
    first.finish()
    second = started(tmp_path / "a")
    second.log(3, {})
    second.metrics()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text('{"name": "someone else"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "file").write_text("")
    summaries = {summary.name: summary for summary in RunDirectory.list(tmp_path)}
    assert set(summaries) == {"a", "b"}
    assert (summaries["b"].command, summaries["b"].status, summaries["b"].step) == ("solve", "finished", 12)
    assert (summaries["a"].status, summaries["a"].step, summaries["a"].path) == ("running", 3, tmp_path / "a")
    assert RunDirectory.list(tmp_path / "nowhere") == []


def test_a_killed_run_is_listed_as_interrupted(tmp_path):
    pid = os.fork()
    if pid == 0:
        started(tmp_path / "r")
        os._exit(9)
    os.waitpid(pid, 0)
    assert RunDirectory(tmp_path / "r").read()["status"] == "running"
    assert [summary.status for summary in RunDirectory.list(tmp_path)] == ["interrupted"]


def test_a_second_process_is_turned_away_and_told_who_is_there(tmp_path):
    run = started(tmp_path / "r")
    before = (tmp_path / "r" / "run.json").read_bytes()
    code = f"from robust_rl.training import RunDirectory; RunDirectory({str(tmp_path / 'r')!r}).start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"in use by process {os.getpid()}" in done.stderr
    with pytest.raises(RunInUseError, match="in use"):
        RunDirectory(tmp_path / "r").start()
    assert (tmp_path / "r" / "run.json").read_bytes() == before
    run.start()  # its own holder may ask again
    run.finish()
    RunDirectory(tmp_path / "r").start()


def test_a_worker_that_outlives_the_run_does_not_keep_it_locked(tmp_path):
    run = started(tmp_path / "r")
    pid = os.fork()
    if pid == 0:
        threading.Event().wait(10)
        os._exit(0)
    run.finish()
    RunDirectory(tmp_path / "r").start()
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InvalidArgumentError, match="is a file"):
        RunDirectory(tmp_path / "f")


def test_a_foreign_or_newer_run_json_is_refused_and_kept(tmp_path):
    started(tmp_path / "r").finish()
    path = tmp_path / "r" / "run.json"
    newer = path.read_text().replace('"version": 1', '"version": 2')
    for text, message in (("{}", "robust-rl run"), ("", "run.json"), (newer, "upgrade")):
        path.write_text(text)
        with pytest.raises(FileFormatError, match=message):
            RunDirectory(tmp_path / "r").start()
        assert path.read_text() == text


def test_a_full_disk_is_explained(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = started(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"r.*No space left"):
            run.finish()
        assert not run.started
        with pytest.raises(CheckpointError, match=r"run.json.*No space left"):
            RunDirectory(tmp_path / "new").start()
    RunDirectory(tmp_path / "new").start()


def test_unknown_status_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="finished, interrupted"):
        RunDirectory(tmp_path).finish("done")


def test_result_is_made_on_first_use(tmp_path):
    run = RunDirectory(tmp_path / "r")
    (run.result / "policy.json").write_text("{}")
    assert (tmp_path / "r" / "result" / "policy.json").exists()


def test_leftovers_of_a_killed_writer_are_cleaned_at_the_next_start(tmp_path):
    run = RunDirectory(tmp_path / "r")
    for place in (tmp_path / "r", run.result, tmp_path / "r" / "checkpoints"):
        place.mkdir(exist_ok=True)
        (place / ".x.json.17.tmp").write_text("half")
    run.start()
    assert not list((tmp_path / "r").rglob(".*.tmp"))
