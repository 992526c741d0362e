"""The prompt through the whole model, the tokens after it through the neurons that the prompt used.

    prompt      full weights; every block adds up its statistic                                    (section 2, steps 1 to 3)
    first step  E = the k largest entries; W_g[E], W_1[E], b_1[E], W_2[:, E] take the weights' places        (steps 4 and 5)
    steps       the model's own forward pass, with nothing of ours in it but a look at the cache

The prompt's logits give the first new token, so that one is the full model's. A forward pass is a prompt if the cache is empty
before it, however few its tokens are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin.blocks import Block
from robust_rl.extras.griffin.hooks import Hooked
from robust_rl.extras.griffin.selection import pooled, select, squares

Several = Literal["prompt", "step"]


class Pruning(Hooked):
    """What :func:`~robust_rl.extras.griffin.griffin` returns for generation; see there.

    Attributes
    ----------
    blocks : list of Block
        The model's feed-forward blocks, first layer first.
    counts : sequence of int
        How many neurons each keeps.
    """

    def __init__(
        self,
        model: Any,
        blocks: list[Block],
        counts: Sequence[int],
        rule: str | Mapping[str, Tensor],
        *,
        several: Several,
        offload: bool,
        seed: int,
    ) -> None:
        super().__init__(model)
        self.blocks, self.counts, self.rule = blocks, counts, rule
        self.several, self.offload, self.seed = several, offload, seed
        self._generator = torch.Generator()
        self._stepping = False  # whether the weights are those for steps
        self._recorders: list[RemovableHandle] = []
        self._squares: dict[str, Tensor] = {}  # of the prompt so far, by block
        self._lengths = self._valid = torch.empty(0)
        self._kept: dict[str, Tensor] = {}

    def __enter__(self) -> Self:
        self._generator.manual_seed(self.seed)
        self._squares, self._kept, self._stepping = {}, {}, False
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop_recording()
        for block in self.blocks:
            block.restore()
        super().__exit__(kind, error, trace)

    @property
    def indices(self) -> dict[str, Tensor]:
        """Neurons kept for the last prompt, sorted, by block; empty before the first prompt."""
        if not self._kept and (self._squares or not isinstance(self.rule, str)):
            self._kept = self._choose()
        return self._kept

    def before_forward(self, valid: Tensor, held: int) -> None:
        """Tell a prompt from a step, and let the weights be those for it."""
        if held == 0 or (self.several == "prompt" and valid.shape[1] > 1):
            if held == 0 or not self._recorders:
                self._start_recording(len(valid))
            self._valid, self._kept = valid, {}
            self._lengths = self._lengths + valid.sum(1)
        elif not self._stepping:
            if not self.indices:
                raise InvalidArgumentError(f"griffin saw no prompt, and the cache holds {held} tokens; start with an empty one")
            self._stop_recording()
            self._reduce()

    def _reduce(self) -> None:
        self._stepping = True
        # a caller's inference mode would make weights that nothing may write to later
        with torch.inference_mode(False), torch.no_grad():
            for block in self.blocks:
                kept = self.indices[block.name]
                if len(kept) < block.neurons:
                    block.reduce(kept.to(block.output.weight.device), self.offload)  # type: ignore[union-attr, arg-type]

    def _choose(self) -> dict[str, Tensor]:
        if not isinstance(self.rule, str):
            return dict(self.rule)
        chosen = {}
        for block, k in zip(self.blocks, self.counts, strict=True):
            statistic = pooled(self._squares[block.name], self._lengths)
            chosen[block.name] = select(self.rule, statistic, k, self._generator)
        return chosen

    def _start_recording(self, rows: int) -> None:
        """Put the whole weights in place and listen to what the output projections are applied to."""
        self._stop_recording()
        self._stepping = False
        self._squares, self._lengths = {}, torch.zeros(rows, dtype=torch.long, device=self.model.device)
        for block in self.blocks:
            block.restore()
            self._recorders.append(block.output.register_forward_pre_hook(self._recorder(block.name)))

    def _stop_recording(self) -> None:
        while self._recorders:
            self._recorders.pop().remove()

    def _recorder(self, name: str) -> Any:
        def record(module: Any, args: tuple[Tensor, ...]) -> None:
            with torch.no_grad():
                z = args[0].detach().view(*self._valid.shape, -1)  # OPT runs its blocks on (B S, d)
                self._squares[name] = self._squares.get(name, 0) + squares(z, self._valid)

        return record
