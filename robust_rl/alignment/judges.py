"""Judges say whose response is better.

A judge is any function ``(prompt, first, second, rng) -> bool``, as in :mod:`robust_rl.envs.games.duel_v0`: whether the
first response is better. :class:`RewardJudge` makes one of a reward ``(prompt, response) -> float``, by Bradley and
Terry's model or by the larger reward; rewards are any function, a :class:`Lexicon`, a :class:`RewardModel`, or another program
behind a :class:`CommandReward`.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from robust_rl.envs.preferences import bradley_terry
from robust_rl.errors import FileFormatError, InvalidArgumentError, JudgeError, loadable

Reward = Callable[[str, str], float]
Judge = Callable[[str, str, str, np.random.Generator], bool]
RULES = ("sample", "argmax")

# a handful of words with their valence, for tests and first steps
WORDS = {
    "good": 1.9, "great": 3.1, "happy": 2.7, "love": 3.2, "nice": 1.8, "wonderful": 2.7, "excellent": 2.7, "enjoy": 2.2,
    "kind": 2.4, "beautiful": 2.9, "bad": -2.5, "sad": -2.1, "hate": -2.7, "terrible": -2.1, "awful": -2.0, "poor": -2.1,
    "angry": -2.3, "ugly": -2.3, "boring": -1.3, "worst": -3.1,
}  # fmt: skip


class RewardJudge:
    """Judges by a reward.

    Parameters
    ----------
    reward
        ``reward(prompt, response) -> float``; asked once for each response.
    rule
        ``"sample"``: the first wins with probability sigmoid(r(first) - r(second)), as Bradley and Terry have it, and
        as VPO's data are supposed to come about. ``"argmax"``: the larger reward wins; a coin decides between equals.

    Raises
    ------
    InvalidArgumentError
        The rule is unknown.
    """

    def __init__(self, reward: Reward, rule: str = "sample") -> None:
        if rule not in RULES:
            raise InvalidArgumentError(f"rule is {rule!r}; it must be one of {', '.join(RULES)}")
        self.rule = rule
        self.reward = lru_cache(maxsize=4096)(checked(reward))

    def __call__(self, prompt: str, first: str, second: str, rng: np.random.Generator) -> bool:
        """Return whether the first response wins; raises JudgeError if the reward fails or is not finite."""
        one, other = self.reward(prompt, first), self.reward(prompt, second)
        if self.rule == "sample":
            return bool(bradley_terry(one, other, rng))
        return bool(rng.random() < 0.5) if one == other else one > other


class Lexicon:
    """The reward of words: their summed valence s, as s / sqrt(s^2 + 15), which is VADER's scale from -1 to 1.

    Repeating one good word is rewarded: watch distinct tokens beside it.

    Parameters
    ----------
    words
        Word, in lower case -> valence. Default: twenty common ones.
    scale
        Multiplies the reward; the larger, the surer a Bradley-Terry judge.
    """

    def __init__(self, words: Mapping[str, float] | None = None, scale: float = 1.0) -> None:
        self.words = dict(WORDS if words is None else words)
        self.scale = scale

    @classmethod
    def read(cls, path: str | Path, scale: float = 1.0) -> Self:
        """Read a lexicon of lines ``word<TAB>valence``, further columns ignored: the form of ``vader_lexicon.txt``.

        Raises
        ------
        FileFormatError
            The file is missing, or a line is of another form.
        """
        words = {}
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FileFormatError(f"cannot read {path}: {error}") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    word, valence = line.split("\t")[:2]
                    words[word.lower()] = float(valence)
                except ValueError:
                    raise FileFormatError(f"{path}, line {number}: expected a word, a tab and a number, not {line!r}") from None
        return cls(words, scale)

    def __call__(self, prompt: str, response: str) -> float:
        """Return the response's reward."""
        total = sum(self.words.get(word, 0.0) for word in re.findall(r"[\w']+", response.lower()))
        return self.scale * total / math.sqrt(total * total + 15)


class RewardModel:
    """The reward of a sequence-classification model with one output.

    Parameters
    ----------
    model
        Its name, path, or the model itself. By name, weights are read from safetensors alone, and no code that comes with them is
        run.
    tokenizer
        Its tokenizer; None loads the one beside it.
    device
        Where to put it.

    Raises
    ------
    InvalidArgumentError
        The model has several outputs.
    """

    def __init__(self, model: Any, tokenizer: Any = None, device: str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        with loadable(model, "a reward model"):
            plain = {"trust_remote_code": False}
            self.tokenizer = AutoTokenizer.from_pretrained(model, **plain) if tokenizer is None else tokenizer
            if isinstance(model, str):
                kind = AutoModelForSequenceClassification
                model = kind.from_pretrained(model, num_labels=1, use_safetensors=True, **plain)
        if model.config.num_labels != 1:
            raise InvalidArgumentError(f"the reward model has {model.config.num_labels} outputs; a reward is one")
        self.model = model.to(device).eval()

    def __call__(self, prompt: str, response: str) -> float:
        """Return the reward: by the tokenizer's chat template if it has one, else of prompt and response joined."""
        import torch

        text = prompt + response
        if self.tokenizer.chat_template is not None:
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
            text = self.tokenizer.apply_chat_template(messages, tokenize=False)
        inputs = self.tokenizer(text, return_tensors="pt", truncation=True).to(self.model.device)
        with torch.no_grad():
            return float(self.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0, 0])


class CommandReward:
    """The reward of a program: it reads ``{"prompt": .., "response": ..}`` from its input and prints a number.

    Parameters
    ----------
    command
        The program and its arguments, as in a shell, though none is started.
    timeout
        Seconds that an answer may take.

    Raises
    ------
    InvalidArgumentError
        The command is empty, or its quotes don't match.
    """

    def __init__(self, command: str, timeout: float = 600.0) -> None:
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            raise InvalidArgumentError(f"judge command {command!r}: {error}") from None
        if not self.arguments:
            raise InvalidArgumentError("the judge's command is empty; give a program and its arguments")
        self.timeout = timeout

    def __call__(self, prompt: str, response: str) -> float:
        """Return the number that the program printed; raises JudgeError with its last words if it fails or prints none."""
        asked = json.dumps({"prompt": prompt, "response": response})
        done = subprocess.run(self.arguments, input=asked, capture_output=True, text=True, timeout=self.timeout, check=False)
        if done.returncode:
            raise JudgeError(f"{self.arguments[0]} exited with {done.returncode}: {done.stderr.strip()[-200:]}")
        return float(done.stdout)


def judge_by_name(name: str, rule: str = "sample", device: str = "cpu") -> RewardJudge:
    """Return the judge that a command line names.

    Parameters
    ----------
    name
        ``lexicon`` (twenty words), ``lexicon:FILE``, ``model:NAME`` (a sequence-classification model),
        ``command:PROGRAM ARGUMENTS`` (see :class:`CommandReward`), or ``pkg.module:function``, a reward
        ``(prompt, response) -> float``. **The last two run the code that they name.**
    rule, device
        As for :class:`RewardJudge` and :class:`RewardModel`.

    Raises
    ------
    InvalidArgumentError
        There is no such function.
    """
    kind, _, rest = name.partition(":")
    if kind == "lexicon":
        return RewardJudge(Lexicon.read(rest) if rest else Lexicon(), rule)
    if not rest:
        raise InvalidArgumentError(
            f"judge {name!r} is none of lexicon, lexicon:FILE, model:NAME, command:PROGRAM, pkg.module:function"
        )
    if kind == "model":
        return RewardJudge(RewardModel(rest, device=device), rule)
    if kind == "command":
        return RewardJudge(CommandReward(rest), rule)
    try:
        reward = getattr(importlib.import_module(kind), rest)
    except (ImportError, AttributeError) as error:
        raise InvalidArgumentError(f"judge {name!r}: {error}") from error
    return RewardJudge(reward, rule)


def checked(reward: Reward) -> Reward:
    """Return the reward, raising JudgeError where it fails or is not finite."""

    def asked(prompt: str, response: str) -> float:
        try:
            value = float(reward(prompt, response))
        except Exception as error:
            raise JudgeError(f"the judge failed on the prompt {_short(prompt)}: {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise JudgeError(f"the judge gave {value} to the response {_short(response)} to {_short(prompt)}; a reward is finite")
        return value

    return asked


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
