import errno
import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from robust_rl.errors import CheckpointError, FileFormatError, InvalidArgumentError, RunInUseError
from robust_rl.training import (
    Callback,
    EarlyStopping,
    Evaluation,
    JSONLLogger,
    RunDirectory,
    Trainer,
    checkpoint_step,
)
from robust_rl.training import trainer as trainer_module
from tests.training.toys import RandomWalk, Script, contents, without_time


def fit(path, steps=20, every=3, trainable=None, callbacks=None, **options):
    """Fit a random walk with stateful callbacks; the same arguments must give the same bits, however it is killed."""
    run = RunDirectory(path)
    if callbacks is None:
        callbacks = [Evaluation(lambda walk: {"first": walk.position[0]}, 2), EarlyStopping("eval/first", 50)]
    trainer = Trainer(run, checkpoint_every=every, callbacks=callbacks, loggers=[JSONLLogger(run)], **options)
    trainer.fit(RandomWalk(steps) if trainable is None else trainable)
    return trainer


def assert_same_run(one, other):
    first, second = RunDirectory(one), RunDirectory(other)
    assert [path.name for path in first.checkpoints()] == [path.name for path in second.checkpoints()]
    assert contents(first.path / "checkpoints") == contents(second.path / "checkpoints")
    assert without_time(first.metrics()) == without_time(second.metrics())


def test_one_loop_logs_saves_and_ends(tmp_path):
    trainer = fit(tmp_path / "r", steps=10)
    assert trainer.step == 10
    assert trainer.trainable.done
    assert not trainer.interrupted
    assert trainer.stop_reason is None
    assert [path.name for path in trainer.run.checkpoints()] == ["step_000006", "step_000009", "step_000010"]
    assert [line["step"] for line in trainer.run.metrics()] == list(range(1, 11))
    assert trainer.run.read()["status"] == "finished"
    assert not trainer.run.started
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        ".lock",
        "checkpoints",
        "metrics.jsonl",
        "run.json",
    ]


def test_without_a_run_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(max_steps=5)
    assert trainer.fit(RandomWalk()).count == 5
    assert list(tmp_path.iterdir()) == []


def test_fit_returns_the_same_object_and_accepts_a_path(tmp_path):
    walk = RandomWalk(2)
    assert Trainer(str(tmp_path / "r")).fit(walk) is walk
    assert (tmp_path / "r" / "run.json").exists()


def test_a_longer_budget_resumes_to_the_bits_of_one_long_run(tmp_path):
    fit(tmp_path / "long", max_steps=9, every=3)
    for steps in (2, 4, 6, 9):
        fit(tmp_path / "short", max_steps=steps, every=3)
    assert contents(RunDirectory(tmp_path / "long").latest_checkpoint()) == contents(
        RunDirectory(tmp_path / "short").latest_checkpoint()
    )
    assert without_time(RunDirectory(tmp_path / "long").metrics()) == without_time(RunDirectory(tmp_path / "short").metrics())


def test_fitting_a_finished_run_again_changes_no_bit(tmp_path):
    fit(tmp_path / "r")
    before = contents(tmp_path / "r" / "checkpoints"), (tmp_path / "r" / "metrics.jsonl").read_bytes()
    walk = RandomWalk()
    fit(tmp_path / "r", trainable=walk)
    assert before == (contents(tmp_path / "r" / "checkpoints"), (tmp_path / "r" / "metrics.jsonl").read_bytes())
    assert walk.done


def test_a_started_run_keeps_its_configuration(tmp_path):
    run = RunDirectory(tmp_path / "r")
    run.start({"radius": 0.1}, seed=4, command="solve")
    Trainer(run).fit(RandomWalk(2))
    assert run.read()["configuration"] == {"radius": 0.1}
    assert run.read()["resumed"] == []


def test_starting_over_in_a_run_with_checkpoints_is_refused(tmp_path):
    fit(tmp_path / "r")
    before = contents(tmp_path / "r" / "checkpoints")
    with pytest.raises(InvalidArgumentError, match="has checkpoints"):
        Trainer(tmp_path / "r").fit(RandomWalk(), resume=False)
    assert contents(tmp_path / "r" / "checkpoints") == before


def test_a_trainer_may_fit_twice():
    trainer = Trainer(max_steps=3)
    trainer.fit(RandomWalk())
    trainer.stop("left over")
    assert trainer.fit(RandomWalk()).count == 3
    assert trainer.step == 3


def test_the_run_is_held_while_fitting(tmp_path):
    class Intruder(Callback):
        def on_step(self, trainer, metrics):
            with pytest.raises(RunInUseError, match="in use"):
                Trainer(trainer.run.path).fit(RandomWalk())

    Trainer(tmp_path / "r", callbacks=[Intruder()], max_steps=2).fit(RandomWalk())


def test_a_step_that_raises_leaves_the_last_checkpoint_and_an_interrupted_run(tmp_path):
    class Bad(RandomWalk):
        def step(self):
            if self.count == 7:
                raise ZeroDivisionError
            return super().step()

    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "r", trainable=Bad())
    run = RunDirectory(tmp_path / "r")
    assert run.latest_checkpoint().name == "step_000006"
    assert run.read()["status"] == "interrupted"
    fit(tmp_path / "whole")
    fit(tmp_path / "r")
    assert_same_run(tmp_path / "whole", tmp_path / "r")


@pytest.mark.parametrize(
    "options",
    [{"max_steps": -1}, {"keep_checkpoints": 0}, {"checkpoint_every": 0}],
)
def test_arguments_are_checked_at_the_door(tmp_path, options):
    with pytest.raises(InvalidArgumentError):
        Trainer(tmp_path / "r", **options)


def test_contradictory_arguments_name_each_other(tmp_path):
    from robust_rl.training import Checkpoint

    with pytest.raises(InvalidArgumentError, match="checkpoint_every.*Checkpoint"):
        Trainer(tmp_path / "r", checkpoint_every=2, callbacks=[Checkpoint(2)])
    with pytest.raises(InvalidArgumentError, match="run directory"):
        Trainer(checkpoint_every=2)


def test_a_step_that_returns_no_metrics_mapping_is_named():
    class Bad(RandomWalk):
        def step(self):
            return None

    with pytest.raises(InvalidArgumentError, match="expected a mapping"):
        Trainer().fit(Bad())


@pytest.mark.parametrize("name", ["trainer.json", "manifest.json"])
def test_reserved_names_are_refused(tmp_path, name):
    class Bad(RandomWalk):
        def save_checkpoint(self, directory):
            (directory / name).write_text("{}")

    with pytest.raises(InvalidArgumentError, match=name):
        fit(tmp_path / "r", trainable=Bad())


def test_two_callbacks_of_a_class_keep_their_own_memory(tmp_path):
    values = [5.0, 4.0, 6.0, 7.0, 8.0, 9.0]

    def callbacks():
        return [EarlyStopping("train/loss", 9), EarlyStopping("train/loss", 9, mode="max")]

    fit(tmp_path / "r", trainable=Script(values), callbacks=callbacks(), max_steps=3)
    trainer = fit(tmp_path / "r", trainable=Script(values), callbacks=callbacks(), max_steps=3)
    assert [callback.best for callback in trainer.callbacks[:2]] == [4.0, 6.0]


def test_a_checkpoint_from_another_loop_is_refused(tmp_path):
    run = RunDirectory(tmp_path / "r")
    with run.checkpoint(5) as directory:
        (directory / "model.bin").write_text("x")
    with pytest.raises(FileFormatError, match="was not saved by Trainer"):
        Trainer(run).fit(RandomWalk())


def test_a_corrupt_newest_checkpoint_costs_some_steps_but_no_bit(tmp_path):
    fit(tmp_path / "whole", steps=20)
    fit(tmp_path / "r", steps=20, max_steps=14)
    path = RunDirectory(tmp_path / "r").latest_checkpoint() / "walk.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="step_000014.*walk.safetensors is corrupt"):
        fit(tmp_path / "r", steps=20)
    assert_same_run(tmp_path / "whole", tmp_path / "r")


# ---- the disk is full ----


@pytest.mark.parametrize("call", range(0, 12))
def test_a_disk_that_fills_up_raises_a_checkpoint_error_and_loses_nothing_saved(tmp_path, monkeypatch, call):
    real, count = os.fsync, [0]

    def full_for_good(descriptor):
        count[0] += 1
        if count[0] > 12 + call:  # run.json and the first checkpoint fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_for_good)
        with pytest.raises(CheckpointError, match="No space left"):
            fit(tmp_path / "r")
    run = RunDirectory(tmp_path / "r")
    assert run.latest_checkpoint() is not None
    assert not list((tmp_path / "r").rglob(".*.tmp"))
    fit(tmp_path / "whole")
    fit(tmp_path / "r")
    assert_same_run(tmp_path / "whole", tmp_path / "r")


# ---- killed ----


class Crash(BaseException):
    """Python's cleanup runs, as on an error."""


@pytest.mark.parametrize("seed", range(10))
def test_an_error_at_a_random_step_phase_resumes_to_the_same_bits(tmp_path, seed):
    generator = np.random.default_rng(seed)

    class Bad(RandomWalk):
        def step(self):
            maybe_crash()
            metrics = super().step()
            maybe_crash()
            return metrics

        def save_checkpoint(self, directory):
            maybe_crash()
            super().save_checkpoint(directory)
            maybe_crash()

        def load_checkpoint(self, directory):
            maybe_crash()
            super().load_checkpoint(directory)

    def maybe_crash():
        if generator.random() < 0.05:
            raise Crash

    fit(tmp_path / "whole")
    for _ in range(200):
        try:
            fit(tmp_path / "r", trainable=Bad())
            break
        except Crash:
            continue
    assert_same_run(tmp_path / "whole", tmp_path / "r")


# What a kill can fall between: the operations by which a run changes the disk.
OPERATIONS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


def fit_and_die(path, operation):
    """Fit in a forked process that dies, without any cleanup, at the given file operation; return whether it did."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            count = [0]

            def die(event, arguments):
                if event in OPERATIONS and (event != "open" or str(path) in str(arguments[0])):
                    count[0] += 1
                    if count[0] > operation:
                        os._exit(9)

            sys.addaudithook(die)
            fit(path)
            path.with_suffix(".count").write_text(str(count[0]))
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


def count_operations(path):
    assert not fit_and_die(path, 10**9)
    return int(path.with_suffix(".count").read_text())


def test_fifty_random_kills_between_file_operations_resume_to_the_same_bits(tmp_path):
    fit(tmp_path / "whole")
    total = count_operations(tmp_path / "count")
    generator = np.random.default_rng(0)
    kills = 0
    while kills < 50:
        path = tmp_path / f"r{kills}"
        # Killed, resumed, and killed again, each time anywhere, until one comes through.
        while fit_and_die(path, int(generator.integers(total))):
            kills += 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill leaves nothing corrupt behind
            fit(path)
        assert_same_run(tmp_path / "whole", path)
        assert not list(path.rglob(".*.tmp"))
        assert not list(path.rglob(".*.old"))


def test_a_kill_at_every_other_file_operation_of_the_first_saves_resumes_to_the_same_bits(tmp_path):
    fit(tmp_path / "whole")
    for operation in range(0, 60, 2):
        path = tmp_path / f"r{operation}"
        assert fit_and_die(path, operation)
        fit(path)
        assert_same_run(tmp_path / "whole", path)


# ---- signals ----


def child(path, steps, every, seconds):
    command = [sys.executable, "-m", "tests.training.child", str(path), str(steps), str(every), str(seconds)]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def wait_for_steps(path, steps):
    for _ in range(2000):
        if any(checkpoint_step(checkpoint) >= steps for checkpoint in RunDirectory(path).checkpoints()):
            return
        threading.Event().wait(0.005)
    raise AssertionError("the child makes no progress")


def test_eight_kill_minus_nines_resume_to_the_same_bits(tmp_path):
    def run_to_the_end(path):
        fit(path, trainable=RandomWalk(2000, size=2000), every=20, callbacks=())

    run_to_the_end(tmp_path / "whole")
    generator, reached = np.random.default_rng(1), 0
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                run_to_the_end(tmp_path / "r")
            finally:
                os._exit(0)
        wait_for_steps(tmp_path / "r", reached + int(generator.integers(1, 200)))
        threading.Event().wait(generator.uniform(0, 0.005))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        reached = checkpoint_step(RunDirectory(tmp_path / "r").checkpoints()[-1])
    run_to_the_end(tmp_path / "r")
    assert_same_run(tmp_path / "whole", tmp_path / "r")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(tmp_path, number):
    process = child(tmp_path / "r", 100_000, 5, 0.005)
    wait_for_steps(tmp_path / "r", 5)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    run = RunDirectory(tmp_path / "r")
    steps = len(run.metrics())
    assert f"stopped at step {steps} by {number.name}" in said
    assert f"run directory: {tmp_path / 'r'}" in said
    assert run.latest_checkpoint().name == f"step_{steps:06d}"
    assert run.read()["status"] == "interrupted"


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = child(tmp_path / "r", 100, 1, 60.0)
    assert process.stdout.readline() == "in a long step\n"
    process.send_signal(signal.SIGINT)
    assert "press Ctrl-C again" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert process.returncode != 0
    assert RunDirectory(tmp_path / "r").read()["status"] == "interrupted"


class SendsSignal(RandomWalk):
    def step(self):
        metrics = super().step()
        if self.count == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics


def test_interrupted_in_process_finishes_the_step_and_restores_the_handlers(tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trainer = fit(tmp_path / "r", trainable=SendsSignal())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert trainer.interrupted
    assert trainer.stop_reason == "SIGTERM"
    assert trainer.step == 7
    assert "to resume, run the same command" in capfd.readouterr().err
    fit(tmp_path / "whole")
    fit(tmp_path / "r")
    assert contents(RunDirectory(tmp_path / "whole").latest_checkpoint()) == contents(
        RunDirectory(tmp_path / "r").latest_checkpoint()
    )
    assert without_time(RunDirectory(tmp_path / "whole").metrics()) == without_time(RunDirectory(tmp_path / "r").metrics())


def test_a_signal_in_the_last_step_interrupts_nothing(tmp_path):
    trainer = fit(tmp_path / "r", trainable=SendsSignal(7))
    assert not trainer.interrupted
    assert trainer.run.read()["status"] == "finished"


def test_without_a_run_a_signal_says_that_nothing_was_saved(capfd):
    trainer = Trainer()
    trainer.fit(SendsSignal())
    assert trainer.interrupted
    assert "nothing was saved" in capfd.readouterr().err


def test_outside_the_main_thread_handlers_are_left_alone(tmp_path):
    before, seen = signal.getsignal(signal.SIGINT), []

    class Look(Callback):
        def on_step(self, trainer, metrics):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=lambda: fit(tmp_path / "r", callbacks=[Look()]))
    thread.start()
    thread.join()
    assert set(seen) == {before}
    assert RunDirectory(tmp_path / "r").read()["status"] == "finished"


# ---- lightness ----


# The package alone, without what robust_rl/__init__.py brings along.
ALONE = f"""
import sys, types
parent = types.ModuleType("robust_rl")
parent.__path__ = [{os.path.dirname(os.path.dirname(trainer_module.__file__))!r}]
sys.modules["robust_rl"] = parent
import robust_rl.training
"""


def modules_of(code):
    done = subprocess.run([sys.executable, "-c", code + "print(*sys.modules)"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_imports_no_heavy_package():
    heavy = {"torch", "matplotlib", "jinja2", "tensorboardX", "rich", "wandb", "mlflow", "trackio", "numba", "scipy"}
    assert not heavy & set(modules_of(ALONE))


def test_the_package_imports_nothing_of_ours_but_errors():
    ours = [name for name in modules_of(ALONE) if name.startswith("robust_rl.")]
    assert {name for name in ours if not name.startswith("robust_rl.training")} == {"robust_rl.errors"}
