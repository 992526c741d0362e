"""Calibration samples that are neither the chosen nor the rejected responses.

They come from a column of the data, or are drawn from the reference, one a prompt, before training:

    row -> calibration_prompt_ids, calibration_ids, reference_calibration_logps

Both are kept in ``<key>.jsonl``, a line a batch, where ``key`` is a digest of the prompts, the reference's weights and
the settings: a run that was killed goes on at the next batch, and a second run with the same key samples nothing. Each
batch has its own seed, so that a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from trl.trainer.utils import use_adapter

from robust_rl.alignment.jsonl import append_line, read_lines
from robust_rl.alignment.sampling import evaluating, prompt_ids, sample_ids
from robust_rl.errors import InvalidArgumentError

PROMPT, RESPONSE, LOGPS = "calibration_prompt_ids", "calibration_ids", "reference_calibration_logps"

Rows = list[tuple[list[int], list[int] | None]]  # prompt, and response unless it is still to be drawn


def with_calibration(trainer: Any, dataset: Any) -> Dataset:
    """Return the prepared data of a trainer with calibration rows and their reference log-probabilities.

    Parameters
    ----------
    trainer
        A :class:`~robust_rl.alignment.VPOTrainer` that is built and not yet trained.
    dataset
        Its data, as ``DPOTrainer`` prepared them: with ``prompt`` and ``prompt_ids``.

    Raises
    ------
    InvalidArgumentError
        The data stream, or lack the column, or an entry of it is empty.
    """
    args = trainer.args
    if not isinstance(dataset, Dataset):
        raise InvalidArgumentError(f"calibration {args.calibration!r} needs all rows before training; the data stream")
    if args.calibration_column in dataset.column_names:
        rows = _rows_of_column(trainer, dataset, args.calibration_column)
    elif args.calibration == "reference":
        rows = [(list(ids), None) for ids in dataset["prompt_ids"]]
    else:
        raise InvalidArgumentError(
            f"the data have no column {args.calibration_column!r}; columns are {', '.join(dataset.column_names)}. Name it by "
            "calibration_column, or use calibration 'reference' to draw responses from the reference"
        )
    with trainer.accelerator.main_process_first():  # the others find the file whole
        batches = _prepared(trainer, rows)
    for name, entries in (
        (PROMPT, [prompt for prompt, _ in rows]),
        (RESPONSE, [ids for batch in batches for ids in batch["ids"]]),
        (LOGPS, [value for batch in batches for value in batch["logps"]]),
    ):
        dataset = dataset.add_column(name, entries)
    return dataset


class CalibrationCollator:
    """Collates pairs by TRL's collator, and calibration rows beside them.

    Parameters
    ----------
    collator
        A ``DataCollatorForPreference``, which joins, cuts and pads.
    """

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the batch; with ``calibration_input_ids``, ``..._attention_mask`` and ``..._mask``, each (B, L)."""
        batch = dict(self.collator(examples))
        if RESPONSE in examples[0]:
            rows = collate_rows(self.collator, [(example[PROMPT], example[RESPONSE]) for example in examples])
            batch["calibration_input_ids"] = rows["input_ids"]
            batch["calibration_attention_mask"] = rows["attention_mask"]
            batch["calibration_mask"] = rows["completion_mask"]
            batch[LOGPS] = torch.tensor([example[LOGPS] for example in examples])
        return batch


def collate_rows(collator: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Return prompts with one response each as the upper half of TRL's batch of pairs."""
    pairs = [{"prompt_ids": list(p), "chosen_ids": list(y), "rejected_ids": list(y)} for p, y in rows]
    return {name: values[: len(rows)] for name, values in collator(pairs).items()}


def calibration_inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the model's keyword arguments for the calibration rows of a batch."""
    ids = batch["calibration_input_ids"]
    labels = ids.masked_fill(batch["calibration_mask"] == 0, -100)
    return {"input_ids": ids, "attention_mask": batch["calibration_attention_mask"], "labels": labels}


def split_batch(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what TRL knows of a batch, and what it would hand to the model as unknown keywords; None if nothing."""
    more = {name: value for name, value in inputs.items() if name.startswith("calibration_") or name == LOGPS}
    return {name: value for name, value in inputs.items() if name not in more}, more or None


@contextmanager
def reference_policy(trainer: Any) -> Iterator[Any]:
    """Yield a trainer's reference: its ``ref_model``, or its model with the adapter off."""
    model = trainer.ref_model or trainer.model
    if trainer.ref_model is None and is_peft_model(model):
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            yield model
    else:
        yield model


def _rows_of_column(trainer: Any, dataset: Dataset, column: str) -> Rows:
    """Tokenize a column as TRL does its own: what follows the prompt in the tokens of both together."""
    tokenizer = trainer.processing_class
    rows: Rows = []
    for number, row in enumerate(dataset):
        response = row[column]
        if not response:
            raise InvalidArgumentError(f"row {number} has an empty {column!r}; leave the row out, or give it a response")
        if isinstance(row["prompt"], str):
            end = tokenizer.eos_token
            response = response if response.endswith(end) else response + end
            prompt, both = prompt_ids(tokenizer, row["prompt"]), prompt_ids(tokenizer, row["prompt"] + response)
        else:
            response = [{"role": "assistant", "content": response}] if isinstance(response, str) else response
            template = {"tools": row.get("tools"), **(row.get("chat_template_kwargs") or {})}
            prompt = prompt_ids(tokenizer, row["prompt"], **template)
            both = list(
                tokenizer.apply_chat_template([*row["prompt"], *response], tokenize=True, return_dict=True, **template)[
                    "input_ids"
                ]
            )
        length = next((i for i, (a, b) in enumerate(zip(prompt, both)) if a != b), min(len(prompt), len(both)))
        rows.append((both[:length], both[length:]))
    return rows


def _prepared(trainer: Any, rows: Rows) -> list[dict[str, Any]]:
    """Return ids and reference log-probabilities by batch, from the file as far as it goes."""
    args = trainer.args
    directory = Path(args.calibration_directory or Path(args.output_dir) / "calibration")
    path = directory / f"{_key(trainer, rows)}.jsonl"
    done = read_lines(path)
    for start in range(len(done) * args.calibration_batch_size, len(rows), args.calibration_batch_size):
        batch = _prepare_batch(trainer, rows[start : start + args.calibration_batch_size], args.seed + start)
        append_line(path, batch)
        done.append(batch)
    return done


def _prepare_batch(trainer: Any, rows: Rows, seed: int) -> dict[str, Any]:
    prompts = [prompt for prompt, _ in rows]
    responses = [response for _, response in rows if response is not None] or _drawn(trainer, prompts, seed)
    inputs = collate_rows(_inner(trainer.data_collator), list(zip(prompts, responses, strict=True)))
    inputs = {name: values.to(trainer.model.device) for name, values in inputs.items()}
    model = trainer.ref_model or trainer.model
    with evaluating(model):
        logps = torch.cat(trainer.compute_ref_log_probs(model, inputs))
    return {"ids": responses, "logps": logps.float().tolist()}


def _drawn(trainer: Any, prompts: list[list[int]], seed: int) -> list[list[int]]:
    args, tokenizer = trainer.args, trainer.processing_class
    with reference_policy(trainer) as model:
        return sample_ids(
            model,
            prompts,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            max_new_tokens=args.calibration_max_new_tokens,
            seed=seed,
        )


def _inner(collator: Any) -> Any:
    return collator.collator if isinstance(collator, CalibrationCollator) else collator


def _key(trainer: Any, rows: Rows) -> str:
    args = trainer.args
    settings = [args.seed, args.calibration_max_new_tokens, args.calibration_batch_size, args.max_length]
    digest = hashlib.sha256(json.dumps([rows, settings]).encode())
    trained = trainer.ref_model is None and is_peft_model(trainer.model)
    for name, weight in (trainer.ref_model or trainer.model).named_parameters():
        if not (trained and ".default." in name):  # the adapter that is about to be trained is no part of the reference
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
