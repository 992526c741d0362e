"""The hook into TRL: these fail when a new TRL computes its loss another way."""

import copy

import pytest
import torch

pytest.importorskip("trl")

from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from robust_rl.alignment import VPOConfig, VPOTrainer
from robust_rl.alignment import trainer as module
from tests.alignment import tiny

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
WAYS = ["full", "lora", "precomputed"]


def trained(directory, kind=VPOTrainer, way="full", data=None, rounds_of=None, **options):
    if kind is DPOTrainer:
        options = {name: value for name, value in options.items() if not name.startswith(("vpo_", "calibration"))}
    if way == "precomputed":
        options["precompute_ref_log_probs"] = True
    args = (DPOConfig if kind is DPOTrainer else VPOConfig)(**tiny.settings(directory, **options))
    model = tiny.model()
    trainer = kind(
        model=model,
        ref_model=copy.deepcopy(model) if way == "full" else None,
        args=args,
        train_dataset=tiny.pairs() if data is None else data,
        processing_class=tiny.tokenizer(),
        peft_config=LoraConfig(**LORA) if way == "lora" else None,
    )
    trainer.train()
    return trainer


def weights(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


@pytest.mark.parametrize("way", WAYS)
def test_alpha_zero_is_dpo_bit_for_bit(way, tmp_path):
    dpo = trained(tmp_path / "dpo", DPOTrainer, way)
    vpo = trained(tmp_path / "vpo", VPOTrainer, way, vpo_alpha=0.0)
    assert tiny.losses(vpo) == tiny.losses(dpo)
    before, after = weights(dpo), weights(vpo)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert tiny.logged(vpo, "rewards/margins") == tiny.logged(dpo, "rewards/margins")


@pytest.mark.parametrize("way", WAYS)
def test_signs_move_log_pi_of_the_calibration_samples_as_the_table_says(way, tmp_path):
    options = {"learning_rate": 1e-2 if way == "lora" else 1e-3, "way": way, "vpo_alpha": 5.0}
    last = {
        mode: tiny.logged(trained(tmp_path / mode, vpo_mode=mode, **options), "logps/chosen")[-1]
        for mode in ("offline", "online")
    }
    dpo = tiny.logged(trained(tmp_path / "dpo", DPOTrainer, **options), "logps/chosen")[-1]
    assert last["online"] < dpo - 0.05
    assert last["offline"] > dpo + 0.05


def test_trl_calls_the_model_once_and_reads_log_probs_with_gradient(tmp_path, monkeypatch):
    seen = []

    class Spy(module._Forward):
        def __call__(self, **kwargs):
            outputs = super().__call__(**kwargs)
            seen.append((self, outputs.log_probs.requires_grad, set(kwargs)))
            return outputs

    monkeypatch.setattr(module, "_Forward", Spy)
    trained(tmp_path)
    assert len(seen) == len({id(forward) for forward, _, _ in seen}) == 4
    assert all(gradient for _, gradient, _ in seen)
    assert all({"input_ids", "attention_mask", "labels", "fused_lm_head"} <= names for _, _, names in seen)


@pytest.mark.parametrize("calibration", ["chosen", "rejected"])
def test_loss_is_the_formula_computed_from_full_logits(calibration, tmp_path):
    """One batch of the trainer against eq. 1 written out on log_softmax of the whole vocabulary."""
    trainer = trained(tmp_path, vpo_alpha=0.7, calibration=calibration, vpo_mode="online", max_steps=3)
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.eval()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, dict(batch)).item()
        policy, reference = sequence_logps(trainer.model, batch), sequence_logps(trainer.ref_model, batch)
    h = policy - reference
    plus, minus = h.chunk(2)
    which = policy.chunk(2)[0 if calibration == "chosen" else 1]
    expected = -torch.nn.functional.logsigmoid(0.1 * (plus - minus)).mean() + 0.7 * 0.1 * which.mean()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    metrics = {name: values[-1] for name, values in trainer._metrics["eval"].items()}
    shift = (plus if calibration == "chosen" else minus).mean().item()
    assert metrics["vpo/calibration_logps"] == pytest.approx(which.mean().item(), abs=1e-4)
    assert metrics["vpo/calibration_term"] == pytest.approx(0.07 * which.mean().item(), abs=1e-5)
    assert metrics["vpo/value"] == pytest.approx(-0.1 * shift, abs=1e-5)


def sequence_logps(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].double()
    token = torch.log_softmax(logits, -1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    return (token * batch["completion_mask"][:, 1:]).sum(1)


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    """Weights after a step: 1 batch of 4 against 4 of 1. In float32 sums differ in order only."""
    whole = trained(tmp_path / "whole", max_steps=2, optim="sgd", learning_rate=0.1)
    parts = trained(
        tmp_path / "parts", max_steps=2, optim="sgd", learning_rate=0.1, per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )  # fmt: skip
    for name, weight in weights(whole).items():
        assert torch.allclose(weights(parts)[name], weight, atol=2e-6), name


def test_padding_does_not_change_the_loss(tmp_path):
    narrow = trained(tmp_path / "narrow", max_steps=1)
    wide = trained(tmp_path / "wide", max_steps=1, pad_to_multiple_of=64)
    assert tiny.losses(wide)[0] == pytest.approx(tiny.losses(narrow)[0], abs=1e-5)
    assert tiny.logged(wide, "vpo/calibration_logps")[0] == pytest.approx(
        tiny.logged(narrow, "vpo/calibration_logps")[0], abs=1e-3
    )


def test_one_seed_one_run(tmp_path):
    first, second = trained(tmp_path / "a"), trained(tmp_path / "b")
    assert tiny.losses(first) == tiny.losses(second)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


def test_precomputed_reference_equals_the_live_one(tmp_path):
    live, ahead = trained(tmp_path / "live"), trained(tmp_path / "ahead", way="precomputed")
    assert tiny.losses(live) == pytest.approx(tiny.losses(ahead), abs=1e-5)
    assert tiny.logged(live, "vpo/value") == pytest.approx(tiny.logged(ahead, "vpo/value"), abs=1e-5)


def test_value_starts_at_zero_and_checkpointing_of_activations_changes_nothing(tmp_path):
    plain = trained(tmp_path / "plain")
    recomputed = trained(tmp_path / "recomputed", gradient_checkpointing=True)
    assert tiny.logged(plain, "vpo/value")[0] == pytest.approx(0, abs=1e-6)
    assert tiny.losses(recomputed) == pytest.approx(tiny.losses(plain), abs=1e-5)


def test_a_run_that_stopped_resumes_to_the_same_weights(tmp_path):
    """TRL's checkpoints: 3 steps, a new process's worth of objects, 3 more, against 6 in one go."""
    options = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "lr_scheduler_type": "constant"}
    whole = trained(tmp_path / "whole", **options)
    trained(tmp_path / "halves", **options | {"max_steps": 3})
    model = tiny.model()
    second = VPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),
        args=VPOConfig(**tiny.settings(tmp_path / "halves", **options)),
        train_dataset=tiny.pairs(),
        processing_class=tiny.tokenizer(),
    )
    second.train(resume_from_checkpoint=True)
    assert second.state.global_step == 6
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())
    assert tiny.losses(second) == tiny.losses(whole)


def test_floor_stops_a_run_that_leaves_the_calibration_samples(tmp_path):
    options = {"vpo_mode": "online", "vpo_alpha": 20.0, "learning_rate": 1e-2, "max_steps": 30}
    trainer = trained(tmp_path, calibration_floor=0.5, **options)
    shifts = tiny.logged(trainer, "vpo/shift")
    assert trainer.state.global_step < 30
    assert shifts[-1] < -0.5 <= min(shifts[:-1])
    assert trainer.floor.reached == pytest.approx(shifts[-1])
