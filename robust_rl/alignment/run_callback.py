"""The bridge from transformers' trainer to a run directory: the same numbers in ``metrics.jsonl`` and TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from robust_rl.training import RunDirectory, TensorBoardLogger

SUMMARY = "run/runtime"


class RunCallback(TrainerCallback):
    """Writes whatever the trainer logs into a run that its owner has started.

    Parameters
    ----------
    run
        The run; only the main process writes.
    offset
        Added to the trainer's step, for a run that consists of several trainings.

    Notes
    -----
    On resuming from a checkpoint, lines after its step are dropped, so that the metrics equal an uninterrupted run's.
    """

    def __init__(self, run: RunDirectory, offset: int = 0) -> None:
        self.run = run
        self.offset = offset
        self._board: TensorBoardLogger | None = None
        self._resumed = False
        self._summarised: int | None = None  # the step after which an earlier process logged its runtime

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Drop what an earlier process logged after this step."""
        if state.is_world_process_zero:
            step = self.offset + state.global_step
            self.run.truncate_metrics(step)
            lines = self.run.metrics()
            self._resumed = state.global_step > 0
            self._summarised = lines[-1]["step"] if lines and SUMMARY in lines[-1] else None
            self._board = TensorBoardLogger(self.run, purge_step=step + 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write the numbers among the logs; a ratio of nothing is nan, and stays so."""
        if not state.is_world_process_zero:
            return
        numbers = {grouped(name): value for name, value in (logs or {}).items() if isinstance(value, int | float)}
        step = self.offset + state.global_step
        if SUMMARY in numbers:
            if step == self._summarised:
                return  # resumed at its end: a line of it is there
            if self._resumed:
                numbers.pop("run/loss", None)  # the sum over the steps since is divided by the number of all steps
        self.run.log(step, numbers)
        self.run.sync_metrics()  # before the trainer writes a checkpoint of this step, from which a killed run goes on
        if self._board is not None:
            self._board.log(step, {name: value for name, value in numbers.items() if math.isfinite(value)})

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the event file."""
        if self._board is not None:
            self._board.close()
            self._board = None


class TokenCount(TrainerCallback):
    """Lets TRL's count of the tokens seen go on where a resumed training had it, as of its last log; TRL's begins at 0 again."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the count from what was logged before the checkpoint."""
        counts = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        if counts:
            self.trainer._total_train_tokens = counts[-1]


def grouped(name: str) -> str:
    """Return a trainer's name for a metric under a group, as those of other runs are; ``run/`` is of the training as a whole.

    >>> [grouped(name) for name in ("loss", "rewards/margins", "eval_loss", "eval_vpo/value", "train_runtime")]
    ['train/loss', 'rewards/margins', 'eval/loss', 'eval/vpo/value', 'run/runtime']
    """
    for prefix, group in (("eval_", "eval"), ("train_", "run")):
        if name.startswith(prefix):
            return f"{group}/{name.removeprefix(prefix)}"
    return name if "/" in name else f"train/{name}"
