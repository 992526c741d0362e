"""``robust-rl vpo-online``: rounds of sampling, judging and training.

    robust-rl vpo-online --model_name_or_path M --dataset_name prompts.jsonl --judge lexicon --use_peft --output_dir out
    robust-rl vpo-online --config online.yaml --judge mypackage.rewards:helpfulness

``--dataset_name`` is a dataset of the Hub or a local ``.jsonl`` or ``.parquet`` file with a column ``prompt``: texts or
messages. ``--judge`` is ``lexicon``, ``lexicon:FILE`` (word, tab, valence), ``model:NAME`` (a sequence-classification model),
``command:PROGRAM ARGUMENTS`` (reads ``{"prompt": .., "response": ..}``, prints a number) or ``pkg.module:function``, a reward
``(prompt, response) -> float``; the last two run the code that they name. Labels are drawn by Bradley and Terry's model of the
rewards, or with ``--judge_rule argmax`` go to the larger one.

A run that was stopped or killed goes on at its last whole round when the same command is given again. Telemetry of TRL
and the Hub's client is off unless ``HF_HUB_DISABLE_TELEMETRY=0`` is set. Everything happens in this process, but
``--vllm_server http://host:8000`` draws the responses from a vLLM server (with ``--use_peft``).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robust_rl.alignment import data
from robust_rl.alignment.launch import guarded
from robust_rl.alignment.vpo import formatter, load, loading_options, run_command, script_arguments
from robust_rl.errors import InvalidArgumentError, MissingDependencyError, loadable
from robust_rl.training import Section, Table

MODULE = "robust_rl.alignment.vpo_online"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rounds; raises as :func:`robust_rl.alignment.vpo.main`."""
    run_command(sys.argv[1:] if arguments is None else arguments, MODULE, parser, check, train)


def parser() -> Any:
    """Return TRL's parser for the command's options."""
    from trl import DatasetMixtureConfig, ModelConfig, TrlParser

    from robust_rl.alignment.online import OnlineVPOConfig

    types = (_arguments(), OnlineVPOConfig, ModelConfig, DatasetMixtureConfig)
    usage = "%(prog)s --model_name_or_path M --dataset_name D --judge J --output_dir OUT [options]"
    return TrlParser(types, prog="robust-rl vpo-online", usage=usage, description=__doc__, formatter_class=formatter())


def check(script: Any, config: Any, model: Any, mixture: Any) -> list[Any]:
    """Return the prompts, after checking all that can be known before a model is loaded.

    Raises
    ------
    InvalidArgumentError
        A flag is missing, or the data lack their column or split.
    """
    if script.use_accelerate:
        raise InvalidArgumentError("vpo-online runs in one process; leave out --use_accelerate")
    if not model.model_name_or_path:
        raise InvalidArgumentError("--model_name_or_path is missing: a model of the Hub, or a folder with one")
    if not script.judge:
        raise InvalidArgumentError(
            "--judge is missing: lexicon, lexicon:FILE, model:NAME, command:PROGRAM or pkg.module:function"
        )
    splits = load(script, mixture, ["prompt"])
    if script.dataset_train_split not in splits:
        raise InvalidArgumentError(f"the data have no split {script.dataset_train_split!r}; splits are {', '.join(splits)}")
    split = splits[script.dataset_train_split]
    data.check_columns(split, ["prompt"], script.dataset_name or "the mixture")
    return [row["prompt"] for row in split]


def train(script: Any, config: Any, model: Any, mixture: Any) -> None:
    """Run the rounds, and leave model, card, metrics and report in ``--output_dir``."""
    from transformers import AutoTokenizer
    from trl import get_peft_config

    from robust_rl.alignment.generators import VLLMGenerator
    from robust_rl.alignment.judges import judge_by_name
    from robust_rl.alignment.online import OnlineVPO

    prompts = check(script, config, model, mixture)
    judge = judge_by_name(script.judge, script.judge_rule, str(config.device))
    config.model_init_kwargs = loading_options(config, model)
    with loadable(model.model_name_or_path, "a language model"):
        tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, revision=model.model_revision)
    generator = None
    if script.vllm_server:
        generator = VLLMGenerator(
            script.vllm_server, model.model_name_or_path, tokenizer, config.response_max_new_tokens, config.temperature
        )
    online = OnlineVPO(
        model.model_name_or_path,
        config,
        prompts=prompts,
        judge=judge,
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
        generator=generator,
    )
    online.run()
    if online.stopped:
        print(f"stopped: {online.stopped}")  # noqa: T201
    finish(online)
    print(f"model saved to {config.output_dir}")  # noqa: T201


def finish(online: Any) -> None:
    """Copy the last policy into the output directory, and write the report if its packages are there."""
    from robust_rl.alignment.vpo_report import write_vpo_report

    args = online.args
    online.model.save_pretrained(args.output_dir)
    online.tokenizer.save_pretrained(args.output_dir)
    last = Path(args.output_dir) / "rounds" / f"round_{online.completed - 1:03d}" / "README.md"
    if last.exists():
        (Path(args.output_dir) / "README.md").write_text(last.read_text(encoding="utf-8"), encoding="utf-8")
    names = ("rounds", "prompts_per_round", "steps_per_round", "buffer", "vpo_alpha", "vpo_alpha_decay", "beta", "vpo_mode")
    settings = {"model": online.name, **{name: getattr(args, name) for name in (*names, "calibration", "learning_rate", "seed")}}
    try:
        print("report:", write_vpo_report(online.run_directory, f"Online VPO of {online.name}", settings, {}, sections(online)))  # noqa: T201
    except MissingDependencyError as error:
        print(f"no report: {error}")  # noqa: T201


def sections(online: Any) -> list[Section]:
    """Return a table of the rounds, and why the run ended before its last."""
    lines = [line for line in online.run_directory.metrics() if "round/pairs" in line]
    names = [name for name in lines[-1] if name.startswith("round/")] if lines else []
    table = Table(["round", *(name.removeprefix("round/") for name in names)],
                  [[t, *(line.get(name) for name in names)] for t, line in enumerate(lines)])  # fmt: skip
    return [Section("Rounds", online.stopped or "", [table])]


def _arguments() -> Any:
    @dataclasses.dataclass
    class Arguments(script_arguments()):  # type: ignore[misc]
        """Where the prompts are, who judges, and who draws."""

        use_accelerate: bool = dataclasses.field(default=False, metadata={"help": "No: the rounds run in this process."})
        judge: str | None = dataclasses.field(
            default=None,
            metadata={"help": "lexicon, lexicon:FILE, model:NAME, command:PROGRAM or pkg.module:function (their code runs)."},
        )
        judge_rule: str = dataclasses.field(
            default="sample", metadata={"help": "sample (Bradley and Terry) or argmax.", "choices": ["sample", "argmax"]}
        )
        vllm_server: str | None = dataclasses.field(
            default=None, metadata={"help": "Address of a vLLM server that draws the responses: http://host:8000."}
        )

    return Arguments


if __name__ == "__main__":
    guarded(main)
