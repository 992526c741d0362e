"""The four domains of the VADER study: rated sentences of product reviews, film reviews, editorials and tweets.

C.J. Hutto and Eric Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014. The
texts come with the source distribution of vaderSentiment 3.3.2 (MIT), not with its wheel:

    pip download --no-binary :all: --no-deps vaderSentiment==3.3.2
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robust_rl.errors import FileFormatError, InvalidArgumentError, sound
from robust_rl.extras.matte.text import Sentences
from robust_rl.extras.matte.vocabulary import words

FILES = {
    "product": "amazonReviewSnippets_GroundTruth.txt",
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "editorial": "nytEditorialSnippets_GroundTruth.txt",
    "tweet": "tweets_GroundTruth.txt",
}
ARCHIVE = "hutto_ICWSM_2014.tar.gz"
LIMIT = 2**26  # bytes unpacked, ten times what the real archives have
GET_IT = "get the source distribution with: pip download --no-binary :all: --no-deps vaderSentiment==3.3.2"


@dataclass(frozen=True)
class RatedSentences(Sentences):
    """Sentences with ratings.

    Attributes
    ----------
    ratings : tuple of float
        Mean rating of twenty people, -4 to 4. ``styles`` are their signs, ``"positive"`` and ``"negative"``; None at 0.
    documents : tuple of str
        What the sentence was taken from; sentences of one document belong on one side of a division.
    """

    ratings: tuple[float, ...] = ()
    documents: tuple[str, ...] = ()

    def rows(self, places: list[int]) -> RatedSentences:
        """Return the sentences at these places, with all that is known of them."""
        part = self.take(places)
        ratings, documents = tuple(self.ratings[i] for i in places), tuple(self.documents[i] for i in places)
        return RatedSentences(part.texts, part.domains, part.styles, ratings, documents)

    def split(self, held_out: float = 0.15, seed: int = 0) -> tuple[RatedSentences, RatedSentences]:
        """Return sentences to learn from, and a share held out by whole documents."""
        if not 0 < held_out < 1:
            raise InvalidArgumentError(f"held_out is {held_out}; it must be in (0, 1)")
        names = sorted(set(self.documents))
        order = np.random.default_rng(seed).permutation(len(names))
        away = {names[i] for i in order[: max(1, round(held_out * len(names)))]}
        places = range(len(self))
        return (
            self.rows([i for i in places if self.documents[i] not in away]),
            self.rows([i for i in places if self.documents[i] in away]),
        )


def load_vader_domains(path: str | Path) -> RatedSentences:
    """Read the four domains.

    Parameters
    ----------
    path
        The source distribution (``vaderSentiment-3.3.2.tar.gz``), the archive inside it, or a folder that holds either of
        them, or the four files, at any depth. Nothing is downloaded and nothing unpacked.

    Raises
    ------
    InvalidArgumentError
        Nothing of the kind lies there.
    FileFormatError
        A file is not as expected.
    """
    found = _files(Path(path))
    missing = [name for name in FILES.values() if name not in found]
    if missing:
        raise InvalidArgumentError(f"{path} holds no {', '.join(missing)}; {GET_IT}")
    rows = [row for domain, name in FILES.items() for row in _rows(found[name], domain, name)]
    texts, domains, styles, ratings, documents = (list(column) for column in zip(*rows, strict=True))
    return RatedSentences(texts, domains, styles, tuple(ratings), tuple(documents))


def _files(path: Path) -> Mapping[str, bytes]:
    """Return the files by name."""
    if path.is_dir():
        plain = {name: file for name in FILES.values() for file in path.rglob(name)}
        if plain:
            with sound(path, "folder of the texts"):
                return {name: file.read_bytes() for name, file in plain.items()}
        archives = sorted(path.rglob(ARCHIVE)) or sorted(path.glob("vaderSentiment-*.tar.gz"))
        if not archives:
            raise InvalidArgumentError(f"{path} holds neither the texts nor an archive of them; {GET_IT}")
        path = archives[0]
    if not path.is_file():
        raise InvalidArgumentError(f"there is no {path}; {GET_IT}")
    with sound(path, "archive of the texts"):
        return _unpacked(path.read_bytes(), str(path))


def _unpacked(content: bytes, name: str, nested: bool = True) -> dict[str, bytes]:
    """Return the files of an archive, and of the archive inside it; that one's own archives, which may be itself, stay shut."""
    found: dict[str, bytes] = {}
    with sound(name, f"archive of the texts ({GET_IT})"), gzip.open(io.BytesIO(content)) as packed:
        plain = packed.read(LIMIT + 1)
        if len(plain) > LIMIT:
            raise FileFormatError(f"{name} unpacks to more than {LIMIT} bytes; {GET_IT}")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                base = Path(member.name).name
                if file is not None and base in FILES.values():
                    found[base] = file.read()
                elif file is not None and base == ARCHIVE and nested:
                    found |= _unpacked(file.read(), base, nested=False)
    return found


def _rows(content: bytes, domain: str, name: str) -> list[tuple[str, str, str | None, float, str]]:
    """Return text, domain, style, rating and document of each line that has words."""
    rows = []
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        parts = line.split("\t")
        try:
            key, rating, text = parts[0], float(parts[1]), "\t".join(parts[2:]).strip()
        except (IndexError, ValueError):
            raise FileFormatError(f"{name}, line {number}: expected id, rating and text with tabs between; {GET_IT}") from None
        if words(text):
            style = None if rating == 0 else "positive" if rating > 0 else "negative"
            rows.append((text, domain, style, rating, f"{domain}/{key.split('_')[0]}"))
    return rows
