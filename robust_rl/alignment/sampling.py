"""Drawing responses from a causal language model, reproducibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from robust_rl.errors import InvalidArgumentError

Messages = Sequence[dict[str, Any]]
Prompt = str | Messages


def sample_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    eos_token_id: int | Sequence[int] | None,
    max_new_tokens: int,
    seed: int,
    temperature: float = 1.0,
) -> list[list[int]]:
    """Draw one response a prompt, token by token from the model's own distribution.

    No truncation to likely tokens (top-k, top-p) takes place, unless by ``temperature``: the responses are those of the
    policy whose log-probabilities are trained.

    Parameters
    ----------
    model
        A causal language model with ``generate``.
    prompts
        Token ids of each prompt, none empty.
    pad_token_id, eos_token_id
        Of the tokenizer; a response ends with its end-of-sequence token, unless it was cut at ``max_new_tokens``.
    max_new_tokens
        Longest response.
    seed
        Seeds this call alone: the same seed, prompts and model give the same responses, and the global generator is
        left as it was.
    temperature
        Divides the logits; 1 is the policy itself.

    Returns
    -------
    list of list of int
        The responses' token ids.
    """
    width = max(map(len, prompts))
    if not all(prompts):
        raise InvalidArgumentError("a prompt has no tokens; a response needs something to follow")
    device = model.device
    padded = [[pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    # everything that changes the distribution is said, for what is left out comes from the model's own defaults
    settings = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad_token_id,
        eos_token_id=eos_token_id,
    )
    with _seeded(seed, device), evaluating(model), torch.no_grad():
        output = model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=settings,
        )
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())
    return [_until(row[width:].tolist(), ends) for row in output]


def prompt_ids(tokenizer: Any, prompt: Prompt, **template: Any) -> list[int]:
    """Return a prompt's tokens: text as it is, messages by the tokenizer's chat template with its turn marker."""
    if isinstance(prompt, str):
        return list(tokenizer(text=prompt)["input_ids"])
    return list(
        tokenizer.apply_chat_template(list(prompt), tokenize=True, return_dict=True, add_generation_prompt=True, **template)[
            "input_ids"
        ]
    )


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and gradient checkpointing off within the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _until(ids: list[int], ends: set[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[: position + 1]
    return ids
