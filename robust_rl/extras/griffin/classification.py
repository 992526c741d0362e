"""The input without its last token as the prompt, and the last token through the neurons that the others used.

For tasks that score an input by its last token and generate nothing: keys and values of all tokens are the full model's, since
only the last token's Z is set to zero outside E, in each layer. Every input of a batch has a set of its own, for a mask, unlike
smaller weights, may differ by row. Nothing is saved: this measures what pruning does to such tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin.blocks import Block
from robust_rl.extras.griffin.hooks import Hooked
from robust_rl.extras.griffin.selection import select, squares


class LastTokenPruning(Hooked):
    """What :func:`~robust_rl.extras.griffin.griffin` returns for classification; see there.

    Attributes
    ----------
    blocks, counts
        As :class:`~robust_rl.extras.griffin.generation.Pruning` has them.
    indices : dict of str to Tensor
        Neurons kept for each input of the last batch, sorted, (B, k), by block.
    """

    needs_cache = False

    def __init__(
        self, model: Any, blocks: list[Block], counts: Sequence[int], rule: str | Mapping[str, Tensor], *, seed: int
    ) -> None:
        super().__init__(model)
        self.blocks, self.counts, self.rule, self.seed = blocks, counts, rule, seed
        self.indices: dict[str, Tensor] = {}
        self._generator = torch.Generator()
        self._before_last = self._last = torch.empty(0)

    def __enter__(self) -> Self:
        super().__enter__()
        self._generator.manual_seed(self.seed)
        for block, k in zip(self.blocks, self.counts, strict=True):
            self.hooks.append(block.output.register_forward_pre_hook(self._masking(block.name, k)))
        return self

    def before_forward(self, valid: Tensor, held: int) -> None:
        """Find the last token of each input."""
        if held:
            raise InvalidArgumentError(f"griffin for classification takes whole inputs; the cache holds {held} tokens already")
        if (valid.sum(1) < 2).any():
            raise InvalidArgumentError("griffin for classification needs at least two tokens: all but the last are the prompt")
        places = torch.arange(1, valid.shape[1] + 1, device=valid.device)
        last = (valid * places).argmax(1, keepdim=True)
        self._last = torch.zeros_like(valid).scatter(1, last, True)
        self._before_last = valid & ~self._last

    def _masking(self, name: str, k: int) -> Any:
        def mask_last(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            z = args[0].view(*self._last.shape, -1)  # OPT runs its blocks on (B S, d)
            with torch.no_grad():
                self.indices[name] = kept = self._choose(name, k, z.detach())
            outside = torch.ones_like(z[:, 0], dtype=torch.bool).scatter(1, kept, False)
            masked = z.masked_fill(self._last[..., None] & outside[:, None], 0.0)
            return (masked.view(args[0].shape),)

        return mask_last

    def _choose(self, name: str, k: int, z: Tensor) -> Tensor:
        if not isinstance(self.rule, str):
            return self.rule[name].to(z.device).expand(len(z), -1)
        statistics = squares(z, self._before_last).sqrt()
        return torch.stack([select(self.rule, row, k, self._generator) for row in statistics])
