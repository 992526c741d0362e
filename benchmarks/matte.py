"""MATTE: what is identified on vectors, what is flipped in a grammar, and what comes of 23.7k rated sentences.

python benchmarks/matte.py vectors OUT          # resumable, a result a file: the same command goes on
python benchmarks/matte.py grammar OUT
python benchmarks/matte.py told OUT             # the grammar's optimum, style told, against what training finds
python benchmarks/matte.py vader OUT SDIST      # the source distribution of vaderSentiment 3.3.2
python benchmarks/matte.py page OUT             # writes benchmarks/matte.md from what is there
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata, t

from robust_rl.errors import CollapseWarning
from robust_rl.extras.matte import (
    MatteConfig,
    TextMatte,
    VectorMatte,
    antonym_baseline,
    block_r2,
    copy_baseline,
    grammar_score,
    leakage,
    load_vader_domains,
    mcc,
    synthetic_sentences,
    synthetic_vectors,
)
from robust_rl.extras.matte.grammar import ADJECTIVES, DOMAINS, NOUNS, VERDICTS, SyntheticSentences, flipped
from robust_rl.extras.matte.study import GRAMMAR, best_of, restyle, train_text, transfer_table, with_examples
from robust_rl.extras.matte.training import MatteTraining
from robust_rl.extras.matte.vocabulary import UNKNOWN
from robust_rl.training import RunDirectory, read_json, write_json

SEEDS = (10, 11, 12, 13, 14)
GRAMMAR_SEEDS = (20, 21, 22, 23, 24)
STARTS = {"MATTE": 4, "no domain prior": 4, "VAE": 1}
VECTORS = {
    "c_dim": 3, "s_dim": 2, "enc_hidden": 64, "dec_hidden": 64, "flow_hidden": 32, "beta_c": 1.0, "beta_s": 1.0, "w_sparse": 0.5,
    "w_partial": 0.1, "w_mask": 0.0, "free_influence": 2.0, "steps": 1000, "batch_size": 128, "learning_rate": 3e-3,
}  # fmt: skip
VECTOR_VARIANTS = {
    "MATTE": {},
    "no sparsity": {"w_sparse": 0.0, "w_partial": 0.0},
    "no domain prior": {"prior": "standard"},
    "neither": {"prior": "standard", "w_sparse": 0.0, "w_partial": 0.0},
}
VAE = {"prior": "standard", "w_sparse": 0.0, "style_from": 0.0, "beta_c": 0.5, "beta_s": 0.5}
TEXT_VARIANTS = {"MATTE": {}, "no domain prior": {"prior": "standard"}, "VAE": VAE}
VADER = {
    "c_dim": 24, "s_dim": 16, "enc_hidden": 96, "dec_hidden": 96, "embedding": 64, "vocabulary": 4000, "max_tokens": 12,
    "beta_c": 0.03, "beta_s": 0.003, "w_sparse": 0.02, "w_partial": 0.005, "free_influence": 15.0, "batch_size": 48,
    "steps": 1600, "learning_rate": 4e-3, "jacobian_every": 20, "jacobian_fraction": 0.2, "warm_up": 0.3, "word_dropout": 0.6,
    "seed": 0,
}  # fmt: skip
TERMS = ("loss", "reconstruction", "kl_c", "kl_s", "sparse")
TOLD_SEEDS = (14,)
TOLD_NOTE = """A seed above on which style did not flip: the terms of the objective (means over the last fifty steps) when style
is told to the encoder and hidden from content, against what training finds untold. "swap": words of a sentence that change when
its style, or content, is that of another of its domain; "J": L1 norm of the largest column of the Jacobian."""
VECTOR_COLUMNS = ("c from c^", "s from s^", "leak", "s from c^", "c after s~", "seconds")
NOTE = """`python benchmarks/matte.py vectors OUT`, `grammar OUT`, `vader OUT SDIST`, then `page OUT`

x86_64, 2 cores beside much other work, one thread, float32; seconds are of the processor. Means over five seeds with 95 %
intervals (Student's t). Nothing here was published by the paper: data and bounds are ours."""
VECTOR_NOTE = """Three dimensions of content, two of style, eight domains, twenty outputs, 10,000 rows, 1,000 steps; R2 by kernel
ridge regression on rows held out. "leak": what c\\^ tells of s beyond what the true c and the domain tell; "c after s\\~":
content read from rows whose noise of style was redrawn. Weights and the free influence were chosen on seeds 0 and 1 and then
held; the seeds here are new ones. "no domain prior": N(0, I)."""
GRAMMAR_NOTE = """5,000 sentences, 1,200 steps, four starts of which the lowest objective is kept, 300 sentences held out and
flipped, towards ten labelled examples of each style, drawn from all domains, or ("one domain") from restaurants alone. "all":
style, noun and domain right at once; "reconstructed": written again word for word, nothing changed. Settings were chosen on seeds
0 and 1 and then held. "no domain prior": N(0, I), all else the same; the VAE: N(0, I), no penalty, one beta of 0.5 for the whole
code, style shown from the beginning, one start. Seconds are those of all starts.

With one start (seeds 10 to 14, the study before this one) style flipped at 0.67 ± 0.58 for MATTE (1.00, 0.36, 0.98, 1.00, 0.00),
at 0.73 ± 0.40 without the domain's prior, at 0.02 ± 0.05 for the VAE."""
MOVED_NOTE = """Moved to another domain, both noises kept: are adjective and noun of the new domain, is the style kept? Without a
prior that depends on the domain there is nothing to change."""
VADER_NOTE = """{sentences} sentences of VADER's four domains to learn from, {held_out} rated ones held out, by whole documents
({documents}), one seed, 12 tokens at most, 1,600 steps of 48: under four epochs. Negative log-likelihood of a sentence in
training: {first_loss:.1f} at first, {last_loss:.1f} at the end; KL of content {kl_c:.1f} nats, of style {kl_s:.1f}. Does style
tell the sign of a held-out rating? Area under the curve of a least-squares fit: {s[0]:.3f} ({s[1]:.3f} to {s[2]:.3f}, bootstrap
over documents) from style's noise, {c[0]:.3f} ({c[1]:.3f} to {c[2]:.3f}) from content's; 0.5 is chance."""


def vectors(out: Path) -> None:
    """Fit every variant to every seed's mechanism; 10,000 rows, measured on 2,400 others."""
    for seed in SEEDS:
        for name, options in VECTOR_VARIANTS.items():
            path = out / "vectors" / f"{name.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                write(path, measure_vectors(MatteConfig(**VECTORS | options | {"seed": seed}), seed))


def measure_vectors(config: MatteConfig, seed: int) -> dict:
    data = synthetic_vectors(12_400, seed=seed)
    fit, rest = slice(0, 10_000), slice(10_000, None)
    start = time.process_time()
    model = VectorMatte(config).fit(data.x[fit], data.domain[fit])
    seconds = time.process_time() - start
    u, c, s = data.domain[rest], data.c[rest], data.s[rest]
    code = model.encode(data.x[rest], u)
    told = np.concatenate([c, np.eye(u.max() + 1)[u]], axis=1)
    noise = torch.randn(code.s_noise.shape, generator=torch.Generator().manual_seed(seed))
    changed = model.decode(model._restyled(code, noise, model._numbers([str(one) for one in u])))
    return {
        "c from c^": block_r2(c, code.c),
        "s from s^": block_r2(s, code.s),
        "leak": leakage(s, code.c, told),
        "s from c^": block_r2(s, code.c),
        "c after s~": block_r2(c, model.encode(changed, u).c),
        "mcc of c": mcc(c, code.c, method="spearman"),
        "style": model.influence()["style"],
        "content": model.influence()["content"],
        "seconds": seconds,
    }


def grammar(out: Path) -> None:
    """Train every variant on every seed's 5,000 sentences, name styles by ten examples each, flip 300 sentences held out."""
    for seed in GRAMMAR_SEEDS:
        for name, options in TEXT_VARIANTS.items():
            path = out / "grammar" / f"{name.replace(' ', '_')}-{seed}.json"
            if not path.exists():
                write(path, measure_grammar(MatteConfig(**GRAMMAR | options | {"seed": seed}), seed, STARTS[name]))


def measure_grammar(config: MatteConfig, seed: int, starts: int) -> dict:
    data, test = synthetic_sentences(5000, seed=seed), synthetic_sentences(300, seed=1000 + seed)
    start = time.process_time()
    model = best_of(config, data.labelled(0), starts)
    if model.steps_done < config.steps:
        raise KeyboardInterrupt  # a part of a training is no result
    seconds = time.process_time() - start
    targets = [flipped(style) for style in test.styles]
    scores, outputs = {}, []
    for name, examples in (("", with_examples(data, 10, seed)), ("one domain ", data.labelled(10, "restaurant"))):
        for style in ("positive", "negative"):
            model.name_style(style, examples.take([i for i, one in enumerate(examples.styles) if one == style]))
        written = restyle(model, test, targets)
        score = grammar_score(written, test.texts, test.domains, targets)
        scores |= {name + part: value for part, value in vars(score).items()}
        outputs = outputs or written
    same = [a == b for a, b in zip(model.reconstruct(test.texts, test.domains), copy_baseline(test.texts))]
    pairs = list(zip(test.texts[:40], outputs[:40], test.domains[:40], targets[:40]))
    alike = {"reconstructed": float(np.mean(same)), "objective": model.objective, "seconds": seconds, **model.influence()}
    return {**scores, **alike, **moved(model, test), "pairs": pairs}


class ToldEncoder(torch.nn.Module):
    """Reads content from the sentence without its words of style, and style from the truth: what MATTE should find."""

    def __init__(self, encoder: torch.nn.Module, words: torch.Tensor, good: torch.Tensor, c_dim: int, s_dim: int) -> None:
        super().__init__()
        self.encoder, self.words, self.good, self.c_dim = encoder, words, good, c_dim
        self.style = torch.nn.Linear(1, 2 * s_dim)

    def forward(self, data: torch.Tensor, domain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and logarithm of the variance."""
        content = self.encoder(data.masked_fill(torch.isin(data, self.words), UNKNOWN), domain)
        truth = 2 * torch.isin(data, self.good).any(1, keepdim=True).float() - 1
        style = self.style(truth).chunk(2, dim=1)
        mean, log_var = (torch.cat([one[:, : self.c_dim], two], dim=1) for one, two in zip(content, style))
        return mean, log_var.clamp(-12, 4)


def told(out: Path) -> None:
    """Train with style told and not, and compare the objective."""
    for seed in TOLD_SEEDS:
        for name in ("told", "found"):
            path = out / "told" / f"{name}-{seed}.json"
            if not path.exists():
                write(path, measure_told(MatteConfig(**GRAMMAR | {"seed": seed}), seed, tell=name == "told"))


def measure_told(config: MatteConfig, seed: int, *, tell: bool) -> dict:
    data, test = synthetic_sentences(5000, seed=seed), synthetic_sentences(300, seed=1000 + seed)
    model = TextMatte(config).fit(data.labelled(0), max_steps=0)
    if tell:
        number = {word: int(model.vocabulary.encode([word], 1)[0, 0]) for word in model.vocabulary.known}
        pairs = [*ADJECTIVES.values(), VERDICTS]
        good = torch.tensor([number[by["positive"]] for by in pairs])
        words = torch.cat([good, torch.tensor([number[by["negative"]] for by in pairs])])
        model.network.encoder = ToldEncoder(model.network.encoder, words, good, config.c_dim, config.s_dim)
    training = MatteTraining(model.network, model._ids(data.texts), model._numbers(data.domains))
    steps = [training.step() for _ in range(config.steps)]
    model.network.eval()
    for style in ("positive", "negative"):
        examples = with_examples(data, 10, seed)
        model.name_style(style, examples.take([i for i, one in enumerate(examples.styles) if one == style]))
    targets = [flipped(style) for style in test.styles]
    score = grammar_score(restyle(model, test, targets), test.texts, test.domains, targets)
    terms = {name: float(np.mean([step[f"train/{name}"] for step in steps[-50:]])) for name in TERMS}
    return terms | vars(score) | influences(model, training.data[:64], training.domain[:64])


@torch.no_grad()
def influences(model: TextMatte, data: torch.Tensor, domain: torch.Tensor) -> dict:
    """By swaps, in words; and by the Jacobian, in L1 norm, the largest column of a block."""
    code, network, inputs = model._encode(data, domain), model.network, model.network.decoder.inputs(data, None)
    z = torch.cat([code.c, code.s], dim=1)
    content, style = network.swaps(z, inputs, domain).sum(2).mean(1).tolist()
    network.decoder.fused = False  # which has no forward mode
    columns = network.influence(z, inputs).mean(1).sum(1)
    by_content, by_style = (part.max().item() for part in columns.split([network.config.c_dim, network.config.s_dim]))
    return {"swap style": style, "swap content": content, "J style": by_style, "J content": by_content}


def moved(model: TextMatte, test: SyntheticSentences) -> dict:
    """Give each sentence another domain, and look for its words, a noun of it, and the style that was there."""
    away = [DOMAINS[(DOMAINS.index(home) + 1) % len(DOMAINS)] for home in test.domains]
    written = [""] * len(test)
    for home in DOMAINS:
        rows = [i for i, one in enumerate(away) if one == home]
        part = test.take(rows)
        for i, one in zip(rows, model.counterfactual(part.texts, part.domains, to_domain=home)):
            written[i] = one.text
    score = grammar_score(written, test.texts, away, test.styles)
    nouns = [any(noun in text.split() for noun in NOUNS[home]) for text, home in zip(written, away)]
    found = {"moved domain_right": score.domain_right, "moved noun": float(np.mean(nouns)), "moved style_kept": score.flipped}
    return found | {"moved pairs": list(zip(test.texts[:12], written[:12], away[:12]))}


def vader(out: Path, sdist: Path) -> None:
    """Train on four fifths of the documents; measure on the others."""
    learned, held_out = load_vader_domains(sdist).split()
    config = MatteConfig(**VADER)
    model, _ = train_text(config, learned, 10, RunDirectory(out / "vader-run"))
    lines = RunDirectory(out / "vader-run").metrics()
    losses = [line["train/reconstruction"] for line in lines]
    signs = {}
    for name, part in (("learned", learned), ("held out", held_out)):
        part = part.rows([i for i, style in enumerate(part.styles) if style is not None])
        code = model.encode(part.texts, part.domains)
        signs[name] = code, np.array([style == "positive" for style in part.styles]), np.array(part.documents)
    table, pairs = transfer_table(model, learned, held_out, limit=200)
    found = {
        "sentences": len(learned),
        "held_out": len(signs["held out"][1]),
        "documents": len(set(held_out.documents)),
        "first loss": float(np.mean(losses[:50])),
        "last loss": float(np.mean(losses[-50:])),
        "kl_c": float(np.mean([line["train/kl_c"] for line in lines[-50:]])),
        "kl_s": float(np.mean([line["train/kl_s"] for line in lines[-50:]])),
        "s": sign_auc(signs, "s_noise"),
        "c": sign_auc(signs, "c_noise"),
        "influence": model.influence(),
        "table": table,
        "pairs": pairs,
    }
    write(out / "vader.json", found)


def sign_auc(signs: dict, block: str) -> tuple[float, float, float]:
    """Area under the curve of a least-squares fit on learned rows, on held-out ones; 95 % by bootstrap over documents."""
    (code, wanted, _), (other, truth, documents) = signs["learned"], signs["held out"]
    x, y = (np.c_[getattr(part, block).numpy(), np.ones(len(getattr(part, block)))] for part in (code, other))
    score = y @ np.linalg.lstsq(x, 2.0 * wanted - 1, rcond=None)[0]
    rng, groups = np.random.default_rng(0), [np.flatnonzero(documents == name) for name in np.unique(documents)]
    draws = [np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))]) for _ in range(200)]
    return (auc(score, truth), *np.quantile([auc(score[rows], truth[rows]) for rows in draws], [0.025, 0.975]).tolist())


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a positive one has the higher score."""
    count = truth.sum()
    return float((rankdata(score)[truth].sum() - count * (count + 1) / 2) / (count * (len(truth) - count)))


def page(out: Path) -> None:
    """Write benchmarks/matte.md."""
    lines = ["# MATTE", "", NOTE, *vectors_section(out), *grammar_section(out), *told_section(out), *vader_section(out)]
    (Path(__file__).parent / "matte.md").write_text("\n".join(lines) + "\n")


def vectors_section(out: Path) -> list[str]:
    columns = {name: name.replace("^", "\\^").replace("~", "\\~") for name in VECTOR_COLUMNS}
    rows = [[name, *(interval(found(out, "vectors", name, column)) for column in columns)] for name in VECTOR_VARIANTS]
    return ["", "## Vectors whose content is known", "", VECTOR_NOTE, "", *table(["variant", *columns.values()], rows)]


def grammar_section(out: Path) -> list[str]:
    variants = [name for name in TEXT_VARIANTS if len(found(out, "grammar", name, "flipped"))]
    scores = ("flipped", "noun_kept", "domain_right", "all")
    columns = (*scores, *(f"one domain {name}" for name in ("flipped", "all")), "reconstructed", "objective", "seconds")
    rows = [[name, *(interval(found(out, "grammar", name, column)) for column in columns)] for name in variants]
    rows += [[name, *(interval(score) for score in scores), "", "", "", "", ""] for name, scores in baselines().items()]
    by_seed = (f"{name} {', '.join(f'{one:.2f}' for one in found(out, 'grammar', name, 'flipped'))}" for name in variants)
    away = ("moved domain_right", "moved noun", "moved style_kept")
    moves = [[name, *(interval(found(out, "grammar", name, column)) for column in away)] for name in variants]
    data = read_json(out / "grammar" / f"MATTE-{GRAMMAR_SEEDS[0]}.json")
    judged = [(grammar_score([b], [a], [home], [target]).all, a, b, home) for a, b, home, target in data["pairs"]]
    chosen = [pair for good in (1.0, 0.0) for pair in [one for one in judged if one[0] == good][:6]]
    examples = [["right" if right else "wrong", home, a, b] for right, a, b, home in chosen]
    head = ["", "## A grammar whose counterfactuals are known", "", GRAMMAR_NOTE, "", *table(["variant", *columns], rows)]
    head += ["", f"Flipped, seed by seed: {'; '.join(by_seed)}."]
    pairs = {name: [found(out, "grammar", which, name) for which in ("MATTE", "no domain prior")] for name in scores}
    less = ", ".join(f"{name} {interval(ours - theirs)}" for name, (ours, theirs) in pairs.items() if len(ours) == len(theirs))
    head += [f"MATTE less no domain prior, paired by seed: {less}."]
    first = GRAMMAR_SEEDS[0]
    note = f"MATTE, sentences of seed {first}: the first six that came out right, and what of the first forty came out wrong."
    head += ["", note, "", *table(["", "domain", "from", "to"], examples), "", MOVED_NOTE, ""]
    moved_pairs = [[home, a, b] for a, b, home in data["moved pairs"][:6]]
    return [*head, *table(["variant", *away], moves), "", *table(["to", "from", "moved"], moved_pairs)]


def told_section(out: Path) -> list[str]:
    columns = (*TERMS, "flipped", "noun_kept", "swap style", "swap content", "J style", "J content")
    runs = [(name, seed, out / "told" / f"{name}-{seed}.json") for seed in TOLD_SEEDS for name in ("told", "found")]
    data = [(name, seed, read_json(path)) for name, seed, path in runs if path.exists()]
    if not data:
        return []
    rows = [[name, str(seed), *(f"{one[column]:.3g}" for column in columns)] for name, seed, one in data]
    return ["", "### What should be found, and what is", "", TOLD_NOTE, "", *table(["style", "seed", *columns], rows)]


def baselines() -> dict[str, list[np.ndarray]]:
    """Scores of copies, of the antonyms of common English, and of the grammar's own, on the sentences of the seeds."""
    own = {"hated": "loved"} | {by["negative"]: by["positive"] for by in ADJECTIVES.values()}
    ways = {
        "copy": copy_baseline,
        "antonyms, English at large": antonym_baseline,
        "antonyms, told the grammar's": lambda texts: antonym_baseline(texts, own),
    }
    scores: dict[str, list] = {name: [] for name in ways}
    for seed in GRAMMAR_SEEDS:
        test = synthetic_sentences(300, seed=1000 + seed)
        for name, way in ways.items():
            score = grammar_score(way(test.texts), test.texts, test.domains, [flipped(style) for style in test.styles])
            scores[name].append([score.flipped, score.noun_kept, score.domain_right, score.all])
    return {name: list(np.array(rows).T) for name, rows in scores.items()}


def vader_section(out: Path) -> list[str]:
    path = out / "vader.json"
    if not path.exists():
        return []
    data = read_json(path)
    note = VADER_NOTE.format(**{name.replace(" ", "_").replace("~", ""): value for name, value in data.items()})
    columns = [name for name in data["table"][0] if name not in ("classifier", "scorer")]
    rows = [[row["method"], *(f"{row[name]:.3g}" for name in columns[1:])] for row in data["table"]]
    first = data["table"][0]
    judges = f"Accuracy by {first['classifier']}, perplexity by {first['scorer']}, both fitted to the training part."
    clean = [
        [pair["domain"], pair["target"], *(pair[name].replace("|", "/") for name in ("copy", "MATTE"))]
        for pair in data["pairs"][:14]
    ]
    head = ["", "## Four domains of rated sentences", "", note, "", judges, "", *table(columns, rows)]
    return [*head, "", "The first fourteen sentences, none chosen.", "", *table(["domain", "to", "from", "MATTE"], clean)]


def found(out: Path, study: str, name: str, column: str) -> np.ndarray:
    seeds = GRAMMAR_SEEDS if study == "grammar" else SEEDS
    files = [out / study / f"{name.replace(' ', '_')}-{seed}.json" for seed in seeds]
    return np.array([read_json(file)[column] for file in files if file.exists()])


def interval(values: np.ndarray) -> str:
    """Mean over seeds and 95 % interval by Student's t."""
    if not len(values):
        return ""
    if len(values) == 1:
        return f"{values[0]:.3g} (one seed)"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3g} ± {half:.2g}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def write(path: Path, found: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(path.stem, {name: round(value, 3) for name, value in found.items() if isinstance(value, float)}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["vectors", "grammar", "told", "vader", "page"])
    parser.add_argument("out", type=Path)
    parser.add_argument("sdist", type=Path, nargs="?")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", CollapseWarning)
    if arguments.study == "vader":
        vader(arguments.out, arguments.sdist)
    else:
        {"vectors": vectors, "grammar": grammar, "told": told, "page": page}[arguments.study](arguments.out)


if __name__ == "__main__":
    main()
