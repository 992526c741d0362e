"""Steps, runs and reports: what every algorithm of the library shares, and nothing about what they compute.

Something takes a step, reports numbers, and can be stopped, saved, resumed and looked at: that is a
:class:`Trainable`. A :class:`Trainer` drives it, a :class:`RunDirectory` is where it is found afterwards.
"""

from robust_rl.training.arrays import generator_state, load_arrays, restore_generator, save_arrays
from robust_rl.training.callbacks import Callback, Checkpoint, EarlyStopping, Evaluation, TimeBudget
from robust_rl.training.checkpoints import (
    checkpoint_step,
    latest_checkpoint,
    list_checkpoints,
    verify_checkpoint,
    write_checkpoint,
)
from robust_rl.training.files import JSON, atomic_write, read_json, write_json
from robust_rl.training.loggers import (
    ConsoleLogger,
    JSONLLogger,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    TrackioLogger,
    WandbLogger,
)
from robust_rl.training.report import Figure, Link, Section, Table, write_report
from robust_rl.training.resuming import check_same_problem, load_torch_arrays, torch_arrays
from robust_rl.training.run_directory import RunDirectory, RunSummary
from robust_rl.training.trainable import Trainable
from robust_rl.training.trainer import Trainer

__all__ = [
    "JSON",
    "Callback",
    "Checkpoint",
    "ConsoleLogger",
    "EarlyStopping",
    "Evaluation",
    "Figure",
    "JSONLLogger",
    "Link",
    "Logger",
    "MLflowLogger",
    "RunDirectory",
    "RunSummary",
    "Section",
    "Table",
    "TensorBoardLogger",
    "TimeBudget",
    "TrackioLogger",
    "Trainable",
    "Trainer",
    "WandbLogger",
    "atomic_write",
    "check_same_problem",
    "checkpoint_step",
    "generator_state",
    "latest_checkpoint",
    "list_checkpoints",
    "load_arrays",
    "load_torch_arrays",
    "read_json",
    "restore_generator",
    "save_arrays",
    "torch_arrays",
    "verify_checkpoint",
    "write_checkpoint",
    "write_json",
    "write_report",
]
