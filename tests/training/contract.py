"""What every Trainable of the library must do: one check for all of them.

@pytest.mark.parametrize("factory", [...])
def test_trainable(factory, tmp_path):
    check_trainable(factory, tmp_path)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl.training import JSONLLogger, RunDirectory, Trainable, Trainer

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")  # the last is torch.save's zip


class Killed(BaseException):
    """Stands for a kill: no except Exception may swallow it."""


def check_trainable(
    factory: Callable[[], Trainable],
    tmp_path: Path,
    *,
    max_steps: int = 8,
    checkpoint_every: int = 2,
    kills: Sequence[int] | None = None,
) -> Trainable:
    """Assert the contract of a Trainable, and return the one that ran to the end uninterrupted.

    ``step`` returns finite-or-infinite numbers under grouped names; a checkpoint holds no pickle and, loaded into a
    fresh object and saved again, gives the same bytes; a run that is killed (before, in and after a step, and in a
    save) and resumed in a fresh object ends with the same checkpoint, byte for byte, and the same metrics.

    Parameters
    ----------
    factory
        Builds the Trainable, fresh and the same each time.
    tmp_path
        An empty directory.
    max_steps
        Steps to run at most; fewer if the Trainable is done earlier.
    checkpoint_every
        Steps between checkpoints.
    kills
        Steps (from 1) at which to kill; None picks an early, a middle and a late one.
    """
    assert isinstance(factory(), Trainable), "needs step, save_checkpoint, load_checkpoint and done"
    whole = RunDirectory(tmp_path / "whole")
    trainable = _fit(factory(), whole, max_steps, checkpoint_every)
    steps = len(whole.metrics())
    assert steps > 0, "a fresh Trainable must have something to do"
    assert trainable.done or steps == max_steps
    for line in whole.metrics():
        _check_line(line)
    _check_files(whole)
    _check_save_of_load(factory, whole, tmp_path / "again")
    for at in sorted({1, steps // 2, steps} - {0}) if kills is None else kills:
        for phase in ("before", "after", "save"):
            resumed = _kill_and_resume(factory, tmp_path / f"{phase}-{at}", at, phase, max_steps, checkpoint_every)
            _check_same(whole, resumed, f"killed {phase} step {at}")
    return trainable


class _Fused:
    """Wraps a Trainable and dies at a chosen moment."""

    def __init__(self, inner: Trainable, at: int, phase: str) -> None:
        self.inner, self.at, self.phase, self.count = inner, at, phase, 0

    @property
    def done(self) -> bool:
        return self.inner.done

    def step(self) -> Mapping[str, float]:
        self.count += 1
        self._maybe_die("before")
        metrics = self.inner.step()
        self._maybe_die("after")
        return metrics

    def save_checkpoint(self, directory: Path) -> None:
        self.inner.save_checkpoint(directory)
        if self.phase == "save" and self.count >= self.at:
            raise Killed

    def load_checkpoint(self, directory: Path) -> None:
        raise AssertionError("the killed run was fresh")

    def _maybe_die(self, phase: str) -> None:
        if self.phase == phase and self.count == self.at:
            raise Killed


def _fit(trainable: Any, run: RunDirectory, max_steps: int, every: int) -> Any:
    trainer = Trainer(run, max_steps=max_steps, checkpoint_every=every, loggers=[JSONLLogger(run)])
    return trainer.fit(trainable)


def _kill_and_resume(
    factory: Callable[[], Trainable], path: Path, at: int, phase: str, max_steps: int, every: int
) -> RunDirectory:
    try:
        _fit(_Fused(factory(), at, phase), RunDirectory(path), max_steps, every)
    except Killed:
        pass
    else:
        raise AssertionError(f"the run ended before it could be killed {phase} step {at}")
    run = RunDirectory(path)
    _fit(factory(), run, max_steps, every)
    return run


def _check_line(line: Mapping[str, Any]) -> None:
    for key, value in line.items():
        if key in ("step", "time"):
            continue
        group, _, name = key.partition("/")
        assert "" not in (group, name), f"metric {key!r} has no group; name it like 'train/{key}'"
        assert isinstance(value, int | float), f"metric {key!r} is {value!r}"
        assert value == value, f"metric {key!r} is nan at step {line['step']}"


def _check_files(run: RunDirectory) -> None:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    for path in checkpoint.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:8]  # of safetensors: the length of its header, which may begin like a pickle
            assert not head.startswith(_PICKLES) or head.endswith(bytes(5)), f"{path.name} holds a pickle"
            if path.suffix == ".json":
                json.loads(path.read_text())


def _check_save_of_load(factory: Callable[[], Trainable], run: RunDirectory, directory: Path) -> None:
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    fresh = factory()
    fresh.load_checkpoint(checkpoint)
    directory.mkdir()
    fresh.save_checkpoint(directory)
    saved, original = _contents(directory), _contents(checkpoint)
    for name, content in saved.items():
        assert content == original.get(name), f"{name} differs after loading and saving again"


def _check_same(whole: RunDirectory, resumed: RunDirectory, when: str) -> None:
    first, second = whole.latest_checkpoint(), resumed.latest_checkpoint()
    assert first is not None
    assert second is not None
    assert first.name == second.name, f"{when}: ended at {second.name} instead of {first.name}"
    one, other = _contents(first), _contents(second)
    assert one.keys() == other.keys(), when
    for name in one:
        assert one[name] == other[name], f"{when}: {first.name}/{name} differs from the uninterrupted run's"
    assert _lines(whole) == _lines(resumed), f"{when}: the metrics differ from the uninterrupted run's"


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _lines(run: RunDirectory) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "time"} for line in run.metrics()]
