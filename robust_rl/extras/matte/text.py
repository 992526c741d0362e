"""MATTE for sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest, sound
from robust_rl.extras.matte.backbone import BackboneDecoder, BackboneEncoder, BackboneVocabulary, load_backbone
from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.interventions import intervene
from robust_rl.extras.matte.lstm import LSTMDecoder, LSTMEncoder
from robust_rl.extras.matte.model import Code, Matte
from robust_rl.extras.matte.network import MatteNetwork
from robust_rl.extras.matte.vocabulary import Vocabulary, words
from robust_rl.training import RunDirectory, load_arrays, save_arrays

FORMAT = "robust-rl matte"


@dataclass(frozen=True)
class Sentences:
    """Sentences of several domains.

    Parameters
    ----------
    texts, domains
        A sentence, and the name of its domain, each.
    styles
        The name of a sentence's style where it is known, else None. Training sees none of it.

    Raises
    ------
    InvalidArgumentError
        A text has no words, or the lengths differ.
    """

    texts: Sequence[str]
    domains: Sequence[str]
    styles: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        if not len(self.texts) or len(self.texts) != len(self.domains) or len(self.texts) != len(self.styles or self.texts):
            raise InvalidArgumentError(
                f"{len(self.texts)} texts, {len(self.domains)} domains and {len(self.styles or self.texts)} styles; "
                "give as many of each, one at least"
            )
        for place, text in enumerate(self.texts):
            if not words(text):
                raise InvalidArgumentError(f"text {place} ({text!r}) has no words; leave it out")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, places: Sequence[int]) -> Sentences:
        """Return the sentences at these places."""
        styles = None if self.styles is None else [self.styles[i] for i in places]
        return Sentences([self.texts[i] for i in places], [self.domains[i] for i in places], styles)


@dataclass(frozen=True)
class Counterfactual:
    """A sentence as it would have been.

    Attributes
    ----------
    text, source
        The new sentence, and the one that it came from.
    c_shift, s_shift
        How far content and style of the new sentence, read by the encoder, lie from those of the source: Euclidean, in the
        noises, whose prior is standard normal.
    score
        Log-probability of the new sentence given its code.
    """

    text: str
    source: str
    c_shift: float
    s_shift: float
    score: float


class TextMatte(Matte):
    """MATTE for sentences.

    Parameters
    ----------
    config
        Sizes, weights and the course of training.
    backbone
        Folder or hub name of an encoder-decoder of transformers, to take the place of the LSTMs; its tokenizer counts tokens.

    Attributes
    ----------
    vocabulary : Vocabulary or BackboneVocabulary
    styles : dict of str to Tensor
        Noise s~ of the labelled examples of each style, (n, ds).

    Examples
    --------
    >>> from robust_rl.extras.matte import MatteConfig, TextMatte, synthetic_sentences
    >>> data = synthetic_sentences(200, seed=0).labelled(10)
    >>> model = TextMatte(MatteConfig(c_dim=4, s_dim=2, enc_hidden=8, dec_hidden=8, embedding=8, steps=2)).fit(data)
    >>> model.counterfactual(["the pasta was bland"], domain="restaurant", to="positive")[0].source
    'the pasta was bland'
    """

    vocabulary: Vocabulary | BackboneVocabulary
    styles: dict[str, Tensor]

    def __init__(self, config: MatteConfig | None = None, *, backbone: str | Path | None = None) -> None:
        super().__init__(config)
        self.backbone = None if backbone is None else str(backbone)

    def fit(self, data: Sentences, *, run: RunDirectory | str | None = None, **trainer: Any) -> Self:
        """Train on sentences, and note where the styles of the labelled ones lie.

        Parameters
        ----------
        data
            Of two domains at least.
        run
            Where to log, save and resume: see :class:`~robust_rl.training.Trainer`, whose further arguments are taken too.

        Raises
        ------
        InvalidArgumentError
            There is one domain only.
        """
        domain, self.styles = self._start(data.domains), {}
        self._build(data)
        self._fit(self._ids(data.texts), domain, run, trainer)
        if data.styles is not None:
            for name in sorted({style for style in data.styles if style is not None}):
                self.name_style(name, data.take([i for i, style in enumerate(data.styles) if style == name]))
        return self

    def name_style(self, name: str, examples: Sentences) -> None:
        """Let ``name`` stand for the style of these sentences in :meth:`counterfactual`."""
        self.styles[name] = self.encode(examples.texts, examples.domains).s_noise

    def encode(self, texts: Sequence[str], domains: Sequence[str] | str) -> Code:
        """Return content, style and their noises.

        Raises
        ------
        InvalidArgumentError
            A text has no words.
        UnknownNameError
            A domain is none of those that it was fitted to.
        """
        data = Sentences(texts, [domains] * len(texts) if isinstance(domains, str) else domains)
        return self._encode(self._ids(data.texts), self._numbers(data.domains))

    def reconstruct(self, texts: Sequence[str], domain: Sequence[str] | str, *, beams: int = 5) -> list[str]:
        """Return what the decoder makes of the code of each sentence, nothing changed."""
        code = self.encode(texts, domain)
        return self._write(torch.cat([code.c, code.s], dim=1), beams)[0]

    def counterfactual(
        self,
        texts: Sequence[str],
        domain: Sequence[str] | str,
        *,
        to: str | Sentences | None = None,
        source: str | Sentences | None = None,
        to_domain: str | None = None,
        direction: str = "prototype",
        strength: float = 1.0,
        beams: int = 5,
    ) -> list[Counterfactual]:
        """Return the sentences in another style, another domain, or both.

        Parameters
        ----------
        texts, domain
            Sentences, and the domain of all, or of each.
        to
            The style that is wanted: a name among :attr:`styles`, or a few sentences of it.
        source
            The style to leave, likewise; by default all named styles but ``to``.
        to_domain
            Another domain: content and style take their noises with them.
        direction, strength
            Of the intervention; see :func:`~robust_rl.extras.matte.intervene`.
        beams
            Width of the beam search.

        Raises
        ------
        InvalidArgumentError
            Neither ``to`` nor ``to_domain`` is given, or a style has no examples.
        UnknownNameError
            No such style or domain.
        """
        if to is None and to_domain is None:
            raise InvalidArgumentError("give to=, the style that is wanted, or to_domain=, or both")
        home = [domain] * len(texts) if isinstance(domain, str) else list(domain)
        code, noise = self.encode(texts, home), None
        if to is not None:
            noise = intervene(code.s_noise, self._noise(to), self._other(to, source), direction=direction, strength=strength)
        away = home if to_domain is None else [to_domain] * len(home)
        change = self._restyled if to_domain is None else self._moved
        written, scores = self._write(change(code, code.s_noise if noise is None else noise, self._numbers(away)), beams)
        return self._compared(written, texts, away, code, scores)

    def save(self, path: str | Path) -> None:
        """Write the model into one file of safetensors, which :meth:`load` reads; a backbone's folder must stay where it is."""
        arrays = {f"network.{name}": tensor.detach().cpu() for name, tensor in self.network.state_dict().items()}
        arrays |= {f"style.{name}": noise for name, noise in self.styles.items()}
        metadata: dict[str, Any] = {"config": asdict(self.config), "domains": self.domains, "influence": self._influence}
        known = self.vocabulary.known if isinstance(self.vocabulary, Vocabulary) else None
        save_arrays(path, arrays, metadata | {"words": known, "backbone": self.backbone}, format=FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> TextMatte:
        """Read a model; nothing in the file is executed.

        Raises
        ------
        FileFormatError
            The file is no such model.
        """
        arrays, metadata = load_arrays(path, format=FORMAT)
        with sound(path, "model of MATTE"):
            return cls._of(arrays, metadata)

    @classmethod
    def _of(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> TextMatte:
        model = TextMatte(MatteConfig(**metadata["config"]), backbone=metadata["backbone"])
        model.domains, model._influence = [str(name) for name in metadata["domains"]], metadata["influence"]
        if metadata["words"] is not None:
            model.vocabulary = Vocabulary(metadata["words"])
        model._make(weights=False)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        model.network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        model.network.eval()
        model.styles = {n.removeprefix("style."): t.float() for n, t in tensors.items() if n.startswith("style.")}
        for name, noise in model.styles.items():
            if noise.ndim != 2 or noise.shape[1] != model.config.s_dim or not len(noise):
                raise ValueError(f"style {name!r} has no examples of {model.config.s_dim} numbers each")
        return model

    def _build(self, data: Sentences) -> None:
        """Make vocabulary and network for the data."""
        if self.backbone is None:
            self.vocabulary = Vocabulary.of(data.texts, self.config.vocabulary, self.config.min_count)
        self._make()

    def _make(self, *, weights: bool = True) -> None:
        """Make the network; its first weights depend on the seed alone, but for those of a backbone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            encoder, decoder = self._parts(len(self.domains), weights)
            self._network = MatteNetwork(self.config, len(self.domains), encoder, decoder)

    def _parts(self, domains: int, weights: bool) -> tuple[nn.Module, nn.Module]:
        if isinstance(self.backbone, str):
            model, tokenizer = load_backbone(self.backbone, weights=weights)
            self.vocabulary = BackboneVocabulary(tokenizer)
            return BackboneEncoder(self.config, model, domains), BackboneDecoder(self.config, model)
        words_known = len(self.vocabulary)  # type: ignore[arg-type]
        return LSTMEncoder(self.config, words_known, domains), LSTMDecoder(self.config, words_known)

    def _ids(self, texts: Sequence[str]) -> Tensor:
        return self.vocabulary.encode(texts, self.config.max_tokens)

    @torch.no_grad()
    def _write(self, z: Tensor, beams: int) -> tuple[list[str], list[float]]:
        texts: list[str] = []
        scores: list[float] = []
        for part in z.split(256):
            ids, score = self.network.decoder.generate(part, beams)
            texts += [self.vocabulary.decode(row) for row in ids]
            scores += score.tolist()
        return texts, scores

    def _noise(self, style: str | Sentences) -> Tensor:
        if not isinstance(style, str):
            return self.encode(style.texts, style.domains).s_noise
        if style not in self.styles:
            known = f"known are {', '.join(self.styles)}" if self.styles else "none is known: name_style(name, examples)"
            raise UnknownNameError(f"unknown style {style!r}{nearest(style, list(self.styles))}; {known}")
        return self.styles[style]

    def _other(self, to: str | Sentences, source: str | Sentences | None) -> Tensor:
        if source is not None:
            return self._noise(source)
        others = [noise for name, noise in self.styles.items() if name != to]
        return torch.cat(others) if others else torch.empty(0, self.config.s_dim)

    def _compared(
        self, written: list[str], texts: Sequence[str], domains: list[str], code: Code, scores: list[float]
    ) -> list[Counterfactual]:
        readable = [text if words(text) else "<unk>" for text in written]
        again = self.encode(readable, domains)
        c_shift = (again.c_noise - code.c_noise).norm(dim=1).tolist()
        s_shift = (again.s_noise - code.s_noise).norm(dim=1).tolist()
        return [Counterfactual(*row) for row in zip(written, texts, c_shift, s_shift, scores, strict=True)]
