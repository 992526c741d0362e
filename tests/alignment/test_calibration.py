import copy
import json

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from datasets import Dataset
from scipy.stats import chisquare

from robust_rl.alignment import VPOTrainer, calibration
from robust_rl.alignment.config import VPOConfig
from robust_rl.alignment.sampling import sample_ids
from robust_rl.errors import InvalidArgumentError
from tests.alignment import tiny
from tests.alignment.test_hook import sequence_logps, trained


def batch_of(trainer):
    trainer.model.eval()
    return trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))


def calibration_batch(batch):
    return {
        "input_ids": batch["calibration_input_ids"],
        "attention_mask": batch["calibration_attention_mask"],
        "completion_mask": batch["calibration_mask"],
    }


@pytest.mark.parametrize(("words", "way"), [("fine", "full"), ("a far longer answer than those of the pairs " * 2, "lora")])
def test_loss_on_a_column_is_the_formula_computed_from_full_logits(words, way, tmp_path):
    """Rows shorter and longer than the pairs' ride along in one padded forward pass: neither may change the other."""
    data = tiny.pairs(calibration=lambda i: f"{words} {i}")
    options = {"vpo_alpha": 0.7, "vpo_mode": "online", "calibration": "dataset", "max_steps": 2}
    trainer = trained(tmp_path, way=way, data=data, **options)
    batch = batch_of(trainer)
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(batch)).item()
        policy = sequence_logps(trainer.model, batch)
        drawn = sequence_logps(trainer.model, calibration_batch(batch))
        with calibration.reference_policy(trainer) as model:
            reference = sequence_logps(model, batch)
            expected_logps = sequence_logps(model, calibration_batch(batch))
    plus, minus = (policy - reference).chunk(2)
    expected = -torch.nn.functional.logsigmoid(0.1 * (plus - minus)).mean() + 0.7 * 0.1 * drawn.mean()
    assert loss == pytest.approx(expected.item(), abs=2e-5)
    assert batch["reference_calibration_logps"].tolist() == pytest.approx(expected_logps.tolist(), abs=1e-3)
    assert trainer._metrics["eval"]["vpo/value"][-1] == pytest.approx(-0.1 * (drawn - expected_logps).mean().item(), abs=1e-4)


def test_column_is_tokenized_as_trl_does_its_own(tmp_path):
    """The column repeats the chosen responses, so its tokens must be theirs: text, and messages with a template."""
    text = tiny.pairs().map(lambda row: {"calibration": row["chosen"]})
    talk = text.map(
        lambda row: {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
    )
    for name, data in (("text", text), ("talk", talk)):
        trainer = trained(tmp_path / name, data=data, calibration="dataset", max_steps=1)
        assert trainer.train_dataset["calibration_ids"] == trainer.train_dataset["chosen_ids"]
        assert trainer.train_dataset["calibration_prompt_ids"] == trainer.train_dataset["prompt_ids"]


def test_column_of_chosen_responses_is_calibration_chosen(tmp_path):
    data = tiny.pairs().map(lambda row: {"calibration": row["chosen"]})
    column = trained(tmp_path / "column", data=data, calibration="dataset", vpo_alpha=1.0)
    chosen = trained(tmp_path / "chosen", data=data, calibration="chosen", vpo_alpha=1.0)
    assert tiny.losses(column) == pytest.approx(tiny.losses(chosen), abs=2e-5)
    for name in ("vpo/value", "vpo/shift", "vpo/calibration_term"):
        assert tiny.logged(column, name) == pytest.approx(tiny.logged(chosen, name), abs=2e-4), name


@pytest.mark.parametrize("way", ["full", "lora", "precomputed"])
def test_reference_samples_are_raised_offline_and_lowered_online(way, tmp_path):
    """Over four epochs: a random model's samples have little in common, so one epoch says nothing of the next batch."""
    shifts = {}
    for mode in ("offline", "online"):
        options = {
            "calibration_max_new_tokens": 8,
            "learning_rate": 1e-2 if way == "lora" else 3e-3,
            "vpo_mode": mode,
            "max_steps": 16,
        }
        trainer = trained(tmp_path / mode, way=way, calibration="reference", vpo_alpha=5.0, **options)
        assert tiny.logged(trainer, "vpo/value")[0] == pytest.approx(0, abs=1e-4)
        shifts[mode] = np.mean(tiny.logged(trainer, "vpo/shift")[-4:])  # the last epoch
    assert shifts["online"] < -0.1
    assert shifts["offline"] > 0.1


def test_samples_are_drawn_once_and_a_killed_run_goes_on_at_the_next_batch(tmp_path, monkeypatch):
    options = {"calibration": "reference", "calibration_max_new_tokens": 6, "calibration_batch_size": 3, "max_steps": 1}
    options["calibration_directory"] = str(tmp_path / "kept")
    whole = trained(tmp_path / "whole", **options).train_dataset["calibration_ids"]
    (file,) = (tmp_path / "kept").glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 6  # 16 prompts, 3 at a time
    file.write_bytes(b"".join(lines[:2]) + lines[2][:10])  # killed in the middle of a line
    calls = []
    original = calibration.sample_ids
    monkeypatch.setattr(calibration, "sample_ids", lambda *a, **k: calls.append(len(a[1])) or original(*a, **k))
    assert trained(tmp_path / "resumed", **options).train_dataset["calibration_ids"] == whole
    assert calls == [3, 3, 3, 1]
    assert file.read_bytes().splitlines(keepends=True)[:3] == lines[:3]
    calls.clear()
    trained(tmp_path / "again", **options)
    assert calls == []
    trained(tmp_path / "other", **options | {"seed": 4})  # another seed, another key
    assert len(calls) == 6


def test_floor_and_cut_apply_to_reference_samples(tmp_path):
    trainer = trained(tmp_path, calibration="reference", calibration_max_new_tokens=5, max_steps=1)
    ids = trainer.train_dataset["calibration_ids"]
    assert all(1 <= len(row) <= 5 for row in ids)
    assert {len(row) for row in ids if tiny.tokenizer().eos_token_id not in row} == {5}
    lines = [json.loads(line) for file in (tmp_path / "calibration").iterdir() for line in file.open()]
    assert [row for line in lines for row in line["ids"]] == ids


def test_held_out_data_have_their_own_calibration_rows(tmp_path):
    args = VPOConfig(**tiny.settings(tmp_path, calibration="dataset", eval_strategy="steps", eval_steps=2))
    model = tiny.model()
    held_out = tiny.pairs(6, seed=9, calibration=lambda i: "fine")
    trainer = VPOTrainer(
        model=model, ref_model=copy.deepcopy(model), args=args, train_dataset=tiny.pairs(calibration=lambda i: "cold"),
        eval_dataset=held_out, processing_class=tiny.tokenizer(),
    )  # fmt: skip
    trainer.train()
    assert len(tiny.logged(trainer, "eval_vpo/value")) == 2
    later = trainer.evaluate(tiny.pairs(4, seed=5))  # unprepared: DPO's loss alone
    assert "eval_vpo/value" not in later
    assert np.isfinite(later["eval_loss"])


def test_sampling_follows_the_softmax_of_the_model():
    """First tokens of 4000 draws against probabilities from the logits; left padding must not matter."""
    model, prompt, other = tiny.model(1), [72, 101, 108], [9, 9, 9, 9, 9, 9]
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), 0).numpy()
    draws = [ids[0] for ids in sample_ids(model, [prompt] * 4000 + [other], pad_token_id=258, eos_token_id=None, max_new_tokens=1,
                                          seed=0)[:-1]]  # fmt: skip
    counts = np.bincount(draws, minlength=p.size)
    likely = p > 10 / 4000
    observed, expected = np.append(counts[likely], counts[~likely].sum()), 4000 * np.append(p[likely], p[~likely].sum())
    assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


def test_sampling_is_seeded_and_leaves_the_global_generator_alone():
    model = tiny.model()
    options = {"pad_token_id": 258, "eos_token_id": 256, "max_new_tokens": 5}
    before = torch.get_rng_state()
    first = sample_ids(model, [[1, 2], [3]], seed=1, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == sample_ids(model, [[1, 2], [3]], seed=1, **options)
    assert first != sample_ids(model, [[1, 2], [3]], seed=2, **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiny.pairs(), "no column 'calibration'; columns are prompt"),
        (tiny.pairs(calibration=lambda i: "" if i == 3 else "fine"), "row 3 has an empty 'calibration'"),
        (Dataset.to_iterable_dataset(tiny.pairs(calibration=lambda i: "fine")), "the data stream"),
    ],
)
def test_unusable_columns_are_refused(data, message, tmp_path):
    with pytest.raises(InvalidArgumentError, match=message):
        trained(tmp_path, data=data, calibration="dataset")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vpo_alpha": -0.1}, "vpo_alpha is -0.1"),
        ({"vpo_alpha": float("nan")}, "vpo_alpha is nan"),
        ({"vpo_mode": "onlin"}, "did you mean online"),
        ({"calibration": "choosen"}, "did you mean chosen"),
        ({"f_divergence_type": "forward_kl"}, "log Z of the reverse KL"),
        ({"ld_alpha": 0.5}, "sequence log-probability"),
        ({"sync_ref_model": True}, "stays fixed"),
        ({"loss_type": ["sigmoid", "sft"]}, "one of sigmoid, ipo, hinge"),
        ({"loss_type": ["robust"]}, "only sigmoid is the paper's"),
        ({"calibration_floor": 0.0}, "positive number of nats"),
        ({"calibration_batch_size": 0}, "at least 1"),
    ],
)
def test_options_that_change_the_meaning_are_refused(options, message, tmp_path):
    with pytest.raises(InvalidArgumentError, match=message):
        VPOConfig(**tiny.settings(tmp_path, **options))
    if "f_divergence_type" in options or "ld_alpha" in options:  # harmless to DPO
        VPOConfig(**tiny.settings(tmp_path, vpo_alpha=0.0, **options))


def test_trainer_takes_its_own_configuration_only(tmp_path):
    from trl import DPOConfig

    with pytest.raises(InvalidArgumentError, match="takes a VPOConfig"):
        VPOTrainer(model=tiny.model(), args=DPOConfig(**tiny.settings(tmp_path)), train_dataset=tiny.pairs())
