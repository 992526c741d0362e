"""GRIFFIN: while a language model decodes, only the feed-forward neurons that its prompt used.

    with griffin(model, keep=0.5) as g:
        model.generate(**inputs)

Harry Dong, Beidi Chen, Yuejie Chi, "Prompt-prompted Adaptive Structured Pruning for Efficient LLM Generation",
arXiv:2404.01365. Names are looked up when first used, so that importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robust_rl.extras.griffin.comparison import Comparison, compare
    from robust_rl.extras.griffin.pruning import griffin
    from robust_rl.extras.griffin.selection import SELECTIONS

_HOMES = {"Comparison": "comparison", "compare": "comparison", "griffin": "pruning", "SELECTIONS": "selection"}
"""Public name -> module of this package that defines it."""

__all__ = ["SELECTIONS", "Comparison", "compare", "griffin"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
