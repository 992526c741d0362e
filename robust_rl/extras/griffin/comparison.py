"""The full model and the pruned one side by side: how alike their distributions are, and how long a step of each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin.blocks import find_blocks
from robust_rl.extras.griffin.pruning import griffin
from robust_rl.extras.griffin.selection import count
from robust_rl.extras.llm_evaluation import Fidelity, Tokens, continuation_logits, fidelity, held_bytes, step_times
from robust_rl.training import Figure, Section, Table, write_report
from robust_rl.training.optional import require

Array = NDArray[np.float64]
NAMES = ("full", "pruned")


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    keep, select
        How the model was pruned.
    full_tokens, tokens
        What the full and the pruned model write after the prompt, greedily.
    fidelity
        Both on the full model's tokens.
    seconds
        Processor time of a step, a median a round, (rounds,), by ``"full"`` and ``"pruned"``.
    bound
        The most that a step could gain, were reading weights all that it did.
    memory
        Bytes of the weights held while decoding: ``"full"`` model, ``"pruned"`` with the smaller copies beside the whole weights,
        ``"offloaded"`` with those moved elsewhere.
    """

    keep: float
    select: str
    full_tokens: list[int]
    tokens: list[int]
    fidelity: Fidelity
    seconds: Mapping[str, Array]
    bound: float
    memory: Mapping[str, int]

    @property
    def speed_up(self) -> Array:
        """Full by pruned, a ratio a round: (rounds,)."""
        return self.seconds["full"] / self.seconds["pruned"]

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "keep": self.keep, "select": self.select, **self.fidelity.summary(),
            "first_difference": self.first_difference, "speed_up": float(np.median(self.speed_up)),
            "speed_up_range": [float(self.speed_up.min()), float(self.speed_up.max())], "bound": self.bound,
            "milliseconds": {name: 1000 * float(np.median(times)) for name, times in self.seconds.items()},
            "bytes": dict(self.memory),
        }  # fmt: skip

    @property
    def first_difference(self) -> int | None:
        """Place of the first token in which the two greedy texts differ, from 0; None if they don't."""
        pairs = zip(self.full_tokens, self.tokens, strict=False)
        return next((place for place, (one, other) in enumerate(pairs) if one != other), None)

    def __str__(self) -> str:
        found, (low, high) = self.summary(), self.summary()["speed_up_range"]
        return (
            f"a step takes {found['milliseconds']['pruned']:.1f} ms instead of {found['milliseconds']['full']:.1f}: "
            f"{found['speed_up']:.2f} times as fast ({low:.2f} to {high:.2f}), at most {self.bound:.2f} by the weights it reads\n"
            f"on the {found['tokens']} tokens of the full model: same most likely token {found['agreement']:.1%}, "
            f"KL {found['kl']:.4f} nats, perplexity {found['perplexity']:.3f} instead of {found['full_perplexity']:.3f}"
        )

    def write_report(self, path: Path, prompt: str, texts: Mapping[str, str]) -> Path:
        """Write a page with the figures, the distributions' distance token by token, and both texts by name."""
        figures = self.summary()
        rows = [[name, str(value) if isinstance(value, list | dict) else value] for name, value in figures.items()]
        title = f"GRIFFIN, {self.keep:g} of the neurons ({self.select})"
        sections = [
            Section("What it costs and saves", str(self), [Figure(self._picture()), Table(["figure", "value"], rows)]),
            Section("Texts", items=[Table(["", "text"], [["prompt", prompt], *map(list, texts.items())])]),
        ]
        return write_report(path, title, sections)

    def _picture(self) -> Any:
        require("matplotlib", "robust-rl[report]")
        from matplotlib.figure import Figure as Canvas

        canvas = Canvas(figsize=(8, 3), layout="constrained")
        left, right = canvas.subplots(1, 2, width_ratios=(3, 1))
        left.bar(np.arange(1, len(self.fidelity.kl) + 1), self.fidelity.kl, color=np.where(self.fidelity.agree > 0, "C0", "C3"))
        left.set(title="KL to the full model (red: another most likely token)", xlabel="token after the prompt", ylabel="nats")
        right.bar(NAMES, [1000 * np.median(self.seconds[name]) for name in NAMES], color=["C7", "C0"])
        right.set(title="a step", ylabel="milliseconds of processor time", ylim=(0, None))
        return canvas


def compare(
    model: Any,
    prompt: Tokens,
    *,
    keep: float = 0.5,
    select: str = "topk",
    tokens: int = 64,
    rounds: int = 5,
    steps: int = 16,
    seed: int = 0,
) -> Comparison:
    """Run the full and the pruned model after the same prompt.

    Parameters
    ----------
    model, keep, select, seed
        As for :func:`~robust_rl.extras.griffin.griffin`.
    prompt
        Token ids, (S,).
    tokens
        Tokens that both write, at most: the full model's end of a text ends the comparison, too.
    rounds, steps
        Rounds in which the two take turns at being timed, and steps that each is timed for in one.

    Raises
    ------
    InvalidArgumentError
        As ``griffin`` raises it, or a number below 1.
    """
    if min(tokens, rounds, steps) < 1:
        raise InvalidArgumentError(f"tokens={tokens}, rounds={rounds} and steps={steps} must be at least 1")
    pruning = griffin(model, keep, select, seed=seed)
    full_tokens = _greedy(model, prompt, tokens)
    full = continuation_logits(model, prompt, full_tokens)
    with pruning:
        found = fidelity(full, continuation_logits(model, prompt, full_tokens), full_tokens)
        pruned_tokens = _greedy(model, prompt, tokens)
        smaller = [weight for block in pruning.blocks if block.is_reduced for weight in block.neuron_weights()]
        memory = {"offloaded": held_bytes(model), "pruned": held_bytes(*smaller)}
    memory["full"] = held_bytes(model)
    memory["pruned"] += memory["full"]
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        seconds["full"].append(float(np.median(step_times(model, prompt, steps).cpu)))
        with pruning:
            seconds["pruned"].append(float(np.median(step_times(model, prompt, steps).cpu)))
    arrays = {name: np.array(times) for name, times in seconds.items()}
    return Comparison(keep, select, full_tokens, pruned_tokens, found, arrays, bandwidth_bound(model, keep), memory)


def bandwidth_bound(model: Any, keep: float | Sequence[float]) -> float:
    """Return how many times as fast a step could get, were its time that of reading each weight once.

    Of an embedding that isn't the output's, too, a step reads one row; keys and values are left out.
    """
    blocks = find_blocks(model)
    parts = keep if isinstance(keep, Sequence) else [keep] * len(blocks)
    embedding, output = model.get_input_embeddings().weight, model.get_output_embeddings()
    tied = output is not None and output.weight is embedding
    read = held_bytes(*model.parameters()) - (0 if tied else held_bytes(embedding))
    saved = 0.0
    for block, part in zip(blocks, parts, strict=True):
        left_out = 1 - count(block.neurons, part) / block.neurons
        saved += left_out * held_bytes(*block.neuron_weights())
    return read / (read - saved)


def _greedy(model: Any, prompt: Tokens, tokens: int) -> list[int]:
    ids = torch.as_tensor(prompt, dtype=torch.long, device=model.device)[None]
    # the model's own defaults, such as penalties for repetition, would make the two texts something else than most likely tokens
    plain = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "temperature": None, "top_p": None, "top_k": None}
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **plain)
    return list(map(int, written[0, ids.shape[1] :]))
