"""What a cheaper way of running a language model costs in fidelity, and what it saves in time and memory.

GRIFFIN and LESS leave the prompt's own logits as they are and change the tokens after it. So a prompt goes through the model
whole, a known continuation follows token by token, and at each of its tokens two next-token distributions are at hand: p of the
full model, q of the cheaper one.

======  ==========================  ===================================================
symbol  here                        meaning, shape
======  ==========================  ===================================================
T       ``len(continuation)``       tokens that follow the prompt
y       ``continuation``            those tokens, (T,)
p, q    softmax of ``full``,        distributions of the token at each place, (T, V)
        ``other``
======  ==========================  ===================================================

The first of the T distributions is the prompt's own and equal by construction; it is counted all the same.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robust_rl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from transformers import Cache

Tokens = Sequence[int] | Tensor
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fidelity:
    """Two models on the same continuation. All arrays are (T,), in nats.

    Attributes
    ----------
    full_nll, nll
        -log p(y) and -log q(y).
    kl
        KL(p || q).
    agree
        1.0 where p and q have the same most likely token.
    """

    full_nll: Array
    nll: Array
    kl: Array
    agree: Array

    @classmethod
    def pooled(cls, parts: Iterable[Fidelity]) -> Fidelity:
        """Join continuations; each token counts once."""
        parts = list(parts)
        if not parts:
            raise InvalidArgumentError("no continuation to pool; give at least one")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def summary(self) -> dict[str, float]:
        """Return perplexities, mean KL, agreement and the number of tokens."""
        return {
            "tokens": len(self.nll),
            "full_perplexity": math.exp(self.full_nll.mean()),
            "perplexity": math.exp(self.nll.mean()),
            "kl": float(self.kl.mean()),
            "agreement": float(self.agree.mean()),
        }


def continuation_logits(
    model: Any, prompt: Tokens, continuation: Tokens, *, cache: Cache | None = None, chunk: int | None = 1
) -> Tensor:
    """Return the logits of each token of a continuation, given the prompt and the tokens before it.

    Parameters
    ----------
    model
        A causal language model of transformers, in the state to be measured: inside ``with griffin(model):``, say.
    prompt, continuation
        Token ids, (S,) and (T,), at least one each.
    cache
        An empty one to use; None lets the model make its own.
    chunk
        Tokens of the continuation to a forward pass. 1 is what decoding does. More is faster, and the same up to rounding where
        the method treats tokens after the prompt alike, however many come at once (the full model, GRIFFIN); None is all of them.

    Returns
    -------
    Tensor, (T, V)
        On the model's device, in its dtype.

    Raises
    ------
    InvalidArgumentError
        No tokens, ``chunk`` below 1, or a cache that is not empty.
    """
    prompt_ids, tail = _row(model, prompt, "prompt"), _row(model, continuation, "continuation")
    if chunk is not None and chunk < 1:
        raise InvalidArgumentError(f"chunk={chunk} must be at least 1, or None for the whole continuation")
    size = chunk or tail.shape[1]
    with torch.no_grad():
        last, cache = _prefill(model, prompt_ids, cache)
        logits = [last]
        for start in range(0, tail.shape[1] - 1, size):
            tokens = tail[:, start : min(start + size, tail.shape[1] - 1)]
            logits.append(model(input_ids=tokens, past_key_values=cache, use_cache=True).logits[0])
    return torch.cat(logits)


def fidelity(full: Tensor, other: Tensor, continuation: Tokens) -> Fidelity:
    """Compare two models' logits on the tokens that came.

    Parameters
    ----------
    full, other
        Logits (T, V), as :func:`continuation_logits` returns them.
    continuation
        Token ids, (T,).

    Raises
    ------
    InvalidArgumentError
        The shapes don't fit.
    """
    y = torch.as_tensor(continuation, device=full.device)
    if full.shape != other.shape or full.shape[:1] != y.shape:
        raise InvalidArgumentError(
            f"logits {tuple(full.shape)} and {tuple(other.shape)} for {tuple(y.shape)} tokens; give (T, V) twice and (T,)"
        )
    log_p, log_q = (logits.double().log_softmax(-1) for logits in (full, other))
    return Fidelity(
        full_nll=_numpy(-log_p.gather(1, y[:, None])[:, 0]),
        nll=_numpy(-log_q.gather(1, y[:, None])[:, 0]),
        kl=_numpy((log_p.exp() * (log_p - log_q)).sum(-1)),
        agree=_numpy((full.argmax(-1) == other.argmax(-1)).double()),
    )


@dataclass(frozen=True)
class StepTimes:
    """Seconds of each decoding step, (steps,): by the clock on the wall, and of the processor, summed over threads."""

    wall: Array
    cpu: Array


def step_times(model: Any, prompt: Tokens, steps: int, *, cache: Cache | None = None, warm_up: int = 3) -> StepTimes:
    """Decode greedily after a prompt and time each step, the prompt left out.

    On a busy machine take the processor's time, and a median; compare methods in turns rather than one after the other.

    Parameters
    ----------
    model, prompt, cache
        As for :func:`continuation_logits`.
    steps
        Steps that are timed, at least 1.
    warm_up
        Steps before them.

    Raises
    ------
    InvalidArgumentError
        As :func:`continuation_logits`, or ``steps`` below 1.
    """
    if steps < 1 or warm_up < 0:
        raise InvalidArgumentError(f"steps={steps} must be at least 1, and warm_up={warm_up} at least 0")
    wall, cpu = np.empty(steps), np.empty(steps)
    with torch.no_grad():
        last, cache = _prefill(model, _row(model, prompt, "prompt"), cache)
        for step in range(-warm_up, steps):
            token = last[-1:].argmax(-1, keepdim=True)
            start = _clocks(token.device)
            last = model(input_ids=token, past_key_values=cache, use_cache=True).logits[0]
            end = _clocks(token.device)
            if step >= 0:
                wall[step], cpu[step] = end[0] - start[0], end[1] - start[1]
    return StepTimes(wall, cpu)


def held_bytes(*holders: Any, device: torch.device | str | None = None) -> int:
    """Return the bytes of memory behind the tensors of caches and modules, each block counted once.

    A tensor that is a view counts with all of the memory it keeps alive.

    Parameters
    ----------
    *holders
        Caches of transformers (every tensor attribute of each layer counts), modules (parameters and buffers), or tensors.
    device
        Count memory of this device alone.
    """
    blocks = {}
    for tensor in (tensor for holder in holders for tensor in _tensors(holder)):
        if device is None or tensor.device == torch.device(device):
            storage = tensor.untyped_storage()
            blocks[tensor.device, storage.data_ptr()] = storage.nbytes()
    return sum(blocks.values())


def _tensors(holder: Any) -> Iterable[Tensor]:
    if isinstance(holder, Tensor):
        return [holder]
    if isinstance(holder, torch.nn.Module):
        return [*holder.parameters(), *holder.buffers()]
    return [value for layer in holder.layers for value in vars(layer).values() if isinstance(value, Tensor)]


def _prefill(model: Any, prompt: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
    """Return the logits of the token after the prompt, (1, V), and the cache that holds it."""
    if cache is not None and cache.get_seq_length():
        raise InvalidArgumentError(f"the cache holds {cache.get_seq_length()} tokens already; give an empty one")
    # a long prompt's other logits would be the largest array of all
    known = inspect.signature(model.forward).parameters
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
    output = model(input_ids=prompt, past_key_values=cache, use_cache=True, **last_only)
    return output.logits[0, -1:], output.past_key_values


def _row(model: Any, tokens: Tokens, name: str) -> Tensor:
    row = torch.as_tensor(tokens, dtype=torch.long, device=model.device)
    if row.dim() != 1 or not len(row):
        raise InvalidArgumentError(f"{name} has shape {tuple(row.shape)}; give the token ids of one text, at least one")
    return row[None]


def _clocks(device: torch.device) -> tuple[float, float]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.process_time()


def _numpy(values: Tensor) -> Array:
    return values.cpu().numpy()
