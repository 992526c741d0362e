"""The context manager that puts LESS into a model, and takes it out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicSlidingWindowLayer
from transformers.masking_utils import sdpa_mask

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.less.attention import less_attention
from robust_rl.extras.less.cache import LessCache, LessLayer
from robust_rl.extras.less.kernels import LessKernels, layer_kinds
from robust_rl.extras.less.policies import Policy

NAME = "less"
REPLACED = ("sdpa", "eager")


@contextmanager
def less(model: Any, kernels: LessKernels | None, policy: Policy) -> Iterator[Callable[[], LessCache]]:
    """Run a model with a cache of fixed size.

    Inside the block every forward pass needs a cache of ``make_cache``, a fresh one for each prompt::

        with less(model, kernels, policy=H2O(heavy=102, recent=102)) as make_cache:
            model.generate(**inputs, past_key_values=make_cache())

    The first pass over a prompt is full attention; then the policy chooses what to keep of it, in one go. A later pass over
    several tokens (a second turn of a chat, a prompt in pieces) attends to what is held and to the state.

    Parameters
    ----------
    model
        A transformers decoder whose layers call a registered attention function: Llama, Qwen, Mistral, Gemma, Phi, OPT, GPT-2,
        GPT-NeoX and others. Layers with a sliding window keep their own cache.
    kernels
        Fitted by :func:`~robust_rl.extras.less.fit_less`; None drops tokens for good, the policy alone.
    policy
        What to keep.

    Yields
    ------
    make_cache
        Returns an empty cache.

    Raises
    ------
    InvalidArgumentError
        The model can't be served, is in training mode, or isn't the one that the kernels are for.
    """
    check_model(model)
    if kernels is not None:
        kernels.check_fits(model.config)
        lies = next(kernels.parameters()).device
        if lies != model.device:
            raise InvalidArgumentError(
                f"the kernels lie on {lies} and the model on {model.device}; call kernels.to(model.device)"
            )
    kinds = layer_kinds(model.config)

    def make_cache() -> LessCache:
        window = getattr(model.config.get_text_config(), "sliding_window", None)
        return LessCache(
            [
                LessLayer(policy, None if kernels is None else kernels.of(i))
                if kind == "full_attention"
                else DynamicSlidingWindowLayer(window)
                for i, kind in enumerate(kinds)
            ]
        )

    with attention_of(model, NAME, less_attention):
        yield make_cache


@contextmanager
def attention_of(model: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Let a model use an attention function, with the masks of sdpa, and restore what it had."""
    before = model.config._attn_implementation
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)  # a name without masks would lose the padding without a word
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def check_model(model: Any) -> None:
    """Raise unless LESS can serve a model.

    Raises
    ------
    InvalidArgumentError
        It can't; the message says why.
    """
    kind, config = type(model).__name__, getattr(model, "config", None)
    if hasattr(model, "_orig_mod"):
        raise InvalidArgumentError("the model is compiled, and the cache changes its shapes; give the model itself, uncompiled")
    if config is None or not getattr(model, "_supports_attention_backend", False):
        raise InvalidArgumentError(
            f"{kind} has attention of its own, which no registered function replaces (as Falcon has); LESS can't reach it"
        )
    if config.is_encoder_decoder:
        raise InvalidArgumentError(f"{kind} is an encoder-decoder; LESS serves decoders")
    if model.training:
        raise InvalidArgumentError("the model is in training mode; call model.eval() first")
    if config._attn_implementation not in REPLACED:
        raise InvalidArgumentError(
            f"LESS takes the place of sdpa or eager attention, and this model uses {config._attn_implementation!r}; "
            'call model.set_attn_implementation("sdpa") first'
        )
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None:
        raise InvalidArgumentError(f"{kind} caps its attention logits, which LESS does not know; LESS needs plain softmax")
    layer_kinds(config)
