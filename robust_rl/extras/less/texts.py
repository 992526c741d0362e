"""From texts to sequences of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError


def token_windows(tokenizer: Any, texts: Sequence[str], length: int, count: int | None = None, seed: int = 0) -> Tensor:
    """Cut texts into windows that don't overlap, and shuffle them.

    Parameters
    ----------
    tokenizer
        Of the model.
    texts
        Documents. What is left of one after its last whole window is not used.
    length
        Tokens in a window.
    count
        Number of windows at most; None for all there are.
    seed
        Of the order.

    Returns
    -------
    Tensor
        Token ids, (N, length).

    Raises
    ------
    InvalidArgumentError
        No text is long enough.
    """
    windows = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]  # a document may exceed the longest context
        windows += [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    if not windows:
        raise InvalidArgumentError(f"no text has {length} tokens; give longer texts, or choose a smaller length")
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed)).tolist()
    return torch.tensor([windows[i] for i in order[:count]], dtype=torch.long)
