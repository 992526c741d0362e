"""Equilibria of one-shot games, in batches: Nash, correlated and coarse correlated, by a fixed selection rule.

:func:`equilibria` solves thousands of stage games in a call and returns each policy with its exact regret;
:func:`stage_gaps` is that regret for any policy; :func:`zero_sum` is the value and optimal strategies of matrix games.
"""

from __future__ import annotations

from robust_rl.equilibria.checks import KINDS, SELECTIONS
from robust_rl.equilibria.gaps import marginals, product, stage_gaps
from robust_rl.equilibria.stage_games import StageEquilibria, equilibria, zero_sum

__all__ = ["KINDS", "SELECTIONS", "StageEquilibria", "equilibria", "marginals", "product", "stage_gaps", "zero_sum"]
