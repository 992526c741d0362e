"""From files to a trained model, and from a model to a table of how well it transfers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl.errors import FileFormatError, InvalidArgumentError, UnknownNameError, nearest, sound
from robust_rl.extras.matte.baselines import antonym_baseline, copy_baseline
from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.grammar import synthetic_sentences
from robust_rl.extras.matte.metrics import evaluate_transfer
from robust_rl.extras.matte.scoring import StyleClassifier, TrigramModel
from robust_rl.extras.matte.text import Sentences, TextMatte
from robust_rl.extras.matte.vader import load_vader_domains
from robust_rl.training import RunDirectory, Section, Table, read_json

GRAMMAR: dict[str, Any] = {
    "c_dim": 6, "s_dim": 2, "enc_hidden": 64, "dec_hidden": 64, "embedding": 32, "word_dropout": 0.9, "beta_c": 2.4,
    "beta_s": 0.05, "influence": "swap", "free_influence": 2.0, "w_sparse": 3.0, "w_partial": 0.0, "w_mask": 0.0,
    "penalty_course": "constant", "warm_up": 0.8, "kl_start": 0.01, "kl_course": "geometric", "style_from": 0.4,
    "steps": 1200, "learning_rate": 1e-2,
}  # fmt: skip
"""Settings for the synthetic grammar, a minute of one core.

What they rest on, in nats a sentence: with 9 of 10 words hidden from the decoder, style (0.67 nats) saves 1.3 and the noun
(1.6 nats) saves 5.5, for it touches four words. At a price beta_c of 2.4 content pays for the noun and not for style. Latent
style, nearly free but held to two words, is shown to the decoder once content is learned, and has only style left to say. The
price rises geometrically, from where everything pays: at 2.4 from the start, nothing is learned. It doesn't succeed on every
seed: see docs/papers/matte.md.
"""
SENTENCES = 5000
APART = 10_007
"""Between the seeds of two starts."""


def read_config(path: Path | None, data: str, *, steps: int | None = None, seed: int = 0) -> MatteConfig:
    """Return the settings of a JSON file; without one, those that suit the data.

    Raises
    ------
    FileFormatError
        The file can't be read.
    UnknownNameError, InvalidArgumentError
        A setting is unknown, or out of range.
    """
    settings = dict(GRAMMAR if data == "grammar" else {}) if path is None else read_json(path)
    if not isinstance(settings, dict):
        raise FileFormatError(f"{path} holds no settings by name")
    known = [field.name for field in fields(MatteConfig)]
    for name in settings:
        if name not in known:
            raise UnknownNameError(f"{path} sets {name!r}{nearest(name, known)}; known are {', '.join(known)}")
    with sound(path, "configuration"):
        return MatteConfig(**settings | {"seed": seed} | ({} if steps is None else {"steps": steps}))


def read_sentences(data: str, seed: int = 0) -> tuple[Sentences, Sentences]:
    """Return sentences to learn from and sentences held out.

    Parameters
    ----------
    data
        ``"grammar"``; a table with the columns domain, style and text, parted by commas or, in ``.tsv``, tabs, style possibly
        empty; or what :func:`~robust_rl.extras.matte.load_vader_domains` takes.
    seed
        Of the grammar's draw, or of the division.

    Raises
    ------
    InvalidArgumentError, FileFormatError
        There is no such file, or it is not as expected.
    """
    if data == "grammar":
        return synthetic_sentences(SENTENCES, seed=seed), synthetic_sentences(1000, seed=seed + 1_000_000)
    path = Path(data)
    if path.suffix in (".csv", ".tsv"):
        everything = _table(path)
        order = np.random.default_rng(seed).permutation(len(everything)).tolist()
        cut = max(1, len(order) // 7)
        return everything.take(order[cut:]), everything.take(order[:cut])
    return load_vader_domains(path).split(seed=seed)


def train_text(
    config: MatteConfig,
    sentences: Sentences,
    examples: int,
    run: RunDirectory,
    *,
    starts: int = 1,
    checkpoint_every: int = 200,
    progress: bool = False,
) -> tuple[TextMatte, bool]:
    """Train in a run directory, going on with what is there, and leave ``result/model.safetensors``.

    Returns
    -------
    model, finished
        False if a signal ended it early.
    """
    data = with_examples(sentences, examples, config.seed)
    model = best_of(config, data, starts, run, checkpoint_every=checkpoint_every, progress=progress)
    finished = model.steps_done >= config.steps
    if finished:
        run.result.mkdir(exist_ok=True)
        model.save(run.result / "model.safetensors")
    return model, finished


def best_of(config: MatteConfig, data: Sentences, starts: int = 1, run: RunDirectory | None = None, **trainer: Any) -> TextMatte:
    """Train from several first weights, and return the model whose objective ended lowest.

    Whether style is told from content depends on the start, and an optimum that has missed it is worse in the objective: the
    choice needs no labels.

    Parameters
    ----------
    config
        Its seed is that of the first start; the others have seeds of their own.
    data
        As :meth:`TextMatte.fit` takes it.
    starts
        Number of trainings.
    run
        Holds them: one start is the run itself, several have each a run of their own in ``starts/``, and go on there.
    trainer
        Further arguments of :class:`~robust_rl.training.Trainer`.

    Returns
    -------
    TextMatte
        One with fewer steps than asked for, if a signal ended it.
    """
    found: list[TextMatte] = []
    for i in range(starts):
        place = run if run is None or starts == 1 else RunDirectory(run.path / "starts" / str(i))
        found.append(TextMatte(replace(config, seed=config.seed + APART * i)).fit(data, run=place, **trainer))
        if found[-1].steps_done < config.steps:
            break
        if run is not None and starts > 1:
            run.truncate_metrics(i)
            run.log(i + 1, {"start/objective": found[-1].objective})
    finished = found[-1].steps_done >= config.steps
    if run is not None and starts > 1:
        run.finish("finished" if finished else "interrupted")
    return min(found, key=lambda model: model.objective) if finished else found[-1]


def with_examples(sentences: Sentences, examples: int, seed: int = 0) -> Sentences:
    """Return the sentences with the styles of ``examples`` of each style alone, drawn by chance."""
    styles: list[str | None] = [None] * len(sentences)
    rng = np.random.default_rng(seed)
    for name in sorted({style for style in sentences.styles or () if style is not None}):
        places = [i for i, style in enumerate(sentences.styles or ()) if style == name]
        for i in rng.permutation(places)[:examples]:
            styles[int(i)] = name
    return Sentences(sentences.texts, sentences.domains, styles)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file that hold anything."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"cannot read {path}: {error}") from error


def load_model(path: Path) -> TextMatte:
    """Return the model of a run directory, or of a file."""
    return TextMatte.load(path / "result" / "model.safetensors" if path.is_dir() else path)


def restyle(model: TextMatte, sentences: Sentences, targets: Sequence[str], **options: Any) -> list[str]:
    """Return each sentence in its own target style."""
    found = [""] * len(sentences)
    for target in sorted(set(targets)):
        places = [i for i, wanted in enumerate(targets) if wanted == target]
        part = sentences.take(places)
        for i, one in zip(places, model.counterfactual(part.texts, part.domains, to=target, **options), strict=True):
            found[i] = one.text
    return found


def transfer_table(
    model: TextMatte,
    learned: Sentences,
    held_out: Sentences,
    *,
    limit: int = 300,
    direction: str = "prototype",
    strength: float = 1.0,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Give held-out sentences the other of two styles, by the model and by baselines.

    Classifier and language model learn from the sentences that the model learned from, with all their labels.

    Returns
    -------
    rows, pairs
        A row of metrics for each method, and for each sentence what every method made of it.

    Raises
    ------
    InvalidArgumentError
        The data has not exactly two styles.
    """
    names = sorted({style for style in learned.styles or () if style is not None})
    if len(names) != 2:
        raise InvalidArgumentError(f"the data has the styles {', '.join(names) or 'none'}; an evaluation needs two")
    labelled = learned.take([i for i, style in enumerate(learned.styles or ()) if style is not None])
    classifier = StyleClassifier().fit(labelled.texts, [str(style) for style in labelled.styles or ()])
    scorer = TrigramModel(learned.texts)
    test = _sample(held_out, limit, model.config.max_tokens, seed)
    targets = [names[1] if style == names[0] else names[0] for style in test.styles or ()]
    methods = {
        "copy": copy_baseline(test.texts),
        "antonyms": antonym_baseline(test.texts),
        "reconstruction": model.reconstruct(test.texts, test.domains),
        "MATTE": restyle(model, test, targets, direction=direction, strength=strength),
    }
    measured = {
        name: evaluate_transfer(texts, methods["copy"], targets, classifier=classifier, scorer=scorer)
        for name, texts in methods.items()
    }
    rows = [{"method": name, **found} for name, found in measured.items()]
    columns = {"domain": test.domains, "target": targets, **methods}
    return rows, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_transfer_report(run: RunDirectory, table: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, str]]) -> Path:
    """Write ``result/report.html`` from what :func:`transfer_table` returned, and return its path."""
    note = f"Accuracy by {table[0]['classifier']}; perplexity by {table[0]['scorer']}. Accuracy, BLEU and G in 0 to 100."
    shown = [name for name in table[0] if name not in ("classifier", "scorer")]
    scores = Table(shown, [[row[name] for name in shown] for row in table])
    examples = Table(list(pairs[0]), [list(pair.values()) for pair in pairs[:30]])
    return run.report("MATTE", [Section("Transfer", note, [scores]), Section("Sentences", "The first thirty.", [examples])])


def _table(path: Path) -> Sentences:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgumentError(f"cannot read {path}: {error}") from error
    if not rows or not {"domain", "text"} <= rows[0].keys():
        raise FileFormatError(f"{path} must have the columns domain, text and, if known, style, and a line at least")
    styles = [row.get("style") or None for row in rows]
    return Sentences([row["text"] or "" for row in rows], [row["domain"] or "" for row in rows], styles)


def _sample(sentences: Sentences, limit: int, max_tokens: int, seed: int) -> Sentences:
    """Return some of the sentences whose style is known and that are short enough."""
    styles = sentences.styles or ()
    short = [i for i, text in enumerate(sentences.texts) if len(text.split()) <= max_tokens]
    places = [i for i in short if styles and styles[i] is not None]
    if not places:
        raise InvalidArgumentError("no sentence held out has a style and is short enough; raise max_tokens, or label some")
    return sentences.take(np.random.default_rng(seed).permutation(places)[:limit].tolist())
