"""Two small judges of sentences that need no download: a trigram language model and a linear classifier of style."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.matte.vocabulary import words

_START, _END, _UNKNOWN = "<s>", "</s>", "<unk>"
DISCOUNT = 0.75


class TrigramModel:
    """Word trigrams, interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999, eq. 22) with discount 0.75.

        p(w | u v) = max(n(u v w) - D, 0) / n(u v .) + D n1(u v .) / n(u v .) p(w | v)

    where n counts in the text at the top and different left neighbours below, n1 different followers, and the lowest level is the
    uniform distribution over the words, ``<unk>`` and the end.

    Parameters
    ----------
    texts
        What it learns from.
    """

    name = "word trigrams, Kneser-Ney"

    def __init__(self, texts: Sequence[str]) -> None:
        sentences = [[_START, _START, *words(text), _END] for text in texts]
        self.words = {word for sentence in sentences for word in sentence[2:]} | {_UNKNOWN}
        trigrams: Counter[tuple[str, ...]] = Counter(
            gram for sentence in sentences for gram in zip(sentence, sentence[1:], sentence[2:], strict=False)
        )
        bigrams: Counter[tuple[str, ...]] = Counter(gram[1:] for gram in trigrams)
        unigrams: Counter[tuple[str, ...]] = Counter(gram[1:] for gram in bigrams)
        self._levels = [_Level(counts) for counts in (unigrams, bigrams, trigrams)]

    def probability(self, word: str, before: tuple[str, str]) -> float:
        """Return p(word | before)."""
        word = word if word in self.words else _UNKNOWN
        found = 1 / len(self.words)
        for level, order in zip(self._levels, (0, 1, 2), strict=True):
            context = before[2 - order :]
            found = level.probability((*context, word), context, found)
        return found

    def log_probabilities(self, text: str) -> list[float]:
        """Return the logarithm of each word's probability, and of the end's."""
        sentence = [_START, _START, *words(text), _END]
        places = range(2, len(sentence))
        return [float(np.log(self.probability(sentence[i], (sentence[i - 2], sentence[i - 1])))) for i in places]


class _Level:
    """Counts of one order: of n-grams, of their contexts, and of the different words that follow those."""

    def __init__(self, counts: Counter[tuple[str, ...]]) -> None:
        self.counts = counts
        self.total: dict[tuple[str, ...], int] = defaultdict(int)
        self.kinds: dict[tuple[str, ...], int] = defaultdict(int)
        for gram, count in counts.items():
            self.total[gram[:-1]] += count
            self.kinds[gram[:-1]] += 1

    def probability(self, gram: tuple[str, ...], context: tuple[str, ...], lower: float) -> float:
        total = self.total.get(context, 0)
        if not total:
            return lower
        return max(self.counts.get(gram, 0) - DISCOUNT, 0.0) / total + DISCOUNT * self.kinds[context] / total * lower


class StyleClassifier:
    """Logistic regression on the presence of words and pairs of neighbours.

    Parameters
    ----------
    ridge
        Weight of the squared coefficients.
    """

    name = "logistic regression on words and bigrams"

    def __init__(self, ridge: float = 1e-3) -> None:
        self.ridge = ridge
        self.styles: list[str] = []

    def fit(self, texts: Sequence[str], styles: Sequence[str]) -> Self:
        """Learn from labelled sentences.

        Raises
        ------
        InvalidArgumentError
            There are fewer than two styles.
        """
        self.styles = sorted(set(styles))
        if len(self.styles) < 2:
            raise InvalidArgumentError(f"styles are {self.styles}; a classifier needs two at least")
        features = Counter(feature for text in texts for feature in set(_features(text)))
        self._number = {name: number for number, name in enumerate(sorted(f for f in features if features[f] > 1))}
        table, wanted = self._table(texts), torch.tensor([self.styles.index(style) for style in styles])
        self._weights = torch.zeros(len(self._number) + 1, len(self.styles), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([self._weights], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            error = torch.nn.functional.cross_entropy(self._logits(table), wanted)
            loss = error + self.ridge * self._weights[:-1].square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return self

    @torch.no_grad()
    def confidence(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probability of each style, (n, styles), in the order of ``styles``."""
        found: np.ndarray = self._logits(self._table(texts)).softmax(1).numpy()
        return found

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest style of each text."""
        if not self.styles:
            raise UnknownNameError("this StyleClassifier is not fitted; call fit(texts, styles)")
        return [self.styles[number] for number in self.confidence(texts).argmax(1)]

    def _table(self, texts: Sequence[str]) -> Tensor:
        pairs = [
            (row, self._number[name]) for row, text in enumerate(texts) for name in set(_features(text)) & self._number.keys()
        ]
        places = torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 2).T
        ones = torch.ones(places.shape[1], dtype=torch.float64)
        return torch.sparse_coo_tensor(places, ones, (len(texts), len(self._number)), check_invariants=True)

    def _logits(self, table: Tensor) -> Tensor:
        found: Tensor = torch.sparse.mm(table, self._weights[:-1]) + self._weights[-1]
        return found


def _features(text: str) -> list[str]:
    found = [_START, *words(text), _END]
    return found[1:-1] + [" ".join(pair) for pair in pairwise(found)]
