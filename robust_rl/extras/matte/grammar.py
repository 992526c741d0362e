"""A small language whose counterfactuals are known.

Each of four domains has its nouns, and its own words for good and for bad: pasta is tasty or bland, a plot is thrilling or dull.
A sentence is a frame with a noun and its companion, an adjective and a verdict, loved or hated. Content is all but the adjective
and the verdict; style is whether these are good or bad, and which of its words the adjective is. The counterfactual of "the pasta
with the sauce was bland , i hated it" keeps the pasta, calls it something good that one says in a restaurant, and loves it.
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
    "restaurant": {"pasta": "sauce", "soup": "bread", "pizza": "cheese", "burger": "fries", "salad": "dressing"},
    "movie": {"plot": "twists", "film": "actors", "sequel": "effects", "drama": "dialogue", "comedy": "jokes"},
    "product": {"charger": "cable", "headset": "microphone", "keyboard": "keys", "printer": "ink", "tablet": "screen"},
    "hotel": {"room": "bed", "suite": "carpet", "lobby": "bar", "pool": "sauna", "balcony": "view"},
}
"""What is spoken of, and what it comes with: a noun settles two words of a sentence, an adjective one."""
VERBS = {
    "restaurant": ("ordered", "tasted"),
    "movie": ("watched", "saw"),
    "product": ("bought", "installed"),
    "hotel": ("booked", "visited"),
}
ADJECTIVES = {
    "restaurant": {POSITIVE: ("tasty", "delicious"), NEGATIVE: ("bland", "greasy")},
    "movie": {POSITIVE: ("thrilling", "gripping"), NEGATIVE: ("dull", "predictable")},
    "product": {POSITIVE: ("reliable", "sturdy"), NEGATIVE: ("flimsy", "faulty")},
    "hotel": {POSITIVE: ("cozy", "spotless"), NEGATIVE: ("cramped", "dirty")},
}
VERDICTS = {POSITIVE: "loved", NEGATIVE: "hated"}
"""The same in all domains, without which nothing would tell that tasty is to pasta what thrilling is to a plot."""
FRAMES = (
    "the {noun} with the {companion} was {adjective} , i {verdict} it",
    "we {verb} the {noun} and the {companion} , so {adjective} that i {verdict} it",
    "i think the {noun} and its {companion} were very {adjective} and i {verdict} them",
)
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


def synthetic_sentences(n: int, *, correlation: float = 0.3, seed: int = 0) -> SyntheticSentences:
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
    ['my friend installed the tablet , it was so flimsy', 'the room was dirty']
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
    place = int(rng.integers(len(DOMAINS)))
    domain = DOMAINS[place]
    good = rng.random() < 0.5 + (correlation if place % 2 == 0 else -correlation)
    style = POSITIVE if good else NEGATIVE
    noun, verb = _one(rng, tuple(NOUNS[domain])), _one(rng, VERBS[domain])
    adjective, frame = _one(rng, ADJECTIVES[domain][style]), _one(rng, FRAMES)
    companion, verdict = NOUNS[domain][noun], VERDICTS[style]
    sentence = frame.format(noun=noun, companion=companion, verb=verb, adjective=adjective, verdict=verdict)
    return sentence, domain, style


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _judge(output: str, source: str, domain: str, target: str) -> tuple[bool, bool, bool]:
    said, nouns = words(output), {noun for group in NOUNS.values() for noun in group}
    adjectives = [(home, style, word) for home, by in ADJECTIVES.items() for style, group in by.items() for word in group]
    used = [(home, style) for home, style, word in adjectives if word in said]
    verdicts = [style for style, word in VERDICTS.items() if word in said]
    kept = {word for word in words(source) if word in nouns} == {word for word in said if word in nouns}
    return (
        bool(used) and all(style == target for style in [*verdicts, *(style for _, style in used)]),
        kept,
        bool(used) and all(home == domain for home, _ in used),
    )
