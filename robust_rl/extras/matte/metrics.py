"""How well style was transferred, and what was kept.

    accuracy        share of outputs that a classifier, fitted to labelled sentences, takes for the wanted style
    self_bleu       corpus BLEU of the outputs against their own sources (sacrebleu), 0 to 100
    g_geometric     sqrt(a b),      g_harmonic   2 a b / (a + b);   a accuracy and b BLEU, both 0 to 100
    perplexity      of the outputs under a language model, which is named beside it
    distinct_n      share of n-grams that are different
    content_overlap share of the source's words, style words left out, that are in the output

Papers mean either mean by G: the name says which. The authors' program prints the harmonic one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.matte.vocabulary import words
from robust_rl.training.optional import require


class Scorer(Protocol):
    """A language model that :func:`perplexity` can ask."""

    name: str

    def log_probabilities(self, text: str) -> Sequence[float]:
        """Return the logarithm of each token's probability, end mark included."""
        ...


class Classifier(Protocol):
    """What :func:`transfer_accuracy` asks; :class:`~robust_rl.extras.matte.StyleClassifier` is one."""

    name: str

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the style of each text."""
        ...


def transfer_accuracy(outputs: Sequence[str], targets: Sequence[str], classifier: Classifier) -> float:
    """Return the share of outputs, 0 to 1, that the classifier takes for the wanted style."""
    _same_length(outputs, targets)
    return float(np.mean([found == wanted for found, wanted in zip(classifier.predict(outputs), targets, strict=True)]))


def self_bleu(outputs: Sequence[str], sources: Sequence[str]) -> float:
    """Return corpus BLEU of the outputs against their sources, 0 to 100.

    Raises
    ------
    MissingDependencyError
        sacrebleu is not installed.
    """
    _same_length(outputs, sources)
    sacrebleu = require("sacrebleu", "robust-rl[matte]")
    return float(sacrebleu.corpus_bleu(list(outputs), [list(sources)]).score)


def g_score(accuracy: ArrayLike, bleu: ArrayLike, kind: str = "geometric") -> float:
    """Return the mean of accuracy and BLEU, both in 0 to 100, averaged over sentences where arrays are given.

    Raises
    ------
    InvalidArgumentError
        ``kind`` is neither ``"geometric"`` nor ``"harmonic"``.

    Examples
    --------
    >>> g_score(80, 20), g_score(80, 20, "harmonic"), g_score(0, 0, "harmonic")
    (40.0, 32.0, 0.0)
    """
    a, b = np.asarray(accuracy, dtype=float), np.asarray(bleu, dtype=float)
    if kind == "geometric":
        return float(np.sqrt(a * b).mean())
    if kind != "harmonic":
        raise InvalidArgumentError(f"kind {kind!r}; it must be geometric or harmonic")
    total = a + b
    return float(np.mean(2 * a * b / np.where(total == 0, 1, total)))


def perplexity(texts: Sequence[str], scorer: Scorer) -> float:
    """Return exp of the mean negative log-probability of a token."""
    logs = [log for text in texts for log in scorer.log_probabilities(text)]
    return float(np.exp(-np.mean(logs)))


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Return the share of n-grams that are different, over all texts; 0 if there are none.

    >>> distinct_n(["a b a b"], 2)
    0.6666666666666666
    """
    grams = [tuple(found[i : i + n]) for found in map(words, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def content_overlap(outputs: Sequence[str], sources: Sequence[str], ignored: Collection[str] = ()) -> float:
    """Return the share of the words of a source that its output has too, averaged over sentences.

    Parameters
    ----------
    outputs, sources
        Sentences.
    ignored
        Words that don't count: those of style, or of grammar.
    """
    _same_length(outputs, sources)
    shares = []
    for output, source in zip(outputs, sources, strict=True):
        wanted = set(words(source)) - set(ignored)
        if wanted:
            shares.append(len(wanted & set(words(output))) / len(wanted))
    return float(np.mean(shares)) if shares else 0.0


def evaluate_transfer(
    outputs: Sequence[str], sources: Sequence[str], targets: Sequence[str], *, classifier: Classifier, scorer: Scorer
) -> dict[str, Any]:
    """Return all of them for one way of transfer; accuracy and G-scores in 0 to 100, as BLEU is."""
    accuracy, bleu = 100 * transfer_accuracy(outputs, targets, classifier), self_bleu(outputs, sources)
    return {
        "accuracy": accuracy,
        "self_bleu": bleu,
        "g_geometric": g_score(accuracy, bleu),
        "g_harmonic": g_score(accuracy, bleu, "harmonic"),
        "perplexity": perplexity(outputs, scorer),
        "distinct_2": distinct_n(outputs, 2),
        "content_overlap": content_overlap(outputs, sources),
        "classifier": classifier.name,
        "scorer": scorer.name,
    }


def _same_length(outputs: Sequence[str], others: Sequence[str]) -> None:
    if len(outputs) != len(others) or not len(outputs):
        raise InvalidArgumentError(f"{len(outputs)} outputs for {len(others)} sources or targets; give as many, one at least")
