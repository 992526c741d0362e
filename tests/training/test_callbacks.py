import json
import math

import pytest

from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Callback, Checkpoint, EarlyStopping, Evaluation, TimeBudget, Trainer
from tests.training.toys import RandomWalk, Script


def stopped_at(values, **options):
    trainer = Trainer(callbacks=[EarlyStopping("train/loss", **options)])
    trainer.fit(Script(values))
    return trainer.step if trainer.stop_reason else None


def test_early_stopping_counts_values_without_improvement():
    assert stopped_at([5, 4, 4, 4, 4], patience=2) == 4
    assert stopped_at([5, 4, 3, 2, 1], patience=1) is None
    assert stopped_at([1, 2, 3, 3, 2, 9], patience=2, mode="max") == 5
    assert stopped_at([5, 4.9, 4.8, 4.7], patience=2, min_delta=0.15) is None  # 4.8 beats 5 by 0.2
    assert stopped_at([5, 4.9, 4.8, 4.7], patience=1, min_delta=0.15) == 2


def test_what_is_not_finite_is_no_improvement():
    assert stopped_at([math.inf, math.nan, 3, 2], patience=3) is None
    assert stopped_at([math.nan] * 5, patience=3) == 3
    assert stopped_at([1, -math.inf, 1], patience=2) == 3


def test_early_stopping_waits_for_a_metric_that_comes_now_and_then():
    evaluation = Evaluation(lambda trainable: {"score": 1.0}, every=3)
    trainer = Trainer(callbacks=[evaluation, EarlyStopping("eval/score", patience=2, mode="max")], max_steps=50)
    trainer.fit(RandomWalk(100))
    assert trainer.step == 9
    assert "eval/score" in trainer.stop_reason


def test_a_misspelt_metric_is_pointed_out():
    with pytest.warns(UserWarning, match="never saw.*'train/los'.*train/loss"):
        Trainer(callbacks=[EarlyStopping("train/los", 2)]).fit(Script([1.0, 2.0]))


def test_early_stopping_state_survives_json():
    one, other = EarlyStopping("a/b", 3), EarlyStopping("a/b", 3)
    trainer = Trainer()
    for value in (0.1, 0.3, 0.2):
        one.on_step(trainer, {"a/b": value})
    other.restore(json.loads(json.dumps(one.state(), allow_nan=False)))
    assert (other.best, other.stale) == (0.1, 2)


def test_an_early_stopped_run_stays_stopped_when_fitted_again(tmp_path):
    def fit():
        trainer = Trainer(tmp_path / "r", callbacks=[EarlyStopping("train/loss", 2)])
        return trainer.fit(Script([3, 4, 5, 6, 7, 8])), trainer

    assert fit()[1].step == 3
    trainable, trainer = fit()
    assert trainer.step == 3
    assert trainable.count == 3
    assert trainer.stop_reason


def test_evaluation_is_logged_under_eval(tmp_path):
    trainer = Trainer(tmp_path / "r", max_steps=4, callbacks=[Evaluation(lambda t: {"n": t.count, "eval/m": 1}, 2)])
    trainer.fit(RandomWalk())
    lines = trainer.run.metrics()
    assert [line.get("eval/n") for line in lines] == [None, 2, None, 4]
    assert "eval/m" in lines[1]
    assert "eval/eval/m" not in lines[1]


def test_time_budget_stops_after_the_step_in_which_time_ran_out(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("robust_rl.training.callbacks.time.monotonic", lambda: next(clock))
    trainer = Trainer(callbacks=[TimeBudget(3)])
    trainer.fit(RandomWalk(100))
    assert trainer.step == 3
    assert "time budget of 3 s" in trainer.stop_reason


def test_callbacks_are_called_in_order_and_see_what_those_before_added():
    calls = []

    class Spy(Callback):
        def __init__(self, name):
            self.name = name

        def on_start(self, trainer):
            calls.append((self.name, "start", trainer.step))

        def on_step(self, trainer, metrics):
            calls.append((self.name, "step", trainer.step, sorted(metrics)))
            return {f"spy/{self.name}": 1}

        def on_end(self, trainer):
            calls.append((self.name, "end", trainer.step))

    Trainer(callbacks=[Spy("a"), Spy("b")]).fit(Script([1.0]))
    assert calls == [
        ("a", "start", 0), ("b", "start", 0),
        ("a", "step", 1, ["train/loss"]), ("b", "step", 1, ["spy/a", "train/loss"]),
        ("a", "end", 1), ("b", "end", 1),
    ]  # fmt: skip


def test_checkpoint_callback_saves_when_due_and_keeps_as_told(tmp_path):
    trainer = Trainer(tmp_path / "r", callbacks=[Checkpoint(every=3, keep=2)], max_steps=10)
    trainer.fit(RandomWalk())
    assert [path.name for path in trainer.run.checkpoints()] == ["step_000009", "step_000010"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Checkpoint(0),
        lambda: Checkpoint(1, keep=0),
        lambda: EarlyStopping("a", 0),
        lambda: EarlyStopping("a", 1, mode="lowest"),
        lambda: EarlyStopping("a", 1, min_delta=-1),
        lambda: EarlyStopping("a", 1, min_delta=math.nan),
        lambda: TimeBudget(0),
        lambda: Evaluation(len, 0),
        lambda: Trainer(callbacks=[Checkpoint(1)]).fit(RandomWalk()),
    ],
)
def test_arguments_are_checked_at_the_door(make):
    with pytest.raises(InvalidArgumentError):
        make()
