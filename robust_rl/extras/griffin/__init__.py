"""GRIFFIN: while a language model decodes, only the feed-forward neurons that its prompt used.

    with griffin(model, keep=0.5) as g:
        model.generate(**inputs)

Harry Dong, Beidi Chen, Yuejie Chi, "Prompt-prompted Adaptive Structured Pruning for Efficient LLM Generation",
arXiv:2404.01365. Names are looked up when first used, so that importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.griffin.comparison import Comparison, compare
    from robust_rl.extras.griffin.pruning import griffin
    from robust_rl.extras.griffin.selection import SELECTIONS

_HOMES = {"Comparison": "comparison", "compare": "comparison", "griffin": "pruning", "SELECTIONS": "selection"}
"""Public name -> module of this package that defines it."""

__all__ = ["SELECTIONS", "Comparison", "compare", "griffin"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
