"""Faults that strike a command after its last step; ``benchmarks/faults.py`` strikes all commands at any moment."""

import errno
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from robust_rl.cli import evaluate
from robust_rl.cli.main import main
from robust_rl.errors import CheckpointError
from robust_rl.training import JSONLLogger
from robust_rl.training.files import atomic_write, disk_error, explain_disk_errors

SOLVE = ["solve", "FrozenLake-v1", "--set", "tv", "--radius", "0.1", "--support", "nominal", "--discount", "0.9", "--out", "run"]


def run(monkeypatch, capsys, *arguments):
    """Return exit code and stderr of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["robust-rl", *arguments])
    with pytest.raises(SystemExit) as leaving:
        main()
    return leaving.value.code, capsys.readouterr().err


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "result").iterdir()) if path.is_file()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_fails_the_results_costs_one_line_and_the_same_command_ends_the_same(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robust_rl.cli.solve.write_agent_report", lambda path, *_: path)  # pictures take seconds
    assert run(monkeypatch, capsys, *SOLVE[:-1], "whole")[0] == 0

    def full(*_, **__):
        raise OSError(number, os.strerror(number), "run/result/report.html")

    with monkeypatch.context() as patched:
        patched.setattr("robust_rl.cli.solve.write_agent_report", full)
        code, said = run(patched, capsys, *SOLVE)
    assert code == 1
    (line,) = said.strip().splitlines()
    assert line.startswith(f"error: cannot write run/result/report.html: {os.strerror(number)}; ")
    assert "free some space" in line or "choose another directory" in line
    assert run(monkeypatch, capsys, *SOLVE)[0] == 0
    assert contents(Path("run")) == contents(Path("whole"))


def test_an_error_that_is_none_of_the_disk_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def broken(*_, **__):
        raise OSError(errno.ENOENT, "a mistake of ours")

    monkeypatch.setattr("robust_rl.cli.solve.write_agent_report", broken)
    monkeypatch.setattr(sys, "argv", ["robust-rl", *SOLVE])
    with pytest.raises(OSError, match="a mistake of ours"):
        main()
    assert disk_error(ValueError("x")) is None


def test_a_name_that_is_too_long_costs_one_line(monkeypatch, capsys):
    code, said = run(monkeypatch, capsys, "runs", "a" * 300)
    assert code == 1
    assert said.strip().endswith("File name too long; choose a shorter name")


def test_a_failed_write_names_its_file_and_the_remedy(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space") as caught:
        atomic_write(tmp_path / "a", b"x")
    assert caught.value.filename == str(tmp_path / "a")
    told = pytest.raises(CheckpointError, match="; nothing is lost; free some space, then run it again")
    with told, explain_disk_errors(tmp_path / "a", "nothing is lost"):
        atomic_write(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


CHECKPOINTED = {
    "game": ["game", "fishery", "--equilibrium", "ce", "--set", "tv", "--support", "free", "--radius", "0.1", "--horizon", "5"],
    "vpo-bandit": ["vpo-bandit", "--mode", "online", "--arms", "3", "--rounds", "5", "--repeats", "2"],
    "mim simulate": ["mim", "simulate", "--patches", "16", "--steps", "5"],
}


@pytest.mark.parametrize("command", CHECKPOINTED)
def test_what_was_saved_on_the_way_is_where_a_run_goes_on_that_died(command, tmp_path, monkeypatch, capsys):
    if command != "game":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robust_rl.cli.options.illustrated", lambda *_: None)
    steps = [*CHECKPOINTED[command], "--checkpoint-every", "2", "--out"]
    logged = []

    def die(self, step, metrics, log=JSONLLogger.log):
        logged.append(step)
        log(self, step, metrics)
        if step == 5 and logged.count(5) == 1:
            raise MemoryError

    assert run(monkeypatch, capsys, *steps, "whole")[0] == 0
    logged.clear()
    with monkeypatch.context() as patched:
        patched.setattr(JSONLLogger, "log", die)
        patched.setattr(sys, "argv", ["robust-rl", *steps, "run"])
        with pytest.raises(MemoryError):
            main()
        assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["step_000002", "step_000004"]
        assert run(patched, capsys, *steps, "run")[0] == 0
    assert logged == [1, 2, 3, 4, 5, 5]
    assert contents(Path("run")) == contents(Path("whole"))


def test_two_evaluations_at_once_keep_both_tables(tmp_path, monkeypatch, capsys):
    """The second begins when the first has read the tables that are there, and has yet to write its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robust_rl.cli.options.illustrated", lambda *_: None)
    assert run(monkeypatch, capsys, *SOLVE)[0] == 0
    second = threading.Thread(target=evaluate.evaluate, args=(Path("run"), ["is_slippery=true"]))

    def slow(path, content, write=evaluate.write_json):
        if threading.current_thread() is not second:
            second.start()
            second.join(timeout=0.5)
        write(path, content)

    monkeypatch.setattr(evaluate, "write_json", slow)
    evaluate.evaluate(Path("run"), ["action_noise=0,0.1"])
    second.join()
    assert set(json.loads(Path("run/result/evaluation.json").read_text())) == {"action_noise", "is_slippery"}
