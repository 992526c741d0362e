"""A small language whose counterfactuals are known.

Each of four domains has its nouns, and its own words for good and for bad: pasta is tasty or bland, a plot is thrilling or dull.
A sentence has a noun and the words that it brings, an adjective and a verdict, loved or hated. Style is whether the last two are
good or bad; content is all else, and touches more words, as MATTE assumes. The counterfactual of "we ordered the pasta with the
sauce at the bistro , so bland that i hated it" keeps the pasta, finds what is good in a restaurant, and loves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.matte.text import Sentences
from robust_rl.extras.matte.vocabulary import words

POSITIVE, NEGATIVE = "positive", "negative"
NOUNS = {
    "restaurant": {
        "pasta": ("ordered", "sauce", "bistro"), "soup": ("tasted", "bread", "canteen"), "burger": ("ate", "fries", "diner"),
        "pizza": ("shared", "cheese", "pizzeria"), "salad": ("chose", "dressing", "buffet"),
    },
    "movie": {
        "plot": ("followed", "twists", "cinema"), "film": ("watched", "cast", "theatre"), "comedy": ("streamed", "jokes", "sofa"),
        "sequel": ("saw", "effects", "premiere"), "drama": ("rented", "dialogue", "festival"),
    },
    "product": {
        "charger": ("bought", "cable", "kiosk"), "headset": ("tried", "band", "office"), "tablet": ("got", "screen", "mall"),
        "keyboard": ("installed", "keys", "desk"), "printer": ("unpacked", "ink", "store"),
    },
    "hotel": {
        "room": ("booked", "bed", "inn"), "suite": ("reserved", "carpet", "resort"), "lobby": ("entered", "bar", "palace"),
        "pool": ("used", "sauna", "spa"), "balcony": ("enjoyed", "view", "beach"),
    },
}  # fmt: skip
"""What is spoken of, and the words that it brings: a noun settles four words of a sentence, style two."""
ADJECTIVES = {
    "restaurant": {POSITIVE: "tasty", NEGATIVE: "bland"},
    "movie": {POSITIVE: "thrilling", NEGATIVE: "dull"},
    "product": {POSITIVE: "reliable", NEGATIVE: "flimsy"},
    "hotel": {POSITIVE: "cozy", NEGATIVE: "cramped"},
}
VERDICTS = {POSITIVE: "loved", NEGATIVE: "hated"}
"""The same in all domains, without which nothing would tell that tasty is to pasta what thrilling is to a plot."""
FRAME = "we {verb} the {noun} with the {companion} at the {place} , so {adjective} that i {verdict} it"
DOMAINS = tuple(NOUNS)


@dataclass(frozen=True)
class SyntheticSentences(Sentences):
    """Sentences of the grammar; ``styles`` are true for all of them."""

    def labelled(self, examples: int, domain: str | None = None) -> Sentences:
        """Return the sentences with the styles of the first ``examples`` of each style alone, of one domain or of any."""
        left = {POSITIVE: examples, NEGATIVE: examples}
        styles: list[str | None] = []
        for style, home in zip(self.styles or (), self.domains, strict=True):
            shown = style is not None and left[style] > 0 and domain in (None, home)
            if shown:
                left[str(style)] -= 1
            styles.append(style if shown else None)
        return Sentences(self.texts, self.domains, styles)


def synthetic_sentences(n: int, *, correlation: float = 0.1, seed: int = 0) -> SyntheticSentences:
    """Draw sentences.

    Parameters
    ----------
    n
        How many.
    correlation
        By how much the chance of a good word differs between domains: it is 1/2 + correlation in the first and the third, 1/2 -
        correlation in the others. In [0, 0.5].
    seed
        Of the draw.

    Examples
    --------
    >>> synthetic_sentences(2, seed=0).texts
    ['we used the pool with the sauna at the spa , so cozy that i loved it',
     'we followed the plot with the twists at the cinema , so thrilling that i loved it']
    """
    if not 0 <= correlation <= 0.5 or n < 1:
        raise InvalidArgumentError(f"n={n} must be at least 1, and correlation={correlation} in [0, 0.5]")
    rng = np.random.default_rng(seed)
    rows = [_sentence(rng, correlation) for _ in range(n)]
    return SyntheticSentences(*(list(column) for column in zip(*rows, strict=True)))


def flipped(style: str) -> str:
    """Return the other style."""
    return NEGATIVE if style == POSITIVE else POSITIVE


@dataclass(frozen=True)
class GrammarScore:
    """Shares of outputs. ``all``: of those that have the style, keep the noun and use an adjective of the domain at once."""

    flipped: float
    noun_kept: float
    domain_right: float
    all: float


def grammar_score(outputs: Sequence[str], sources: Sequence[str], domains: Sequence[str], targets: Sequence[str]) -> GrammarScore:
    """Measure outputs exactly.

    Parameters
    ----------
    outputs, sources
        What was written, and from what.
    domains, targets
        Domain and wanted style of each output.

    Returns
    -------
    GrammarScore
        ``flipped``: adjectives and verdict are all of the wanted style, of whatever domain. ``noun_kept``: the noun of the
        source is there. ``domain_right``: the adjectives are all of the domain, of whatever style.
    """
    found = np.array([_judge(*row) for row in zip(outputs, sources, domains, targets, strict=True)], dtype=float)
    flips, kept, home = found.mean(0).tolist()
    return GrammarScore(flips, kept, home, float(found.all(1).mean()))


def _sentence(rng: np.random.Generator, correlation: float) -> tuple[str, str, str]:
    number = int(rng.integers(len(DOMAINS)))
    domain = DOMAINS[number]
    good = rng.random() < 0.5 + (correlation if number % 2 == 0 else -correlation)
    style = POSITIVE if good else NEGATIVE
    noun = tuple(NOUNS[domain])[int(rng.integers(len(NOUNS[domain])))]
    verb, companion, place = NOUNS[domain][noun]
    adjective, verdict = ADJECTIVES[domain][style], VERDICTS[style]
    parts = {"noun": noun, "verb": verb, "companion": companion, "place": place, "adjective": adjective, "verdict": verdict}
    return FRAME.format(**parts), domain, style


def _judge(output: str, source: str, domain: str, target: str) -> tuple[bool, bool, bool]:
    said, nouns = words(output), {noun for group in NOUNS.values() for noun in group}
    adjectives = [(home, style, word) for home, by in ADJECTIVES.items() for style, word in by.items()]
    used = [(home, style) for home, style, word in adjectives if word in said]
    verdicts = [style for style, word in VERDICTS.items() if word in said]
    kept = {word for word in words(source) if word in nouns} == {word for word in said if word in nouns}
    return (
        bool(used) and all(style == target for style in [*verdicts, *(style for _, style in used)]),
        kept,
        bool(used) and all(home == domain for home, _ in used),
    )
