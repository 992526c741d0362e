"""Beam search over words, all sentences at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robust_rl.extras.matte.vocabulary import END, PAD, START

State = tuple[Tensor, ...]
Follow = Callable[[Tensor, Tensor, State], tuple[Tensor, State]]
"""(last words (R,), sentence of each row (R,), state of R rows) -> log-probabilities of the next word (R, V), state."""


def beam_search(
    follow: Follow, state: State, sentences: int, beams: int, max_tokens: int, *, start: int = START, end: int = END
) -> tuple[Tensor, Tensor]:
    """Return the best of ``beams`` sequences for each sentence.

    Parameters
    ----------
    follow
        One step of the decoder.
    state
        Tensors with a row for each sentence.
    sentences, beams, max_tokens
        How many, of what width, and how long at most, end mark left out.
    start, end
        Numbers of the marks; padding is 0.

    Returns
    -------
    words : Tensor (sentences, T)
        Ended by END and padded; a sentence that found no end in time lacks it.
    scores : Tensor (sentences,)
        Their log-probabilities, by which they are chosen; no normalisation by length.
    """
    rows = torch.arange(sentences).repeat_interleave(beams)
    state = tuple(part[rows] for part in state)
    found = torch.full((len(rows), 1), start)
    scores = torch.full((sentences, beams), -torch.inf)
    scores[:, 0] = 0.0  # the beams start alike: one of them counts
    for _ in range(max_tokens + 1):
        log_probability, state = follow(found[:, -1], rows, state)
        log_probability[:, [PAD, start]] = -torch.inf
        ended = (found[:, -1] == end) | (found[:, -1] == PAD)
        log_probability[ended] = -torch.inf
        log_probability[ended, PAD] = 0.0
        size = log_probability.shape[1]
        scores, best = (scores.reshape(-1, 1) + log_probability).reshape(sentences, -1).topk(beams)
        parent = (torch.arange(sentences)[:, None] * beams + best // size).flatten()
        found = torch.cat([found[parent], (best % size).reshape(-1, 1)], dim=1)
        state = tuple(part[parent] for part in state)
        if bool((found[::beams, -1] == PAD).all()):  # the leaders have ended, and no other can overtake them
            break
    return found.reshape(sentences, beams, -1)[:, 0, 1:], scores[:, 0]
