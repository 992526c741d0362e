"""What LESS brings beside the policy alone, and beside the policy with as many more tokens as the state takes ("Baseline+").

R/2 tokens of keys and values are as large as a state of rank R, so that the fair control is ``policy.plus(R / 2)``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.capture import capture
from robust_rl.extras.less.context import check_model, less
from robust_rl.extras.less.fitting import LayerData, squared_errors
from robust_rl.extras.less.kernels import LessKernels
from robust_rl.extras.less.policies import Policy
from robust_rl.extras.llm_evaluation import Fidelity, continuation_logits, fidelity, held_bytes, step_times

METHODS = ("policy", "policy+", "LESS")


@torch.no_grad()
def attention_errors(model: Any, kernels: LessKernels, policy: Policy, tokens: Tensor) -> dict[int, dict[str, float]]:
    """Return how far each layer's attention output is from that of the full model, token by token as in decoding.

    Parameters
    ----------
    model, kernels, policy
        As :func:`less` takes them.
    tokens
        Token ids (N, S), longer than the budget and the state's worth of tokens.

    Returns
    -------
    dict
        Layer with kernels -> method (``policy``, ``policy+``, ``LESS``) -> sum of squares of the error, as a share of that of the
        output, over the positions at which even ``policy+`` has dropped something.

    Raises
    ------
    InvalidArgumentError
        LESS can't serve the model, or the sequences are too short.
    """
    check_model(model)
    kernels.check_fits(model.config)
    more = policy.plus(state_worth(kernels))
    if tokens.shape[1] <= more.budget:
        raise InvalidArgumentError(f"sequences have {tokens.shape[1]} tokens; give more than the {more.budget} of {more}")
    sums = {layer: dict.fromkeys((*METHODS, "output"), 0.0) for layer in kernels.layers}
    for row in tokens.to(model.device).split(1):
        for layer, one in capture(model, row, kernels.layers).items():
            data, plus = LayerData.of([one], policy), LayerData.of([one], more)
            nothing = replace(data, sparse=torch.zeros_like(data.sparse))
            for name, case, learned in (
                ("policy", data, None),
                ("policy+", plus, None),
                ("LESS", data, kernels.of(layer)),
                ("output", nothing, None),
            ):
                sums[layer][name] += float(sum(squared_errors(case, one.projection, learned, more.budget)))
    return {layer: {name: found[name] / found["output"] for name in METHODS} for layer, found in sums.items()}


def evaluate_less(
    model: Any, kernels: LessKernels, policy: Policy, tokens: Tensor, prompt: int, *, steps: int = 16
) -> dict[str, dict[str, float]]:
    """Decode known continuations with the full cache, the policy alone, Baseline+ and LESS.

    Parameters
    ----------
    model, kernels, policy
        As :func:`less` takes them.
    tokens
        Token ids (N, S): prompts and what follows them.
    prompt
        Tokens of the prompt, from 1 to S - 1; the others are the continuation.
    steps
        Decoding steps to time after the first sequence's prompt.

    Returns
    -------
    dict
        Method (``full``, ``policy``, ``policy+``, ``LESS``) -> ``perplexity``, ``kl`` to the full model, ``agreement`` with its
        first choice, ``step_ms`` (processor time, median) and ``cache_bytes`` at the end of a continuation.

    Raises
    ------
    InvalidArgumentError
        LESS can't serve the model, or there is no prompt or no continuation.
    """
    if not 1 <= prompt < tokens.shape[1]:
        raise InvalidArgumentError(f"prompt is {prompt}; it must leave a continuation in sequences of {tokens.shape[1]} tokens")
    methods = ways(model, kernels, policy)
    parts: dict[str, list[Fidelity]] = {name: [] for name in methods}
    held = {}
    for row in tokens:
        head, tail = row[:prompt], row[prompt:]
        full = None
        for name, way in methods.items():
            with way() as make_cache:
                cache = make_cache()
                # the full model's tokens may come all at once
                logits = continuation_logits(model, head, tail, cache=cache, chunk=None if name == "full" else 1)
            full = logits if full is None else full
            parts[name].append(fidelity(full, logits, tail))
            held[name] = held_bytes(cache)
    figures = {}
    for name, way in methods.items():
        with way() as make_cache:
            times = step_times(model, tokens[0, :prompt], steps, cache=make_cache())
        summary = Fidelity.pooled(parts[name]).summary()
        figures[name] = {key: summary[key] for key in ("perplexity", "kl", "agreement")}
        figures[name] |= {"step_ms": 1000 * float(np.median(times.cpu)), "cache_bytes": held[name]}
    return figures


def ways(model: Any, kernels: LessKernels, policy: Policy) -> dict[str, Callable[[], Any]]:
    """Return the methods to compare: context managers that yield a maker of caches."""
    from transformers import DynamicCache

    return {
        "full": lambda: nullcontext(lambda: DynamicCache(config=model.config)),
        "policy": lambda: less(model, None, policy),
        "policy+": lambda: less(model, None, policy.plus(state_worth(kernels))),
        "LESS": lambda: less(model, kernels, policy),
    }


def state_worth(kernels: LessKernels) -> int:
    """Return the tokens whose keys and values are as large as a state: R D numbers against 2 D a token."""
    return max(1, kernels.rank // 2)
