"""Masked image modelling: what a patch attends to, predicted for one layer and measured in any vision transformer.

Huang, Wen, Chi and Liang, "A Theoretical Analysis of Self-Supervised Learning for Vision Transformers", arXiv:2403.02233 (its
earlier versions have other titles).

Names are looked up when first used, so that importing this package doesn't load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robust_rl._lazy import lazy_names

if TYPE_CHECKING:
    from robust_rl.extras.mim.capture import capture_attention
    from robust_rl.extras.mim.comparison import AttentionComparison, compare
    from robust_rl.extras.mim.data import SpatialPatchData, random_masks
    from robust_rl.extras.mim.diversity import Diversity, attention_diversity
    from robust_rl.extras.mim.model import CorrelationMIM, OneLayerMIM
    from robust_rl.extras.mim.objectives import ContrastiveObjective, MIMObjective
    from robust_rl.extras.mim.report import AttentionReport, attention_report
    from robust_rl.extras.mim.simulation import Simulation, gap_sizes, simulate
    from robust_rl.extras.mim.training import MIMTraining, train
    from robust_rl.extras.mim.viewing import attention_maps

_HOMES = {
    "AttentionComparison": "comparison",
    "AttentionReport": "report",
    "ContrastiveObjective": "objectives",
    "CorrelationMIM": "model",
    "Diversity": "diversity",
    "MIMObjective": "objectives",
    "MIMTraining": "training",
    "OneLayerMIM": "model",
    "Simulation": "simulation",
    "SpatialPatchData": "data",
    "attention_diversity": "diversity",
    "attention_maps": "viewing",
    "attention_report": "report",
    "capture_attention": "capture",
    "compare": "comparison",
    "gap_sizes": "simulation",
    "random_masks": "data",
    "simulate": "simulation",
    "train": "training",
}
"""Public name -> module of this package that defines it."""

__all__ = [
    "AttentionComparison",
    "AttentionReport",
    "ContrastiveObjective",
    "CorrelationMIM",
    "Diversity",
    "MIMObjective",
    "MIMTraining",
    "OneLayerMIM",
    "Simulation",
    "SpatialPatchData",
    "attention_diversity",
    "attention_maps",
    "attention_report",
    "capture_attention",
    "compare",
    "gap_sizes",
    "random_masks",
    "simulate",
    "train",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
