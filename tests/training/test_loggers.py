import importlib.util
import io
import os
import re
import subprocess
import sys
import types

import pytest

from robust_rl.errors import CheckpointError, MissingDependencyError
from robust_rl.training import (
    ConsoleLogger,
    JSONLLogger,
    Logger,
    MLflowLogger,
    RunDirectory,
    TensorBoardLogger,
    TrackioLogger,
    Trainer,
    WandbLogger,
)
from tests.test_packaging import ROOT
from tests.training.toys import RandomWalk


class Recorder:
    """Answers every method by recording the call and returning what it was told to."""

    def __init__(self, **returns):
        self.calls, self.returns = [], returns

    def __getattr__(self, name):
        def method(*arguments, **options):
            self.calls.append((name, *arguments, options))
            return self.returns.get(name)

        return method


def read_events(path):
    """Return (tag, step, value) of every scalar in the event files of a run, by hand."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(path.glob("events.out.*")):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            content = content[12 + length + 4 :]
    return found


def test_all_are_loggers(tmp_path):
    run = RunDirectory(tmp_path)
    for logger in (JSONLLogger(run), ConsoleLogger(), WandbLogger(Recorder()), TrackioLogger(Recorder())):
        assert isinstance(logger, Logger)


def test_tensorboard_gets_the_numbers_of_the_metrics_file(tmp_path):
    pytest.importorskip("tensorboardX")
    trainer = Trainer(tmp_path / "r", max_steps=5)
    trainer.fit(RandomWalk())
    lines = [(line["step"], line["walk/norm"]) for line in trainer.run.metrics()]
    events = [(step, value) for tag, step, value in read_events(tmp_path / "r") if tag == "walk/norm"]
    assert events == [(step, pytest.approx(value, rel=1e-6)) for step, value in lines]


def test_a_resumed_run_writes_another_event_file(tmp_path):
    pytest.importorskip("tensorboardX")
    for steps in (2, 4):
        Trainer(tmp_path / "r", max_steps=steps).fit(RandomWalk())
    assert len(list((tmp_path / "r").glob("events.out.*"))) == 2
    assert [step for tag, step, _ in read_events(tmp_path / "r") if tag == "walk/norm"] == [1, 2, 3, 4]


def test_tensorboard_is_thinned_but_keeps_the_last_point(tmp_path):
    pytest.importorskip("tensorboardX")
    logger = TensorBoardLogger(RunDirectory(tmp_path))
    for step in range(1, 1234):
        logger.log(step, {"a/b": step} | ({"eval/rare": 1} if step == 1231 else {}))
    logger.close()
    steps = [step for tag, step, _ in read_events(tmp_path) if tag == "a/b"]
    assert steps[:1000] == list(range(1, 1001))
    assert steps[1000:1003] == [1001, 1011, 1021]
    assert steps[-1] == 1233
    assert ("eval/rare", 1231, 1.0) in read_events(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_event_file_on_a_full_disk_fails_in_one_line_and_leaves_nothing_to_fail_later(tmp_path):
    pytest.importorskip("tensorboardX")
    code = """
import sys
from robust_rl.errors import CheckpointError
from robust_rl.training import RunDirectory, Trainer
from robust_rl.training.event_file import EventFile
from tests.training.toys import RandomWalk

def full(self, directory, purge_step=None, make=EventFile.__init__):
    make(self, directory, purge_step)
    self._file.close()
    self._file = open("/dev/full", "wb")

EventFile.__init__ = full
try:
    Trainer(sys.argv[1], max_steps=5).fit(RandomWalk())
except CheckpointError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, cwd=ROOT)
    assert re.fullmatch(r"cannot write .*events.out.*: No space left on device; the checkpoints survive; free .*\n", done.stdout)
    assert done.stderr == ""


def console(terminal):
    from rich.console import Console

    return Console(file=io.StringIO(), force_terminal=terminal, width=160)


def test_console_shows_steps_and_metrics_on_a_terminal():
    screen = console(True)
    logger = ConsoleLogger(20, screen)
    for step in (11, 12):
        logger.log(step, {"solve/gap[x]": 0.25})
    logger.close()
    assert "12/20" in screen.file.getvalue()
    assert "solve/gap[x] 0.25" in screen.file.getvalue()


def test_console_without_a_limit_shows_no_bar():
    screen = console(True)
    logger = ConsoleLogger(console=screen)
    logger.log(7, {})
    logger.close()
    assert "step 7" in screen.file.getvalue()
    assert "━" not in screen.file.getvalue()


def test_console_is_silent_where_there_is_no_terminal(capfd):
    logger = ConsoleLogger(20)
    logger.log(1, {"a/b": 1.0})
    logger.close()
    Trainer(max_steps=3, progress=True).fit(RandomWalk())
    assert capfd.readouterr() == ("", "")


def test_wandb_is_started_logged_to_and_finished(monkeypatch):
    run = Recorder()
    module = Recorder(init=run)
    monkeypatch.setitem(sys.modules, "wandb", module)
    logger = WandbLogger(project="p", config={"a": 1})
    logger.log(3, {"train/loss": 0.5})
    logger.close()
    assert module.calls == [("init", {"project": "p", "config": {"a": 1}})]
    assert run.calls == [("log", {"train/loss": 0.5}, {"step": 3}), ("finish", {})]


def test_trackio_is_started_logged_to_and_finished(monkeypatch):
    run = Recorder()
    monkeypatch.setitem(sys.modules, "trackio", Recorder(init=run))
    logger = TrackioLogger(project="p")
    logger.log(3, {"train/loss": 0.5})
    logger.close()
    assert run.calls == [("log", {"train/loss": 0.5}, {"step": 3}), ("finish", {})]


@pytest.mark.parametrize("kind", [WandbLogger, TrackioLogger])
def test_a_run_of_the_users_own_is_left_open(kind):
    run = Recorder()
    logger = kind(run)
    logger.log(1, {"a/b": 2})
    logger.close()
    assert run.calls == [("log", {"a/b": 2}, {"step": 1})]


def test_mlflow_starts_a_run_or_joins_the_active_one(monkeypatch):
    fresh = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", fresh)
    logger = MLflowLogger(run_name="n")
    logger.log(2, {"a/b": 1})
    logger.close()
    assert fresh.calls == [
        ("active_run", {}),
        ("start_run", {"run_name": "n"}),
        ("log_metrics", {"a/b": 1.0}, {"step": 2}),
        ("end_run", {}),
    ]  # fmt: skip
    active = Recorder(active_run=object())
    monkeypatch.setitem(sys.modules, "mlflow", active)
    logger = MLflowLogger()
    logger.close()
    assert active.calls == [("active_run", {})]


@pytest.mark.parametrize(("kind", "package"), [(WandbLogger, "wandb"), (MLflowLogger, "mlflow"), (TrackioLogger, "trackio")])
def test_a_missing_package_is_named_with_its_install_line(monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f'pip install "{package}"'):
        kind()


def test_loggers_are_closed_even_if_a_step_raises():
    class Bad(RandomWalk):
        def step(self):
            raise ZeroDivisionError

    logger = Recorder()
    with pytest.raises(ZeroDivisionError):
        Trainer(loggers=[types.SimpleNamespace(log=logger.log, close=logger.close)]).fit(Bad())
    assert logger.calls == [("close", {})]


def test_the_first_error_is_told_though_a_logger_fails_as_well():
    class Bad(RandomWalk):
        def step(self):
            raise CheckpointError("first")

    def close():
        raise CheckpointError("second")

    with pytest.raises(CheckpointError, match="first"):
        Trainer(loggers=[types.SimpleNamespace(log=None, close=close)]).fit(Bad())
    with pytest.raises(CheckpointError, match="second"):
        Trainer(loggers=[types.SimpleNamespace(log=None, close=close)], max_steps=0).fit(RandomWalk())


WITHOUT_TORCH = """
import importlib.util, sys
from robust_rl.training import RunDirectory, TensorBoardLogger
run = RunDirectory(sys.argv[1])
run.start()
TensorBoardLogger(run).close()
assert "torch" not in sys.modules
print(importlib.util.find_spec("torch") is not None)
"""


def test_tensorboard_does_not_load_torch_and_leaves_it_importable(tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.stdout.strip() == str(importlib.util.find_spec("torch") is not None), done.stderr
