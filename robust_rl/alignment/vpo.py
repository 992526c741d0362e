"""``robust-rl vpo``: fine-tune a language model on preferences, with the flags, YAML and launcher of ``trl dpo``.

    robust-rl vpo --model_name_or_path M --dataset_name pairs.jsonl --vpo_alpha 0.1 --beta 0.1 --use_peft --output_dir out
    robust-rl vpo --config vpo.yaml --learning_rate 1e-6

``--dataset_name`` is a dataset of the Hub, a local ``.jsonl`` or ``.parquet`` file, or a folder with one a split; local
rows are checked before a model is loaded. ``--use_accelerate false`` trains in this process, as a CPU or a debugger wants
it. On a CPU give ``--bf16 false`` too: TRL's default is bf16.

TRL and the Hub's client report each training to their makers. This command switches that off by setting
``HF_HUB_DISABLE_TELEMETRY=1``; set the variable to 0 to turn it on.

Below ``--output_dir``: the model and its card, ``run.json``, ``metrics.jsonl``, TensorBoard's events, the trainer's
``checkpoint-*`` (go on from the last by ``--resume_from_checkpoint true``; those hold pickles of transformers' own: open only
yours), and ``result/report.html``. ``python -m robust_rl.alignment.vpo`` is the same command.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_rl.alignment import data
from robust_rl.alignment.launch import check_known, guarded, launch, no_telemetry, without
from robust_rl.errors import InvalidArgumentError, MissingDependencyError, RobustRLError, loadable
from robust_rl.training import RunDirectory, write_json
from robust_rl.training.optional import require

if TYPE_CHECKING:
    from robust_rl.alignment.trainer import VPOTrainer

MODULE = "robust_rl.alignment.vpo"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train, here or under accelerate.

    Parameters
    ----------
    arguments
        The command line; None is this process's.

    Raises
    ------
    RobustRLError
        What a user can mend: a flag, a column, a row.
    SystemExit
        After the help, or if a launched process failed.
    """
    run_command(sys.argv[1:] if arguments is None else arguments, MODULE, parser, check, train)


def run_command(
    arguments: Sequence[str],
    module: str,
    make_parser: Callable[[], Any],
    check_first: Callable[..., Any],
    then: Callable[..., None],
) -> None:
    """Parse ``arguments``; call ``then`` in this process, or check them and launch ``module`` under accelerate."""
    no_telemetry()
    require("trl", "robust-rl[alignment]")
    check_config(arguments)
    parse = make_parser()
    try:
        *parsed, from_file, left = parse.parse_args_and_config(
            list(arguments), return_remaining_strings=True, separate_remaining_strings=True
        )
    except InvalidArgumentError:
        raise
    except Exception as error:  # of any kind: TRL, transformers and what they hand values to refuse an option
        hint = "; on a CPU give --bf16 false" if "bf16" in str(error) else ""
        raise InvalidArgumentError(f"{str(error) or type(error).__name__}{hint}") from error
    launcher = parsed[0].use_accelerate
    check_known([*from_file, *left], [flag for action in parse._actions for flag in action.option_strings], launcher)
    if launcher:
        check_first(*parsed)
        launch(module, [*from_file, *left], without(arguments, left))
    else:
        then(*parsed)


def check_config(arguments: Sequence[str]) -> None:
    """Read the file of ``--config`` as TRL will: only to say in one line what is wrong with it.

    Raises
    ------
    InvalidArgumentError
        There is none, it is no YAML, or it has an alias: a page of them stands for more than memory holds.
    """
    import yaml

    for place, argument in enumerate(arguments):
        if argument != "--config":
            continue
        path = arguments[place + 1] if place + 1 < len(arguments) else None
        if path is None:
            raise InvalidArgumentError("--config needs a YAML file of options")
        with loadable(path, "a YAML file of options"), open(path, "rb") as file:
            for event in yaml.parse(file, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    raise InvalidArgumentError(f"{path} has an alias, *{event.anchor}; write out what it stands for")


def parser() -> Any:
    """Return TRL's parser for the command's options."""
    from trl import DatasetMixtureConfig, ModelConfig, TrlParser

    from robust_rl.alignment.config import VPOConfig

    types = (script_arguments(), VPOConfig, ModelConfig, DatasetMixtureConfig)
    usage = "%(prog)s --model_name_or_path M --dataset_name D --output_dir OUT [options]"  # argparse's own is a page of flags
    return TrlParser(types, prog="robust-rl vpo", usage=usage, description=__doc__, formatter_class=formatter())


def script_arguments() -> Any:
    """Return TRL's ScriptArguments with our one more."""
    from trl import ScriptArguments

    @dataclasses.dataclass
    class Arguments(ScriptArguments):
        """Where the data are, and who starts the processes."""

        dataset_name: str | None = dataclasses.field(
            default=None,
            metadata={"help": "Dataset of the Hub, a local .jsonl or .parquet file, or a folder with one a split (train.jsonl)."},
        )
        use_accelerate: bool = dataclasses.field(
            default=True, metadata={"help": "Start under `accelerate launch`; false trains in this process."}
        )

    return Arguments


def check(script: Any, config: Any, model: Any, mixture: Any) -> Any:
    """Return the data, after checking all that can be known before a model is loaded.

    Raises
    ------
    InvalidArgumentError
        A flag is missing, or the data lack a column or split.
    """
    if not model.model_name_or_path:
        raise InvalidArgumentError("--model_name_or_path is missing: a model of the Hub, or a folder with one")
    required = [*data.PAIR, *([config.calibration_column] if config.calibration == "dataset" else [])]
    splits = load(script, mixture, required)
    wanted = [script.dataset_train_split, *([script.dataset_test_split] if config.eval_strategy != "no" else [])]
    for split in wanted:
        if split not in splits:
            raise InvalidArgumentError(f"the data have no split {split!r}; splits are {', '.join(splits)}")
        data.check_columns(splits[split], required, script.dataset_name or "the mixture")
    return splits


def load(script: Any, mixture: Any, required: Sequence[str]) -> Any:
    """Return the splits that the flags name."""
    from datasets import load_dataset
    from trl import get_dataset

    if mixture.datasets:
        return get_dataset(mixture)
    if not script.dataset_name:
        raise InvalidArgumentError("--dataset_name is missing: a dataset of the Hub, or a local .jsonl or .parquet file")
    if data.is_local(script.dataset_name):
        return data.load_local(script.dataset_name, required)
    return load_dataset(script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming)


def train(script: Any, config: Any, model: Any, mixture: Any) -> None:
    """Train in this process, and leave model, card, metrics and report in ``--output_dir``."""
    splits = check(script, config, model, mixture)
    trainer = make_trainer(script, config, model, splits)
    given = splits[script.dataset_train_split]
    counts = data.figures(trainer, len(given) if hasattr(given, "__len__") else None)
    for line in data.explain(counts):
        trainer.accelerator.print(f"data: {line}")
    with Recorded(trainer, {"script": changed(script), "model": changed(model)}, "robust-rl vpo") as run:
        trainer.train(resume_from_checkpoint=resume_point(config))
        trainer.save_model(config.output_dir)
        if trainer.accelerator.is_main_process:
            trainer.create_model_card(model_name=Path(config.output_dir).name, dataset_name=hub_name(script))
            run.finish_with_report(model.model_name_or_path, counts)
    trainer.accelerator.print(f"model saved to {config.output_dir}")
    if config.push_to_hub:
        trainer.push_to_hub(dataset_name=hub_name(script))
    trainer.end()


def loading_options(config: Any, model: Any) -> dict[str, Any]:
    """Return how a model is loaded: what TRL's own flags say, over which ``--model_init_kwargs`` goes."""
    flags = {
        "revision": model.model_revision,
        "trust_remote_code": config.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    return flags | (config.model_init_kwargs or {})


def make_trainer(script: Any, config: Any, model: Any, splits: Any) -> VPOTrainer:
    """Return the trainer, with its model loaded and its data tokenized.

    Raises
    ------
    InvalidArgumentError
        The model can't be loaded, or its chat template or tokenizer refuses the rows.
    """
    from trl import get_peft_config, get_quantization_config

    from robust_rl.alignment.trainer import VPOTrainer

    config.model_init_kwargs = loading_options(config, model)
    try:
        return VPOTrainer(
            model=model.model_name_or_path,
            args=config,
            train_dataset=splits[script.dataset_train_split],
            eval_dataset=splits[script.dataset_test_split] if config.eval_strategy != "no" else None,
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    except RobustRLError:
        raise
    except Exception as error:  # of a folder that is no model, of a template that wants other roles ...
        where = f"{model.model_name_or_path} for {script.dataset_name or 'the mixture'}"
        raise InvalidArgumentError(f"cannot prepare {where}: {type(error).__name__}: {error}") from error


class Recorded:
    """The run directory of a trainer, held while it trains; only the main process writes.

    Parameters
    ----------
    trainer
        A VPOTrainer.
    settings
        What changes the result beside the trainer's options.
    command
        For the list of runs.
    """

    def __init__(self, trainer: VPOTrainer, settings: dict[str, Any], command: str) -> None:
        self.trainer = trainer
        self.settings = settings | {"training": changed(trainer.args)}
        self.command = command
        self.run = RunDirectory(trainer.args.output_dir)

    def __enter__(self) -> Recorded:
        if self.trainer.accelerator.is_main_process:
            from robust_rl.alignment.run_callback import RunCallback

            self.run.start(self.settings, seed=self.trainer.args.seed, command=self.command)
            self.trainer.add_callback(RunCallback(self.run))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.run.started:
            self.run.finish("finished" if kind is None else "interrupted")

    def finish_with_report(self, model: str, counts: dict[str, int]) -> None:
        """Write the figures on the data and the report, if its packages are there."""
        from robust_rl.alignment.vpo_report import write_vpo_report

        args = self.trainer.args
        names = ("vpo_alpha", "beta", "vpo_mode", "calibration", "loss_type", "learning_rate", "max_length", "seed")
        settings = {"model": model, **{name: getattr(args, name) for name in names}}
        write_json(self.run.result / "data.json", counts)
        try:
            path = write_vpo_report(self.run, f"VPO of {model}", settings, counts)
            self.trainer.accelerator.print(f"report: {path}")
        except MissingDependencyError as error:
            self.trainer.accelerator.print(f"no report: {error}")


def changed(options: Any) -> dict[str, Any]:
    """Return those fields of a dataclass that are not as by default."""
    result = {}
    for field in dataclasses.fields(options):
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        value = getattr(options, field.name)
        if value != made and field.init:
            result[field.name] = value
    return result


def resume_point(config: Any) -> str | None:
    """Return the checkpoint to resume from: a path as given, or for "true" the last whole one of the output directory.

    Raises
    ------
    InvalidArgumentError
        There is none.
    """
    point = str(config.resume_from_checkpoint or "false")
    if point.lower() not in ("true", "1", "yes"):
        return None if point.lower() in ("false", "0", "no") else point
    # the state is written last: a folder without it was being written when the run was killed
    whole = [path.parent for path in Path(config.output_dir).glob("checkpoint-*/trainer_state.json") if path.stat().st_size > 0]
    if not whole:
        raise InvalidArgumentError(f"{config.output_dir} has no checkpoint-* to resume from; leave out --resume_from_checkpoint")
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2])))


def hub_name(script: Any) -> str | None:
    """Return the dataset's name if it means something on the Hub."""
    return None if not script.dataset_name or data.is_local(script.dataset_name) else str(script.dataset_name)


def formatter() -> Any:
    """Return argparse's formatter that keeps the lines of a description and shows defaults."""
    from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter

    class Formatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
        """Keeps the lines of the description, and shows defaults."""

    return Formatter


if __name__ == "__main__":
    guarded(main)
