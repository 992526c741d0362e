"""Which keys and values a full cache keeps: small objects, one a policy.

A policy looks at the attention of each query, keeps a score for every slot of the cache, and ranks the slots; the cache keeps the
``budget`` best, in order. A slot that is dropped does not come back.

==============  ==============================================  ===================================================
policy          what it keeps                                   what it looks at
==============  ==============================================  ===================================================
H2O             the newest, and of the others those that        the sum over all queries so far, per KV head
                queries attended to most
StreamingLLM    the first and the newest (Lambda masks)         nothing
TOVA            what the last query attends to most             the last query, mean over all heads
Window          the newest                                      nothing
==============  ==============================================  ===================================================

Right after a step, ``budget`` slots are held; the next token joins them, so that a query sees itself and ``budget`` others.

Shapes: B sequences, K key-value heads, G query heads each, q queries, n slots. ``score`` and ``valid`` are (B, K, n), ``rows``
are attention probabilities over the first m slots, (B, K, G, q, m): those that the last of the queries may see. A slot that holds
padding isn't valid and is dropped first.

Sources: H2O arXiv:2306.14048, StreamingLLM arXiv:2309.17453, TOVA arXiv:2401.06104.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor
from torch.nn.functional import pad

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest

Queries = Literal["all", "last", "none"]


class Policy(Protocol):
    """What a cache needs to know of a policy."""

    queries: ClassVar[Queries]
    """Whose attention :meth:`look` must see."""

    @property
    def budget(self) -> int:
        """Number of slots held after a step."""
        ...

    def look(self, score: Tensor, rows: Tensor) -> Tensor:
        """Return the scores after queries with these attention rows."""
        ...

    def priority(self, score: Tensor, valid: Tensor) -> Tensor:
        """Return a number per slot, (B, K, n); the greatest are kept."""
        ...

    def plus(self, extra: int) -> Policy:
        """Return the same policy with a budget larger by ``extra``, shared out as it shares its own."""
        ...


@dataclass(frozen=True)
class H2O:
    """Heavy hitters and the newest tokens.

    Parameters
    ----------
    heavy
        Slots for older tokens, by the attention that queries gave them so far.
    recent
        Slots for the newest tokens.
    """

    heavy: int
    recent: int
    queries: ClassVar[Queries] = "all"

    def __post_init__(self) -> None:
        _check(self, heavy=self.heavy, recent=self.recent)

    @property
    def budget(self) -> int:
        """Number of slots held after a step."""
        return self.heavy + self.recent

    def look(self, score: Tensor, rows: Tensor) -> Tensor:
        """Add up what each slot got."""
        return score + _all_slots(rows.sum((2, 3)), score)

    def priority(self, score: Tensor, valid: Tensor) -> Tensor:
        """Newest first, then by score."""
        return score.masked_fill(_newest(valid, self.recent), math.inf)

    def plus(self, extra: int) -> H2O:
        """Give half of ``extra`` to each part, the odd one to the newest."""
        return H2O(self.heavy + extra // 2, self.recent + extra - extra // 2)


@dataclass(frozen=True)
class StreamingLLM:
    """The first tokens, on which attention rests when nothing else matters, and the newest.

    Parameters
    ----------
    first
        Slots for the first tokens.
    recent
        Slots for the newest tokens.
    """

    first: int
    recent: int
    queries: ClassVar[Queries] = "none"

    def __post_init__(self) -> None:
        _check(self, first=self.first, recent=self.recent)

    @property
    def budget(self) -> int:
        """Number of slots held after a step."""
        return self.first + self.recent

    def look(self, score: Tensor, rows: Tensor) -> Tensor:
        """See nothing."""
        return score

    def priority(self, score: Tensor, valid: Tensor) -> Tensor:
        """First and newest."""
        return (_oldest(valid, self.first) | _newest(valid, self.recent)).to(score.dtype)

    def plus(self, extra: int) -> StreamingLLM:
        """Give ``extra`` to the newest."""
        return StreamingLLM(self.first, self.recent + extra)


@dataclass(frozen=True)
class TOVA:
    """What the last query attends to most, in the mean over all heads of a layer; no token is safe, the newest neither.

    Parameters
    ----------
    size
        Slots.
    """

    size: int
    queries: ClassVar[Queries] = "last"

    def __post_init__(self) -> None:
        _check(self, size=self.size)

    @property
    def budget(self) -> int:
        """Number of slots held after a step."""
        return self.size

    def look(self, score: Tensor, rows: Tensor) -> Tensor:
        """Forget the past, and take the last query's row."""
        return _all_slots(rows[:, :, :, -1].mean((1, 2))[:, None], score).expand_as(score)

    def priority(self, score: Tensor, valid: Tensor) -> Tensor:
        """By score."""
        return score

    def plus(self, extra: int) -> TOVA:
        """Make room for ``extra`` more."""
        return TOVA(self.size + extra)


@dataclass(frozen=True)
class Window:
    """The newest tokens.

    Parameters
    ----------
    recent
        Slots.
    """

    recent: int
    queries: ClassVar[Queries] = "none"

    def __post_init__(self) -> None:
        _check(self, recent=self.recent)

    @property
    def budget(self) -> int:
        """Number of slots held after a step."""
        return self.recent

    def look(self, score: Tensor, rows: Tensor) -> Tensor:
        """See nothing."""
        return score

    def priority(self, score: Tensor, valid: Tensor) -> Tensor:
        """Newest."""
        return _newest(valid, self.recent).to(score.dtype)

    def plus(self, extra: int) -> Window:
        """Make room for ``extra`` more."""
        return Window(self.recent + extra)


_LEAST = {"h2o": 2, "streaming": 5, "tova": 1, "window": 1}
"""The smallest budget of each policy."""


def parse_policy(name: str, budget: float, length: int) -> Policy:
    """Return the policy of a command line.

    Parameters
    ----------
    name
        ``h2o`` (half heavy, half newest), ``streaming`` (4 first tokens), ``tova`` or ``window``.
    budget
        Share of ``length`` in (0, 1), as papers give it, or a number of tokens from 1.
    length
        Tokens of which the budget is a share: the longest context of the model, or the length at which it is used.

    Raises
    ------
    UnknownNameError
        There is no policy of that name.
    InvalidArgumentError
        The budget is not above 0, is no whole number of tokens, or is too small for the policy.

    Examples
    --------
    >>> parse_policy("h2o", 0.05, 4096)
    H2O(heavy=102, recent=102)
    >>> parse_policy("streaming", 204, 4096)
    StreamingLLM(first=4, recent=200)
    """
    if name not in _LEAST:
        raise UnknownNameError(f"no policy {name!r}{nearest(name, list(_LEAST))}; there are {', '.join(_LEAST)}")
    if not math.isfinite(budget) or budget <= 0 or (budget >= 1 and budget != int(budget)):
        raise InvalidArgumentError(f"budget is {budget}; give a share of the tokens in (0, 1), or a number of tokens from 1")
    tokens = int(budget * length) if budget < 1 else int(budget)
    if tokens < _LEAST[name]:
        raise InvalidArgumentError(f"a budget of {tokens} tokens is too small for {name}, which needs at least {_LEAST[name]}")
    if name == "h2o":
        return H2O(tokens // 2, tokens // 2 if budget < 1 else tokens - tokens // 2)
    if name == "streaming":
        return StreamingLLM(4, tokens - 4)
    return TOVA(tokens) if name == "tova" else Window(tokens)


def select(policy: Policy, score: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slots to keep, oldest first, (B, K, C), and those to drop, (B, K, n - C). Of equals the oldest is kept."""
    ranks = policy.priority(score, valid).masked_fill(~valid, -math.inf)
    order = ranks.sort(dim=-1, descending=True, stable=True).indices
    return order[..., : policy.budget].sort(dim=-1).values, order[..., policy.budget :]


def _all_slots(seen: Tensor, score: Tensor) -> Tensor:
    """Return numbers over the first slots with a zero for each of the others."""
    return pad(seen, (0, score.shape[-1] - seen.shape[-1]))


def _newest(valid: Tensor, count: int) -> Tensor:
    return valid.flip(-1).cumsum(-1).flip(-1) <= count


def _oldest(valid: Tensor, count: int) -> Tensor:
    return valid.cumsum(-1) <= count


def _check(policy: Policy, **sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 0:
            raise InvalidArgumentError(f"{name} of {type(policy).__name__} is {size!r}; it must be a whole number from 0")
    if policy.budget < 1:
        raise InvalidArgumentError(f"{policy} keeps nothing; its budget must be at least 1 token")
