"""LESS: a cache of fixed size whose dropped tokens live on in a state of constant size.

Paper: Dong, Yang, Zhang, Wang, Chi and Chen, "Get More with LESS: Synthesizing Recurrence with KV Cache Compression for
Efficient LLM Inference", ICML 2024, arXiv:2402.09398.

Names are looked up when first used, so that importing this package loads neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.less.cache import LessCache, LessLayer
    from robust_rl.extras.less.context import less
    from robust_rl.extras.less.evaluation import attention_errors, evaluate_less
    from robust_rl.extras.less.fitting import LessFit, fit_less
    from robust_rl.extras.less.kernels import LessKernels
    from robust_rl.extras.less.policies import H2O, TOVA, Policy, StreamingLLM, Window, parse_policy
    from robust_rl.extras.less.texts import token_windows

_HOMES = {
    "H2O": "policies",
    "LessCache": "cache",
    "LessFit": "fitting",
    "LessKernels": "kernels",
    "LessLayer": "cache",
    "Policy": "policies",
    "StreamingLLM": "policies",
    "TOVA": "policies",
    "Window": "policies",
    "attention_errors": "evaluation",
    "evaluate_less": "evaluation",
    "fit_less": "fitting",
    "less": "context",
    "parse_policy": "policies",
    "token_windows": "texts",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "H2O",
    "TOVA",
    "LessCache",
    "LessFit",
    "LessKernels",
    "LessLayer",
    "Policy",
    "StreamingLLM",
    "Window",
    "attention_errors",
    "evaluate_less",
    "fit_less",
    "less",
    "parse_policy",
    "token_windows",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
