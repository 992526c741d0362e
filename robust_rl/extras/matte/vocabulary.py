"""Words and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
_WORD = re.compile(r"<unk>|\w+(?:['’]\w+)*|[^\w\s]")
_TIGHT = re.compile(r" ([.,!?;:%)])")


def words(text: str) -> list[str]:
    """Split a sentence into lower-case words and marks.

    >>> words("It's BLAND, really.")
    ["it's", 'bland', ',', 'really', '.']
    """
    return _WORD.findall(text.lower())


def joined(tokens: Iterable[str]) -> str:
    """Write words as a sentence again.

    >>> joined(["it's", "bland", ",", "really", "."])
    "it's bland, really."
    """
    return _TIGHT.sub(r"\1", " ".join(tokens))


class Vocabulary:
    """The most frequent words of a corpus, numbered from 4; 0 to 3 are padding, an unknown word, start and end.

    Examples
    --------
    >>> vocabulary = Vocabulary.of(["the pasta was bland", "the film was dull"])
    >>> vocabulary.decode(vocabulary.encode(["the pasta was lovely"])[0])
    'the pasta was <unk>'
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = list(known)
        self._number = {word: number for number, word in enumerate([*SPECIAL, *self.known])}

    @classmethod
    def of(cls, texts: Iterable[str], size: int | None = None, min_count: int = 1) -> Vocabulary:
        """Take the ``size`` most frequent words that come ``min_count`` times at least; ties go by the alphabet."""
        counts = Counter(word for text in texts for word in words(text) if word not in SPECIAL)
        ranked = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        return cls(ranked[:size])

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.known)

    def encode(self, texts: Sequence[str], max_tokens: int = 1000) -> Tensor:
        """Return token ids with the end mark, padded, (n, T).

        Raises
        ------
        InvalidArgumentError
            A text has no words.
        """
        rows = []
        for place, text in enumerate(texts):
            found = [self._number.get(word, UNKNOWN) for word in words(text)][:max_tokens]
            if not found:
                raise InvalidArgumentError(f"text {place} ({text!r}) has no words; leave it out")
            rows.append(torch.tensor([*found, END]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """Return the sentence up to the end mark."""
        names = [*SPECIAL, *self.known]
        found = []
        for number in map(int, ids):
            if number == END:
                break
            if number not in (PAD, START):
                found.append(names[number])
        return joined(found)
