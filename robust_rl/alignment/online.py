"""Online VPO: rounds of sampling, judging and training, with the reference fixed.

    pi_0 = pi_ref, D = {}
    for t = 1 .. T:
        draw x ~ rho, y1 and y2 ~ pi_{t-1}(. | x)                                play_round: two responders, both the policy
        label by a judge                                                         judges.py
        D = D + {(x, y+, y-)}                                                    buffered: all, a window, or the newest
        pi_t = argmin of eq. 1 of trainer.py on D, sign +1                       VPOTrainer, a fixed number of steps

======  =====================  =================================================================
symbol  here                   meaning
======  =====================  =================================================================
T       rounds
pi_ref  reference              never moves: with LoRA the model less its adapter, else a copy
pi_cal  calibration            by default the reference: one more response a prompt, drawn with the pair
alpha   vpo_alpha              times ``vpo_alpha_decay ** t`` in round t
======  =====================  =================================================================

Differences from the algorithm: the minimum is approached by ``steps_per_round`` optimiser steps from pi_{t-1}, since the
loss has no lower bound; ``calibration_floor`` ends the run when it slides off.

Responses are kept, judged and trained on as text, with an end-of-sequence token: one that was cut within a character, or
at its longest, differs by that from what was drawn.

Each round leaves ``rounds/round_003/``: ``pairs.jsonl``, ``policy/``, a card, and ``round.json`` when it is whole. A run that was
killed goes on with the first round that is not whole, keeps the pairs that it has, and ends as an uninterrupted one would.

Source: Cen et al., arXiv:2405.19320; the algorithm's form is that of ``vpo.md`` section 4, from memory of the paper.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import is_peft_model
from datasets import Dataset
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from robust_rl.alignment.config import VPOConfig
from robust_rl.alignment.generators import Generator, TransformersGenerator
from robust_rl.alignment.judges import Judge
from robust_rl.alignment.optimizer_state import load_state, save_state
from robust_rl.alignment.rounds import BUFFERS, buffered, play_round, preference_rows, prompt_text
from robust_rl.alignment.run_callback import RunCallback
from robust_rl.alignment.sampling import Prompt
from robust_rl.alignment.trainer import VPOTrainer
from robust_rl.errors import InvalidArgumentError, loadable
from robust_rl.training import RunDirectory, TensorBoardLogger, read_json, write_json


@dataclass
class OnlineVPOConfig(VPOConfig):
    """Options of :class:`OnlineVPO`: those of :class:`~robust_rl.alignment.VPOConfig`, and these.

    Parameters
    ----------
    rounds, prompts_per_round, steps_per_round
        T, duels in each, and optimiser steps in each, >= 1.
    buffer, buffer_window
        What is trained on: ``"accumulate"`` all rounds, the ``"window"`` of the last ``buffer_window``, or the ``"newest"``.
    keep_ties
        Whether pairs of equal texts stay.
    response_max_new_tokens, temperature, generation_batch_size
        Of the responses. A temperature other than 1 draws from another policy than the one that is trained.
    keep_optimizer
        Whether the optimiser's moments pass from round to round; by default each round starts with fresh ones.
    vpo_alpha_decay
        ``vpo_alpha`` is multiplied by this after each round, in (0, 1].

    Raises
    ------
    InvalidArgumentError
        An option is out of range.
    """

    vpo_mode: str = field(default="online", metadata={"help": "online or offline.", "choices": ["online", "offline"]})
    calibration: str = field(
        default="reference", metadata={"help": "Whose responses calibrate: reference (drawn with each pair), chosen, rejected."}
    )
    calibration_floor: float | None = field(
        default=1.0, metadata={"help": "End when log pi of calibration samples fell by so many nats a token below the reference."}
    )
    lr_scheduler_type: str = field(default="constant", metadata={"help": "Of each round."})
    logging_steps: float = field(default=1, metadata={"help": "The floor is looked at when metrics are logged."})
    rounds: int = field(default=5, metadata={"help": "Rounds of sampling, judging and training."})
    prompts_per_round: int = field(default=64, metadata={"help": "Duels in each round."})
    steps_per_round: int = field(default=16, metadata={"help": "Optimiser steps in each round."})
    buffer: str = field(
        default="accumulate", metadata={"help": "Train on all rounds (accumulate), the last few (window), or the newest."}
    )
    buffer_window: int = field(default=2, metadata={"help": "Rounds in the window."})
    keep_ties: bool = field(default=False, metadata={"help": "Keep pairs of equal texts."})
    response_max_new_tokens: int = field(default=64, metadata={"help": "Longest response, in tokens."})
    temperature: float = field(default=1.0, metadata={"help": "Of the responses; 1 is the policy itself."})
    generation_batch_size: int = field(default=8, metadata={"help": "Prompts that are drawn for at a time."})
    keep_optimizer: bool = field(default=False, metadata={"help": "Pass the optimiser's moments from round to round."})
    vpo_alpha_decay: float = field(default=1.0, metadata={"help": "vpo_alpha is multiplied by this after each round."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "rounds", "prompts_per_round", "steps_per_round", "buffer_window", "response_max_new_tokens", "generation_batch_size",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.buffer not in BUFFERS:
            raise InvalidArgumentError(f"buffer is {self.buffer!r}; it must be one of {', '.join(BUFFERS)}")
        if not 0 < self.vpo_alpha_decay <= 1:
            raise InvalidArgumentError(f"vpo_alpha_decay is {self.vpo_alpha_decay}; it must lie in (0, 1]")
        if not self.temperature > 0:
            raise InvalidArgumentError(f"temperature is {self.temperature}; it must be positive")
        if self.calibration == "dataset":
            raise InvalidArgumentError("calibration 'dataset' has no column online; use reference, chosen or rejected")


class OnlineVPO:
    """The loop of rounds; one process.

    Parameters
    ----------
    model
        The reference, from which the policy starts: a name, a path, or a causal language model.
    args
        The options; ``args.output_dir`` is the run's directory.
    prompts
        Texts or messages. Each round takes the next ``prompts_per_round`` of them, in an order that the seed fixes.
    judge
        ``judge(prompt, first, second, rng) -> bool``: whether the first response is better; see
        :mod:`robust_rl.alignment.judges`.
    processing_class
        The tokenizer; None loads the one beside the model.
    peft_config
        LoRA, the recommended way: the reference is the model without its adapter. None trains all weights, beside a copy.
    generator
        Where responses are drawn; None draws in this process. One elsewhere needs LoRA, to be handed the adapter.

    Attributes
    ----------
    completed
        Number of whole rounds.
    stopped
        None, or why the run ended before its last round.

    Raises
    ------
    InvalidArgumentError
        There are no prompts, or several processes, or a generator elsewhere without LoRA.
    """

    def __init__(
        self,
        model: Any,
        args: OnlineVPOConfig,
        *,
        prompts: Sequence[Prompt],
        judge: Judge,
        processing_class: Any = None,
        peft_config: Any = None,
        generator: Generator | None = None,
    ) -> None:
        self._check(args, prompts, peft_config, generator, model)
        if args.world_size > 1:
            raise InvalidArgumentError(f"OnlineVPO runs in one process, not in {args.world_size}")
        self.args, self.prompts, self.judge, self.peft_config = args, list(prompts), judge, peft_config
        name = model if isinstance(model, str) else model.config._name_or_path
        self.name = str(name)
        with loadable(name, "a language model"):
            self.tokenizer = AutoTokenizer.from_pretrained(name) if processing_class is None else processing_class
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        with loadable(name, "a language model"):
            options = args.model_init_kwargs or {}
            loaded = AutoModelForCausalLM.from_pretrained(name, **options) if isinstance(model, str) else model
        self.model = loaded.to(args.device)
        self.reference = copy.deepcopy(self.model).eval().requires_grad_(False) if peft_config is None else None
        self.generator = generator or TransformersGenerator(
            self.model_for, self.tokenizer, args.response_max_new_tokens, args.temperature
        )
        self.run_directory = RunDirectory(args.output_dir)
        self.completed = self._whole_rounds()
        self.stopped: str | None = self._last_record().get("stopped")
        if self.completed:
            self._take_policy(self._folder(self.completed - 1) / "policy")

    @staticmethod
    def _check(args: OnlineVPOConfig, prompts: Any, peft_config: Any, generator: Any, model: Any) -> None:
        if not isinstance(args, OnlineVPOConfig):
            raise InvalidArgumentError(f"args is a {type(args).__name__}; OnlineVPO takes an OnlineVPOConfig")
        if isinstance(prompts, str) or not len(prompts):
            raise InvalidArgumentError(f"prompts={prompts!r} is no list of prompts; give at least one")
        for i, prompt in enumerate(prompts):
            if not prompt_text(prompt).strip():
                raise InvalidArgumentError(f"prompts[{i}] is empty")
        if generator is not None and peft_config is None:
            raise InvalidArgumentError("a generator elsewhere is handed adapters; give a peft_config, or draw in this process")
        if not isinstance(model, str) and is_peft_model(model):
            raise InvalidArgumentError("the model has an adapter; merge it first: the reference is the model without one")

    def run(self) -> OnlineVPO:
        """Play and train until the last round, or the floor; from where an earlier process was."""
        run = self.run_directory
        run.start(self._settings(), seed=self.args.seed, command="robust-rl vpo-online")
        try:
            while not self.done:
                self.step()
        except BaseException:
            run.finish("interrupted")
            raise
        run.finish()
        return self

    @property
    def done(self) -> bool:
        """Whether all rounds are whole, or the floor was reached."""
        return self.completed >= self.args.rounds or self.stopped is not None

    def step(self) -> dict[str, float]:
        """Play and train one round, write it down, and return its figures."""
        start, folder = time.monotonic(), self._folder(self.completed)
        lines = self._play(folder)
        trainer = self._train(folder)
        trainer.save_model(str(folder / "policy"))
        trainer.create_model_card(model_name=Path(self.args.output_dir).name)
        shift = trainer.floor.reached if self.args.calibration_floor is not None else None
        if shift is not None:
            self.stopped = (
                f"log pi of the calibration samples fell by {-shift:.3g} nats a token, more than the floor of "
                f"{self.args.calibration_floor:g}, in round {self.completed}"
            )
        figures = self._figures(lines) | {"round/seconds": time.monotonic() - start}
        self._log(figures)
        write_json(folder / "round.json", {"round": self.completed, "stopped": self.stopped, "figures": figures})
        self.completed += 1
        return figures

    @contextmanager
    def model_for(self, adapter: Path | None) -> Iterator[Any]:
        """Yield the reference (``adapter`` None) or the policy as it stands."""
        if adapter is not None or not is_peft_model(self.model):
            yield self.model if adapter is not None or self.reference is None else self.reference
        else:
            with self.model.disable_adapter():
                yield self.model

    def lines(self) -> list[list[dict[str, Any]]]:
        """Return the pairs of each whole round, as played."""
        from robust_rl.alignment.jsonl import read_lines

        return [read_lines(self._folder(t) / "pairs.jsonl") for t in range(self.completed)]

    def _play(self, folder: Path) -> list[dict[str, Any]]:
        adapter = self._folder(self.completed - 1) / "policy" if self.completed else None

        def respond(prompts: Sequence[Prompt], seed: int) -> list[str]:
            return self.generator.generate(prompts, seed=seed, adapter=adapter)

        def calibrate(prompts: Sequence[Prompt], seed: int) -> dict[str, Sequence[Any]]:
            return {self.args.calibration_column: self.generator.generate(prompts, seed=seed, adapter=None)}

        return play_round(
            folder / "pairs.jsonl",
            self._prompts_of(self.completed),
            (respond, respond),
            self.judge,
            seed=self.args.seed + 1 + self.completed,
            batch_size=self.args.generation_batch_size,
            more=calibrate if self.args.calibration == "reference" else None,
        )

    def _train(self, folder: Path) -> VPOTrainer:
        from robust_rl.alignment.jsonl import read_lines

        args, t = self._round_args(folder), self.completed
        rounds = [*self.lines(), read_lines(folder / "pairs.jsonl")]
        kept = buffered(rounds, args.buffer, args.buffer_window, args.keep_ties)
        if not kept:
            raise InvalidArgumentError(
                f"round {t}: all responses of the buffer are ties; draw longer or other responses, or set keep_ties"
            )
        columns = [args.calibration_column] if args.calibration == "reference" else []
        trainer = VPOTrainer(
            model=self._bare_model(),
            ref_model=self.reference,
            args=args,
            train_dataset=Dataset.from_list(preference_rows(kept, columns)),
            processing_class=self.tokenizer,
            peft_config=self.peft_config,
            callbacks=[RunCallback(self.run_directory, offset=t * args.steps_per_round)],
        )
        if self.peft_config is not None and t > 0:
            weights = load_peft_weights(str(self._folder(t - 1) / "policy"), device=str(args.device))
            set_peft_model_state_dict(trainer.model, weights)
        if args.keep_optimizer and t > 0:
            trainer.create_optimizer()
            load_state(trainer.optimizer, self._folder(t - 1) / "optimizer.safetensors")
        trainer.train()
        if args.keep_optimizer:
            save_state(trainer.optimizer, folder / "optimizer.safetensors")
        self.model = trainer.model
        return trainer

    def _bare_model(self) -> Any:
        """Return what the next trainer starts from: all weights of the policy, or the model without adapter."""
        model = self.model.unload() if is_peft_model(self.model) else self.model
        for module in (model, self.reference):
            if module is not None:  # trainers patch forward on the instance; without this the patches would pile up
                module.__dict__.pop("forward", None)
        return model

    def _take_policy(self, folder: Path) -> None:
        if self.peft_config is not None:
            self.model = PeftModel.from_pretrained(self.model, str(folder))
        else:
            policy = AutoModelForCausalLM.from_pretrained(str(folder), dtype=self.model.dtype)
            self.model.load_state_dict(policy.state_dict())

    def _round_args(self, folder: Path) -> OnlineVPOConfig:
        args, t = copy.copy(self.args), self.completed
        args.model_init_kwargs = None  # the model is loaded
        args.max_steps, args.seed, args.save_strategy = args.steps_per_round, args.seed + t, "no"
        args.vpo_alpha = args.vpo_alpha * args.vpo_alpha_decay**t
        args.output_dir, args.calibration_directory = str(folder), str(folder / "calibration")
        return args

    def _prompts_of(self, t: int) -> list[Prompt]:
        """Return round t's prompts: the next of an order that is drawn anew each time that all have had their turn."""
        count, size = len(self.prompts), self.args.prompts_per_round
        places = range(t * size, (t + 1) * size)
        orders = {
            epoch: np.random.default_rng([self.args.seed, epoch]).permutation(count) for epoch in {i // count for i in places}
        }
        return [self.prompts[orders[i // count][i % count]] for i in places]

    def _figures(self, lines: Sequence[dict[str, Any]]) -> dict[str, float]:
        texts = [line[which] for line in lines for which in ("chosen", "rejected")]
        words = [text.split() for text in texts]
        figures = {
            "round/pairs": float(len(lines)),
            "round/ties": float(sum(line["tie"] for line in lines)),
            "round/words": float(np.mean([len(each) for each in words])),
            # 1 where no word comes twice; a reward that is gamed by repetition shows here
            "round/distinct_words": float(np.mean([len(set(each)) / len(each) for each in words if each] or [0.0])),
        }
        reward = getattr(self.judge, "reward", None)
        if reward is not None:
            prompts = [prompt_text(line["prompt"]) for line in lines for _ in range(2)]
            figures["round/reward"] = float(np.mean([reward(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]))
        return figures

    def _log(self, figures: dict[str, float]) -> None:
        step = (self.completed + 1) * self.args.steps_per_round
        board = TensorBoardLogger(self.run_directory)
        self.run_directory.log(step, figures)
        board.log(step, figures)
        board.close()
        self.run_directory.metrics()  # hands what is buffered to the system: a kill must not cost a whole round's lines

    def _folder(self, t: int) -> Path:
        return Path(self.args.output_dir) / "rounds" / f"round_{t:03d}"

    def _whole_rounds(self) -> int:
        t = 0
        while (self._folder(t) / "round.json").exists():
            t += 1
        return t

    def _last_record(self) -> dict[str, Any]:
        return read_json(self._folder(self.completed - 1) / "round.json") if self.completed else {}

    def _settings(self) -> dict[str, Any]:
        from robust_rl.alignment.vpo import changed

        judge = getattr(self.judge, "__name__", type(self.judge).__name__)  # a repr with an address would differ on resuming
        return {"model": self.name, "judge": judge, "prompts": len(self.prompts), "training": changed(self.args)}
