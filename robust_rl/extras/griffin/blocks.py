"""Feed-forward blocks of transformers' language models, and how to run them on some of their neurons.

    FF(x) = act(x W_g) * (x W_1) W_2 + b_2    gated            FF(x) = act(x W_1 + b_1) W_2 + b_2    plain

Neuron i is row i of W_g, W_1 and b_1 and column i of W_2 (as ``nn.Linear`` lays them out). A block that keeps the neurons E
computes FF with the other entries of Z, which is what W_2 is applied to, set to zero.

Blocks are known by the names of their projections, so that every model that keeps to them is covered:

=====================================================  ================================  ==================
family                                                 input projections                 output projection
=====================================================  ================================  ==================
Llama, Qwen2, Qwen3, Mistral, Gemma, Gemma 2, Gemma 3  ``gate_proj``, ``up_proj``        ``down_proj``
Phi-3 (gate rows, then up rows, in one matrix)         ``gate_up_proj``                  ``down_proj``
Phi, OPT                                               ``fc1``                           ``fc2``
Falcon, GPT-NeoX                                       ``dense_h_to_4h``                 ``dense_4h_to_h``
GPT-2 (weights the other way round)                    ``c_fc``                          ``c_proj``
=====================================================  ================================  ==================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from robust_rl.errors import InvalidArgumentError

OUTPUTS = {
    "down_proj": (("gate_proj", "up_proj"), ("gate_up_proj",)),
    "fc2": (("fc1",),),
    "dense_4h_to_h": (("dense_h_to_4h",),),
    "c_proj": (("c_fc",),),
}
"""Output projection -> the sets of input projections that it goes with."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass
class Block:
    """One feed-forward block.

    Attributes
    ----------
    name
        Of the module that holds the projections, within the model.
    inputs, output
        The projections.
    neurons
        D_FF.
    """

    name: str
    inputs: tuple[nn.Module, ...]
    output: nn.Module
    neurons: int
    _full: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list, repr=False)

    @property
    def is_reduced(self) -> bool:
        """Whether some neurons are left out at present."""
        return bool(self._full)

    def reduce(self, kept: Tensor, offload: bool = False) -> None:
        """Leave only the neurons ``kept``, sorted indices (k,); ``offload`` moves the whole weights to the CPU meanwhile."""
        self.restore()
        rows = kept if len(kept) else kept.new_zeros(1)  # no map has width 0: keep one neuron that says nothing
        for parameter, axis, copies in self._neuron_axes():
            whole = parameter.data
            parameter.data = whole.index_select(axis, torch.cat([rows + copy * self.neurons for copy in range(copies)]))
            self._full.append((parameter, whole.cpu() if offload else whole))
        self._tell_widths(len(rows))
        if not len(kept):
            self.output.weight.data.zero_()  # type: ignore[union-attr, operator]

    def restore(self) -> None:
        """Put the whole weights back."""
        with torch.inference_mode(False):  # or what comes back from the CPU could not be written to later
            for parameter, whole in self._full:
                parameter.data = whole.to(parameter.device)
        self._full.clear()
        self._tell_widths(self.neurons)

    def magnitudes(self) -> Tensor:
        """Return the norms ||W_g[i]|| ||W_1[i]||, or ||W_1[i]|| of a plain block, (D_FF,) in float32."""
        product = torch.ones(self.neurons, device=self.output.weight.device)  # type: ignore[union-attr, arg-type]
        for parameter, axis, copies in self._neuron_axes():
            if parameter.dim() == 2 and parameter is not self.output.weight:
                norms = parameter.detach().float().norm(dim=1 - axis)
                product *= norms.view(copies, self.neurons).prod(0)
        return product

    def neuron_weights(self) -> list[nn.Parameter]:
        """Return the parameters that have neurons, whole or reduced."""
        return [parameter for parameter, _, _ in self._neuron_axes()]

    def _neuron_axes(self) -> Iterator[tuple[nn.Parameter, int, int]]:
        """Yield each parameter that has neurons, along which axis, and how many times over (a fused matrix: twice)."""
        for projection in self.inputs:
            axis = 1 if isinstance(projection, Conv1D) else 0
            weight: Any = projection.weight
            copies = weight.shape[axis] // self.neurons
            yield weight, axis, copies
            if projection.bias is not None:
                yield projection.bias, 0, copies  # type: ignore[misc]
        yield self.output.weight, 0 if isinstance(self.output, Conv1D) else 1, 1  # type: ignore[misc]

    def _tell_widths(self, width: int) -> None:
        """Conv1D reads its output size from an attribute, Linear from its weight."""
        for projection in self.inputs:
            if isinstance(projection, Conv1D):
                projection.nf = width


def find_blocks(model: Any) -> list[Block]:
    """Return the feed-forward blocks of a causal language model, first layer first.

    Raises
    ------
    InvalidArgumentError
        If one of the blocks can't be run on some of its neurons; the message says why.
    """
    _check_model(model)
    blocks = [block for name, module in model.named_modules() for block in _block(name, module)]
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    if len(blocks) != layers:
        raise InvalidArgumentError(
            f"{_kind(model)} has {layers} layers, and {len(blocks)} feed-forward blocks with known projections "
            f"({', '.join(sorted(OUTPUTS))}); one a layer is needed"
        )
    for block in blocks:
        _check_block(model, block)
    if len({id(block.output.weight) for block in blocks}) < layers:
        raise InvalidArgumentError(f"{_kind(model)}: layers share their feed-forward weights; each needs its own")
    return blocks


def is_compiled(model: Any) -> bool:
    """Whether ``torch.compile`` made the model, or ``model.compile()`` changed it."""
    return hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None


def _block(name: str, module: nn.Module) -> Iterator[Block]:
    children = dict(module.named_children())
    for output, choices in OUTPUTS.items():
        for names in choices:
            if output in children and all(each in children for each in names):
                down = children[output]
                weight: Any = getattr(down, "weight", None)
                neurons = 0 if weight is None or weight.dim() < 2 else weight.shape[0 if isinstance(down, Conv1D) else 1]
                yield Block(name, tuple(children[each] for each in names), down, neurons)


def _check_model(model: Any) -> None:
    kind, reason = _kind(model), None
    if is_compiled(model):
        raise InvalidArgumentError(f"{kind} is compiled, and its weights would change shape; give the model before that")
    if not isinstance(model, PreTrainedModel):
        raise InvalidArgumentError(f"griffin takes a causal language model of transformers, not {kind}")
    if model.config.is_encoder_decoder:
        reason = "is an encoder-decoder; a decoder is needed, whose prompt goes through the layers that generate"
    elif any(name.rpartition(".")[2] == "experts" for name, _ in model.named_modules()):
        reason = "is a mixture of experts: tokens differ in which expert's neurons they use; a dense model is needed"
    elif getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None) is not None:
        reason = "is quantised, and packed weights have no rows to leave out; load it in bfloat16, say"
    elif model.training:
        reason = "is in training mode; call model.eval() first"
    elif len({parameter.device for parameter in model.parameters()}) > 1:
        reason = "lies on several devices, or partly offloaded; load it onto one"
    if reason:
        raise InvalidArgumentError(f"{kind} {reason}")


def _check_block(model: Any, block: Block) -> None:
    where = f"{_kind(model)}, {block.name}"
    for projection in (*block.inputs, block.output):
        if not isinstance(projection, nn.Linear | Conv1D):
            raise InvalidArgumentError(
                f"{where}: a projection is a {type(projection).__module__}.{type(projection).__name__}, not a plain linear map; "
                "merge adapters first (merge_and_unload), load without quantisation"
            )
        if type(projection.weight.data) is not Tensor or projection.weight.is_meta or projection.weight.dtype not in DTYPES:
            raise InvalidArgumentError(
                f"{where}: weights are sharded, not loaded or packed ({type(projection.weight.data).__name__}, "
                f"{projection.weight.device}, {projection.weight.dtype}); load the model whole, onto one device"
            )
    for parameter, axis, copies in block._neuron_axes():
        if parameter.shape[axis] != copies * block.neurons or not 1 <= copies <= 2:
            raise InvalidArgumentError(f"{where}: projections of {parameter.shape[axis]} and {block.neurons} neurons don't fit")
    ours = [id(parameter) for parameter in block.neuron_weights()]
    for name, parameter in model.get_submodule(block.name).named_parameters():
        if id(parameter) not in ours and name.count(".") <= 1 and parameter.shape[:1] == (block.neurons,):
            raise InvalidArgumentError(f"{where}: {name} acts on the neurons between the projections; such blocks aren't covered")


def _kind(model: Any) -> str:
    return type(model).__name__
