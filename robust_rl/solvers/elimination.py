"""Action elimination: rows that no optimal policy uses needn't be backed up again.

With Q(s,a) and TV from one V, and the bounds ``TV + low <= V* <= TV + high`` that TV proves, Q*(s,a) <= Q(s,a) + high(s): what
bounds V* - TV bounds Q* - Q by the same argument. So an action with

    TV(s) - Q(s,a) > high(s) - low(s),    the width of the certificate,                                                   (1)

has Q*(s,a) < V*(s). Let T' be T without such actions. Every optimal action survives, so T'V* = V*: the fixed point of T' is V*
though T'V may be below TV, and as T' is monotone with T'(V + c) = T'V + gamma c, the bounds from an application of T' hold for
V* as they stand. The greedy policy of T' attains T'V, so it is worth the lower bound, too.

References: MacQueen (1967); Puterman (1994), section 6.7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.uncertainty.backup import Groups


def without_eliminated(
    backup: BellmanOperator, groups: Groups, value: NDArray[np.float64], applied: NDArray[np.float64], width: Any
) -> Groups:
    """Return the groups less the rows of eq. (1).

    Parameters
    ----------
    backup : BellmanOperator
    groups : Groups
        Rows that are still there.
    value, applied : (S,)
        V and TV, the maximum over ``groups``.
    width : float or (S,)
        Width of the certificate from this application, its allowance for rounding included.
    """
    excess = excess_over_best(backup, groups, value, applied)
    state = groups.rows.astype(np.int64) // backup.model.num_actions
    keep = excess <= np.broadcast_to(width, applied.shape)[state]
    return Groups.by_state(groups.rows[keep].astype(np.int64), len(applied), backup.model.num_actions)


def excess_over_best(
    backup: BellmanOperator, groups: Groups, value: NDArray[np.float64], applied: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return TV(s) - Q(s,a) of the groups' rows; arguments as in :func:`without_eliminated`."""
    each = Groups(np.arange(len(groups.rows) + 1, dtype=np.uint64), groups.rows)
    q, _ = backup.sweep(value, each)
    return np.asarray(applied[groups.rows.astype(np.int64) // backup.model.num_actions] - q)
