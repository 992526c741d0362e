"""Value-incentivized preference optimization on TRL's DPO trainer.

Minimised, as a mean over a batch of pairs (x, y+, y-) and of calibration samples (x, y):

    L(pi) = -mean log sigmoid(beta [h(x, y+) - h(x, y-)])  +  sign alpha beta mean_cal log pi(y | x)           (1)
    h(x, y) = log pi(y | x) - log pi_ref(y | x), summed over the tokens of the response

with sign -1 offline and +1 online. The first term, its reference and its metrics are TRL's. The second needs the
policy's log-probabilities only, since pi_ref is fixed; those come out of the forward pass that TRL makes anyway.

=========  ==============================  ======================================================================
symbol     here                            meaning
=========  ==============================  ======================================================================
log pi     calibration_logps               (B,) of the calibration samples, with gradient
E_cal h    -vpo/value / beta               how far the policy has moved from the reference on them
J          vpo/value = -beta E_cal h       estimate of the best value under the policy's implicit reward; it starts
                                           at 0, and means a value only as far as that reward is calibrated
=========  ==============================  ======================================================================

Nothing of TRL is copied. What is relied on beyond its public interface: ``DPOTrainer.compute_loss`` calls the model it
is given once, with keyword arguments, and reads ``log_probs`` from what comes back. :class:`_Forward` stands in for
the model there; its count of tokens is ``_total_train_tokens``. The package pins TRL below the next minor version, and
``tests/alignment/test_hook.py`` and ``test_command.py`` fail loudly when this changes.

Source: Cen et al., Value-Incentivized Preference Optimization, arXiv:2405.19320. TRL 1.16.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import TrainerCallback
from trl import DPOTrainer

from robust_rl.alignment.calibration import CalibrationCollator, calibration_inputs, split_batch, with_calibration
from robust_rl.alignment.config import VPOConfig
from robust_rl.alignment.loss import calibration_term
from robust_rl.alignment.run_callback import TokenCount
from robust_rl.errors import InvalidArgumentError

_PAPER = "Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF"


class VPOTrainer(DPOTrainer):
    """``trl.DPOTrainer`` with VPO's calibration term.

    Parameters
    ----------
    model
        The policy: a name, a path or a model, as for ``DPOTrainer``.
    ref_model
        The reference; None as for ``DPOTrainer``. A model built in memory has no path to reload the reference from:
        give it here, use LoRA, or set ``precompute_ref_log_probs``.
    args
        The options; None takes the defaults.
    settings
        Handed to ``DPOTrainer``: ``train_dataset``, ``eval_dataset``, ``processing_class``, ``peft_config``,
        ``callbacks`` and so on.

    Raises
    ------
    InvalidArgumentError
        ``args`` is another configuration, or the data lack the calibration column.

    Notes
    -----
    Logged beside TRL's metrics: ``vpo/calibration_logps`` (mean log pi of a calibration sample),
    ``vpo/calibration_term`` (what is added to the loss), ``vpo/value`` (eq. 1's -beta E_cal h) and ``vpo/shift``
    (E_cal h in nats a token). A dataset handed to ``evaluate`` later has no calibration rows of its own: with
    ``calibration="reference"`` or ``"dataset"`` its loss is that of DPO.

    Several processes: ``chosen`` and ``rejected`` run wherever ``DPOTrainer`` does; ``reference`` and ``dataset`` under
    DDP, with each process preparing all rows, but not under FSDP or DeepSpeed.
    """

    train_dataset: Any
    eval_dataset: Any
    data_collator: Any
    _tag_names = ["trl", "robust-rl", "vpo"]
    _name = "VPO"
    _paper = {
        "title": _PAPER,
        "id": "2405.19320",
        "citation": textwrap.dedent("""\
            @inproceedings{cen2025value,
                title        = {{Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF}},
                author       = {Shicong Cen and Jincheng Mei and Katayoon Goshvadi and Hanjun Dai and Tong Yang and Sherry Yang and Dale Schuurmans and Yuejie Chi and Bo Dai},
                year         = 2025,
                booktitle    = {International Conference on Learning Representations},
            }"""),  # noqa: E501
    }

    def __init__(
        self,
        model: str | PreTrainedModel | Any,
        ref_model: PreTrainedModel | None = None,
        args: VPOConfig | None = None,
        **settings: Any,
    ) -> None:
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = VPOConfig(f"{str(name).rsplit('/', 1)[-1] or 'model'}-VPO")
        if not isinstance(args, VPOConfig):
            raise InvalidArgumentError(f"args is a {type(args).__name__}; VPOTrainer takes a VPOConfig")
        super().__init__(model, ref_model, args, **settings)
        self.add_callback(TokenCount(self))
        if args.calibrates_on_more_rows:
            self._add_calibration()
        if args.calibration_floor is not None:
            self.floor = CalibrationFloor(args.calibration_floor)
            self.add_callback(self.floor)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return DPO's loss with the calibration term of eq. 1, and log both."""
        inputs, calibration = split_batch(inputs)
        if calibration is None and self.args.calibrates_on_more_rows:  # a dataset handed to evaluate()
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        forward = _Forward(model, None if calibration is None else calibration_inputs(calibration))
        result = super().compute_loss(forward, inputs, return_outputs, num_items_in_batch)
        logps, tokens = self._calibration_logps(forward, inputs, calibration)
        term = calibration_term(logps, beta=self.beta, alpha=self.args.vpo_alpha, mode=self.args.vpo_mode)
        self._log_calibration(logps.detach(), tokens, term.detach(), calibration)
        if self.args.vpo_alpha == 0:  # the sum would be equal, its graph would not
            return result
        return (result[0] + term, result[1]) if return_outputs else result + term

    def create_model_card(self, *arguments: Any, **names: Any) -> None:
        """Write TRL's card, with the options of VPO, and without a link to nowhere for a model from a local folder."""
        super().create_model_card(*arguments, **names)
        path = Path(self.args.output_dir) / "README.md"
        if not self.is_world_process_zero() or not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        base = self.model.config._name_or_path
        origin = f"a fine-tuned version of a local model (`{Path(base).name}`)" if base else "a fine-tuned version of a model"
        options = ("vpo_alpha", "vpo_mode", "calibration", "beta", "loss_type")
        said = ", ".join(f"{name} {getattr(self.args, name)}" for name in options)
        text = text.replace("a fine-tuned version of [None](https://huggingface.co/None)", origin)
        text = text.replace('model="None"', f'model="{self.args.output_dir}"')
        head = "## Training procedure\n"
        path.write_text(text.replace(head, f"{head}\nVPO's options: {said}.\n"), encoding="utf-8")

    def _calibration_logps(
        self, forward: _Forward, inputs: Mapping[str, Any], calibration: Mapping[str, Any] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log pi of the calibration samples and their numbers of tokens, each (B,)."""
        if calibration is not None:
            mask = calibration["calibration_mask"]
            return forward.calibration_log_probs[:, -(mask.size(1) - 1) :].sum(dim=1), mask[:, 1:].sum(dim=1)
        mask = inputs["completion_mask"][:, 1:]
        half = 0 if self.args.calibration == "chosen" else 1  # a batch is [chosen, rejected]
        # prompt-learning adapters put virtual tokens in front: the last positions are the real ones
        return forward.log_probs[:, -mask.size(1) :].sum(dim=1).chunk(2)[half], mask.sum(dim=1).chunk(2)[half]

    def _log_calibration(
        self, logps: torch.Tensor, tokens: torch.Tensor, term: torch.Tensor, calibration: Mapping[str, Any] | None
    ) -> None:
        metrics = self._metrics["train" if self.model.training else "eval"]
        gather = self.accelerator.gather
        if calibration is None:
            value = -metrics[f"rewards/{self.args.calibration}"][-1]  # TRL's is beta mean h
        else:
            value = -self.beta * gather(logps - calibration["reference_calibration_logps"]).mean().item()
        metrics["vpo/calibration_logps"].append(gather(logps).mean().item())
        metrics["vpo/calibration_term"].append(gather(term).mean().item())
        metrics["vpo/value"].append(value)
        mean_tokens = gather(tokens.float()).mean().item()
        metrics["vpo/shift"].append(-value / (self.beta * mean_tokens) if mean_tokens else 0.0)

    def _add_calibration(self) -> None:
        """Give the data their calibration rows, and the collator the sense to carry them."""
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise InvalidArgumentError(
                f"calibration {self.args.calibration!r} does not run under FSDP or DeepSpeed; use chosen or rejected, or DDP"
            )
        self.train_dataset = with_calibration(self, self.train_dataset)
        held_out = self.eval_dataset
        if isinstance(held_out, dict):
            held_out = {name: with_calibration(self, data) for name, data in held_out.items()}
        elif held_out is not None:
            held_out = with_calibration(self, held_out)
        self.eval_dataset = held_out
        self.data_collator = CalibrationCollator(self.data_collator)


class CalibrationFloor(TrainerCallback):
    """Stops a run whose policy has left the calibration samples by more than ``nats`` a token.

    The online loss has no lower bound: its minimum sends log pi of the calibration samples to minus infinity.

    Attributes
    ----------
    reached
        None, or the shift at which it stopped the run.
    """

    def __init__(self, nats: float) -> None:
        self.nats = nats
        self.reached: float | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Look at the shift, which is negative where log pi has fallen."""
        shift = (logs or {}).get("vpo/shift")
        if shift is not None and shift < -self.nats:
            self.reached = float(shift)
            control.should_training_stop = True


class _Forward:
    """Stands in for the model in one call of TRL's loss.

    Keeps ``log_probs`` of the one forward pass, with its gradient. Calibration rows, if any, ride along in that pass,
    below the pairs, and TRL sees only the pairs: so there is one forward for one backward, which DDP and
    gradient checkpointing expect.
    """

    def __init__(self, model: Any, calibration: Mapping[str, torch.Tensor] | None) -> None:
        self.model = model
        self.calibration = calibration
        self.log_probs: Any = None  # (2B, L - 1) of the pairs, once called
        self.calibration_log_probs: Any = None  # (B, L' - 1)

    def __call__(self, **kwargs: Any) -> Any:
        if self.log_probs is not None or self.calibration is None:  # asked again, TRL wants logits without a gradient
            outputs = self.model(**kwargs)
        else:
            outputs = self._with_calibration(kwargs)
        if self.log_probs is None:
            self.log_probs = outputs.log_probs
        return outputs

    def _with_calibration(self, kwargs: dict[str, Any]) -> Any:
        assert self.calibration is not None
        pairs, width = kwargs["input_ids"].shape
        more = self.calibration["input_ids"].size(1)
        outputs = self.model(**kwargs | {name: _stack(name, kwargs[name], rows) for name, rows in self.calibration.items()})
        total = max(width, more)  # rows are padded on the right: what lies beyond their own width is cut off
        everything = outputs.log_probs.size(1)
        self.calibration_log_probs = outputs.log_probs[pairs:, : everything - (total - more)]
        rows = outputs.log_probs.size(0)
        for name, value in list(outputs.items()):
            if torch.is_tensor(value) and value.dim() == 2 and value.size(0) == rows:
                outputs[name] = value[:pairs, : everything - (total - width)]
        return outputs


def _stack(name: str, pairs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return (2B + B, max(L, L')) ids, masks or labels."""
    width = max(pairs.size(1), rows.size(1))
    fill = -100 if name == "labels" else 0  # the filling of ids is masked
    return torch.cat([functional.pad(block, (0, width - block.size(1)), value=fill) for block in (pairs, rows)])
