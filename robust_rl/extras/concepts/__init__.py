"""Discrete concepts in latent hierarchical models: the hidden causes of discrete data, and how they hang together.

Paper: Kong, Chen, Huang, Xing, Chi and Zhang, "Learning Discrete Concepts in Latent Hierarchical Models", NeurIPS 2024,
arXiv:2406.00519.

Names are looked up when first used, so that importing this package loads neither torch nor scikit-learn nor networkx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.concepts.causallearn_ranks import CausalLearnRankTest
    from robust_rl.extras.concepts.discovery import Cover
    from robust_rl.extras.concepts.drawing import draw
    from robust_rl.extras.concepts.em import fit_tables
    from robust_rl.extras.concepts.encoder import ConceptEncoder, code_accuracy
    from robust_rl.extras.concepts.estimator import HierarchicalConceptDiscovery
    from robust_rl.extras.concepts.graphs import GRAPHS, graph_of
    from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy
    from robust_rl.extras.concepts.images import concept_images
    from robust_rl.extras.concepts.metrics import latent_count_error, match_latents, shd, skeleton_f1
    from robust_rl.extras.concepts.minimal import minimal_graph
    from robust_rl.extras.concepts.nonnegative import NonnegativeRank, nonnegative_rank
    from robust_rl.extras.concepts.ranks import RankTestResult, rank_test
    from robust_rl.extras.concepts.stability import edge_frequencies

_HOMES = {
    "CausalLearnRankTest": "causallearn_ranks",
    "ConceptEncoder": "encoder",
    "Cover": "discovery",
    "DiscreteHierarchy": "hierarchy",
    "GRAPHS": "graphs",
    "HierarchicalConceptDiscovery": "estimator",
    "NonnegativeRank": "nonnegative",
    "RankTestResult": "ranks",
    "code_accuracy": "encoder",
    "concept_images": "images",
    "draw": "drawing",
    "edge_frequencies": "stability",
    "fit_tables": "em",
    "graph_of": "graphs",
    "latent_count_error": "metrics",
    "match_latents": "metrics",
    "minimal_graph": "minimal",
    "nonnegative_rank": "nonnegative",
    "rank_test": "ranks",
    "shd": "metrics",
    "skeleton_f1": "metrics",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "GRAPHS",
    "CausalLearnRankTest",
    "ConceptEncoder",
    "Cover",
    "DiscreteHierarchy",
    "HierarchicalConceptDiscovery",
    "NonnegativeRank",
    "RankTestResult",
    "code_accuracy",
    "concept_images",
    "draw",
    "edge_frequencies",
    "fit_tables",
    "graph_of",
    "latent_count_error",
    "match_latents",
    "minimal_graph",
    "nonnegative_rank",
    "rank_test",
    "shd",
    "skeleton_f1",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
