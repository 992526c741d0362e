"""MATTE: what a sentence would have been in another style, or another domain, its content kept.

    model = TextMatte(MatteConfig()).fit(sentences)
    model.counterfactual(["the pasta was bland"], domain="restaurant", to="positive")

Hanqi Yan, Lingjing Kong, Lin Gui, Yuejie Chi, Eric Xing, Yulan He, Kun Zhang, "Counterfactual Generation with Identifiability
Guarantees", NeurIPS 2023, arXiv:2402.15309. Names are looked up when first used, so that importing this package loads no torch.

What is identified is a block up to an invertible map, not a component; the dimensions of content and style must be given; and
relative sparsity, style touching fewer outputs than content, is an assumption on the data: ``model.influence()`` shows what the
fit made of it. On vectors content is identified; small models of sentences don't carry style in s yet: benchmarks/matte.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.matte.baselines import ANTONYMS, antonym_baseline, copy_baseline
    from robust_rl.extras.matte.config import MatteConfig
    from robust_rl.extras.matte.grammar import SyntheticSentences, grammar_score, synthetic_sentences
    from robust_rl.extras.matte.identifiability import block_r2, leakage, mcc
    from robust_rl.extras.matte.interventions import intervene
    from robust_rl.extras.matte.metrics import (
        content_overlap,
        distinct_n,
        evaluate_transfer,
        g_score,
        perplexity,
        self_bleu,
        transfer_accuracy,
    )
    from robust_rl.extras.matte.model import Code
    from robust_rl.extras.matte.scoring import StyleClassifier, TrigramModel
    from robust_rl.extras.matte.synthetic import SyntheticVectors, synthetic_vectors
    from robust_rl.extras.matte.text import Counterfactual, Sentences, TextMatte
    from robust_rl.extras.matte.vader import RatedSentences, load_vader_domains
    from robust_rl.extras.matte.vector import VectorMatte

_HOMES = {
    "ANTONYMS": "baselines",
    "Code": "model",
    "Counterfactual": "text",
    "MatteConfig": "config",
    "RatedSentences": "vader",
    "Sentences": "text",
    "StyleClassifier": "scoring",
    "SyntheticSentences": "grammar",
    "SyntheticVectors": "synthetic",
    "TextMatte": "text",
    "TrigramModel": "scoring",
    "VectorMatte": "vector",
    "antonym_baseline": "baselines",
    "block_r2": "identifiability",
    "content_overlap": "metrics",
    "copy_baseline": "baselines",
    "distinct_n": "metrics",
    "evaluate_transfer": "metrics",
    "g_score": "metrics",
    "grammar_score": "grammar",
    "intervene": "interventions",
    "leakage": "identifiability",
    "load_vader_domains": "vader",
    "mcc": "identifiability",
    "perplexity": "metrics",
    "self_bleu": "metrics",
    "synthetic_sentences": "grammar",
    "synthetic_vectors": "synthetic",
    "transfer_accuracy": "metrics",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "ANTONYMS",
    "Code",
    "Counterfactual",
    "MatteConfig",
    "RatedSentences",
    "Sentences",
    "StyleClassifier",
    "SyntheticSentences",
    "SyntheticVectors",
    "TextMatte",
    "TrigramModel",
    "VectorMatte",
    "antonym_baseline",
    "block_r2",
    "content_overlap",
    "copy_baseline",
    "distinct_n",
    "evaluate_transfer",
    "g_score",
    "grammar_score",
    "intervene",
    "leakage",
    "load_vader_domains",
    "mcc",
    "perplexity",
    "self_bleu",
    "synthetic_sentences",
    "synthetic_vectors",
    "transfer_accuracy",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
