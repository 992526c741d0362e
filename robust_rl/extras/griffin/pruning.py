"""The context manager: its arguments, and the model it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin.blocks import Block, find_blocks, is_compiled
from robust_rl.extras.griffin.classification import LastTokenPruning
from robust_rl.extras.griffin.generation import Pruning, Several
from robust_rl.extras.griffin.hooks import check_free
from robust_rl.extras.griffin.selection import check_selection, count, select

Rule = str | Mapping[str, Tensor]


@overload
def griffin(
    model: Any, keep: float | Sequence[float] = ..., select: Rule = ..., *, mode: Literal["generation"] = ...,
    several: Several = ..., offload: bool = ..., seed: int = ...,
) -> Pruning: ...  # fmt: skip
@overload
def griffin(
    model: Any, keep: float | Sequence[float] = ..., select: Rule = ..., *, mode: Literal["classification"],
    several: Several = ..., offload: bool = ..., seed: int = ...,
) -> LastTokenPruning: ...  # fmt: skip
def griffin(
    model: Any,
    keep: float | Sequence[float] = 0.5,
    select: Rule = "topk",
    *,
    mode: Literal["generation", "classification"] = "generation",
    several: Several = "prompt",
    offload: bool = False,
    seed: int = 0,
) -> Pruning | LastTokenPruning:
    """Let a language model decode with the feed-forward neurons that its prompt used most.

    A context manager: within it every prompt goes through the whole model, and the tokens after it through ``keep`` of each
    block's neurons, in smaller weight matrices. Nothing is trained. On leaving, also by an error, the model is as it was.

    Parameters
    ----------
    model
        A dense, decoder-only language model of transformers in evaluation mode: Llama, Qwen2, Qwen3, Mistral, Gemma, Phi, Phi-3,
        OPT, Falcon, GPT-NeoX, GPT-2, or one whose feed-forward projections are named like theirs.
    keep
        Part of the neurons to keep, in [0, 1]; one for all layers or a sequence, first layer first. 1 changes no bit.
    select
        ``"topk"``, the paper's: those with the largest statistic. ``"sample"``: drawn with probabilities proportional to it.
        ``"topk_sample"``: half by each. Controls: ``"random"``, drawn anew for each prompt; ``"magnitude"``, those with the
        largest weights, whatever the prompt. Or the neurons themselves, by block, such as another prompt's ``indices``; ``keep``
        then says nothing.
    mode
        ``"classification"``: nothing is generated; in every input the tokens before the last choose the neurons of the last.
    several
        What several tokens at once are that follow on a cache which holds some already. ``"prompt"``: part of a prompt read in
        pieces, or the next turn of a talk, which then chooses anew by its own tokens. ``"step"``: candidates of assisted decoding
        to be checked, or a known continuation; they go through the neurons chosen before.
    offload
        Keep the whole weights in the memory of the CPU while a smaller copy is in use, so that the model's device holds less
        than the whole model while it decodes. Every prompt moves them there and back.
    seed
        Of what is drawn.

    Returns
    -------
    Pruning or LastTokenPruning
        For ``with ... as g``. ``g.indices``: the neurons kept for the last prompt, sorted, by block.

    Raises
    ------
    InvalidArgumentError
        For a model that this can't be done to (mixture of experts, quantised, sharded, compiled, adapters on the feed-forward
        projections, training mode), and for arguments out of range. Within the block, for a call without a cache, with a static
        one, or with an attention mask that doesn't tell which tokens pad.

    Notes
    -----
    A batch shares one set of neurons: the prompts' statistics, each scaled to length 1, are added up. Padding counts nowhere.
    Beams share their prompt's set. A prompt read in pieces whose last piece is a single token chooses before that token.

    Within the block the model's parameters are the smaller ones while it decodes: don't save, move or train it there.

    The smaller weights are copies beside the whole ones, unless ``offload``; what gets faster is that a step reads less memory.

    References
    ----------
    Dong, Chen and Chi, "Prompt-prompted Adaptive Structured Pruning for Efficient LLM Generation", arXiv:2404.01365.

    Examples
    --------
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=11)
    >>> model = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    >>> with griffin(model, keep=0.5) as g:
    ...     tokens = model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=4, do_sample=False)
    ...     model.model.layers[0].mlp.down_proj.weight.shape
    torch.Size([8, 8])
    >>> {name: len(kept) for name, kept in g.indices.items()}
    {'model.layers.0.mlp': 8}
    """
    inner = _language_model(model)
    check_free(inner)
    blocks = find_blocks(inner)
    counts = [count(block.neurons, part) for block, part in zip(blocks, _schedule(keep, len(blocks)), strict=True)]
    rule = _rule(select, blocks, counts)
    if several not in ("prompt", "step"):
        raise InvalidArgumentError(f"several={several!r} must be 'prompt' or 'step'")
    if mode == "generation":
        return Pruning(inner, blocks, counts, rule, several=several, offload=offload, seed=seed)
    if mode == "classification":
        return LastTokenPruning(inner, blocks, counts, rule, seed=seed)
    raise InvalidArgumentError(f"mode={mode!r} must be 'generation' or 'classification'")


def _language_model(model: Any) -> Any:
    """Return the model that ``generate`` calls: a wrapper, such as peft's, hands on to one of transformers."""
    if not isinstance(model, nn.Module) or is_compiled(model):
        return model
    return next((each for each in model.modules() if isinstance(each, PreTrainedModel)), model)


def _schedule(keep: float | Sequence[float], layers: int) -> Sequence[float]:
    parts = list(keep) if isinstance(keep, Sequence) else [keep] * layers
    if len(parts) != layers:
        raise InvalidArgumentError(f"keep has {len(parts)} numbers for {layers} layers; give one for all, or one for each")
    for part in parts:
        if not 0 <= part <= 1:
            raise InvalidArgumentError(f"keep={part} must lie in [0, 1]: the part of the neurons to keep")
    return parts


def _rule(rule: Rule, blocks: Sequence[Block], counts: Sequence[int]) -> Rule:
    """Return the rule, a set that no prompt changes as that set."""
    if isinstance(rule, str):
        check_selection(rule)
        if rule != "magnitude":
            return rule
        unused = torch.Generator()
        return {block.name: select(rule, block.magnitudes(), k, unused) for block, k in zip(blocks, counts, strict=True)}
    if set(rule) != {block.name for block in blocks}:
        raise InvalidArgumentError(f"select has neurons for {sorted(rule)}; give them for {[block.name for block in blocks]}")
    return {block.name: _checked(block, rule[block.name]) for block in blocks}


def _checked(block: Block, kept: Tensor) -> Tensor:
    kept = torch.as_tensor(kept, dtype=torch.long)
    unique: Tensor = kept.unique()  # sorted
    if kept.dim() != 1 or len(unique) < len(kept) or (len(kept) and not 0 <= unique[0] <= unique[-1] < block.neurons):
        raise InvalidArgumentError(
            f"select, {block.name}: give distinct indices in [0, {block.neurons}), one-dimensional; got {tuple(kept.shape)}, "
            f"{len(unique)} distinct"
        )
    return unique
