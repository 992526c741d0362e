"""Ways of changing style that need no model.

A third, a VAE without the prior of the domain, is ``MatteConfig(prior="standard", w_sparse=0, w_partial=0, w_mask=0)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robust_rl.extras.matte.vocabulary import joined, words

ANTONYMS = {
    "amazing": "awful", "beautiful": "ugly", "best": "worst", "better": "worse", "brilliant": "stupid", "cheap": "expensive",
    "clean": "dirty", "clear": "confusing", "clever": "silly", "comfortable": "uncomfortable", "easy": "difficult",
    "enjoyable": "tedious", "entertaining": "boring", "excellent": "terrible", "exciting": "dull", "fast": "slow",
    "fine": "poor", "fresh": "stale", "fun": "tiresome", "funny": "unfunny", "good": "bad", "great": "horrible", "happy": "sad",
    "impressive": "disappointing", "interesting": "uninteresting", "like": "dislike", "love": "hate", "loved": "hated",
    "lucky": "unlucky", "nice": "nasty", "original": "predictable", "perfect": "flawed", "pleased": "annoyed",
    "reliable": "unreliable", "right": "wrong", "smart": "dumb", "solid": "flimsy", "strong": "weak", "success": "failure",
    "successful": "failed", "useful": "useless", "warm": "cold", "well": "badly", "win": "lose", "wonderful": "dreadful",
}  # fmt: skip
"""Common words of praise and their opposites, for English at large."""


def copy_baseline(texts: Sequence[str]) -> list[str]:
    """Return the sentences as they are: all content kept, no style changed."""
    return [joined(words(text)) for text in texts]


def antonym_baseline(texts: Sequence[str], antonyms: Mapping[str, str] = ANTONYMS) -> list[str]:
    """Return the sentences with every word that has an antonym replaced by it, either way.

    Examples
    --------
    >>> antonym_baseline(["a good film, badly cut", "the pasta was bland"])
    ['a bad film, well cut', 'the pasta was bland']
    """
    both = {opposite: word for word, opposite in antonyms.items()} | dict(antonyms)
    return [joined(both.get(word, word) for word in words(text)) for text in texts]
