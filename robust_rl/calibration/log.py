"""A log beside what is known of its world: which pairs are available, and where they may lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.calibration.transitions import count_transitions
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.models.memory import require_memory
from robust_rl.uncertainty.layout import Support, check_support, lay_out


@dataclass(frozen=True)
class Log:
    """A log beside what is known of its world.

    =========  ====================================================================
    counts     n(s, a, s'), CSR of shape (S*A, S)
    shape      (S, A)
    active     (S*A,) pairs that are available
    pattern    (S*A, S) boolean CSR, possible successors; None if all states are
    =========  ====================================================================
    """

    counts: sparse.csr_array
    shape: tuple[int, int]
    active: NDArray[np.bool_]
    pattern: sparse.csr_array | None

    @property
    def visits(self) -> NDArray[np.int64]:
        """Return n(s, a), (S*A,)."""
        return np.asarray(self.counts.sum(axis=1)).ravel().astype(np.int64)

    @property
    def outcomes(self) -> NDArray[np.int64]:
        """Return how many successors each pair may have, (S*A,)."""
        return np.full(len(self.active), self.shape[0]) if self.pattern is None else np.diff(self.pattern.indptr)

    def mask(self) -> Support:
        """Return the possible successors as a support of a set around any kernel."""
        return "free" if self.pattern is None else self.pattern.toarray().reshape(*self.shape, self.shape[0])


def open_log(model: TabularMDP | None, data: Any, support: Support) -> Log:
    """Count a log and refuse one that the model or the support contradicts."""
    counts, shape = count_transitions(data, None if model is None else (model.num_states, model.num_actions))
    active = np.ones(shape[0] * shape[1], dtype=bool) if model is None else model.active_rows
    log = Log(counts, shape, active, _pattern(model, support, shape))
    stray = np.flatnonzero((log.visits > 0) & ~active)
    if stray.size:
        where = pair_name(int(stray[0]), shape[1])
        raise InvalidArgumentError(f"the log acts in ({where}), where the model's state is terminal or the action masked")
    if log.pattern is not None:
        outside = sparse.coo_array(counts - counts.multiply(log.pattern))
        outside.eliminate_zeros()
        if outside.nnz:
            where = f"{pair_name(int(outside.row[0]), shape[1])}, s'={outside.col[0]}"
            chosen = repr(support) if isinstance(support, str) else "given"
            raise InvalidArgumentError(f"the log has a transition ({where}) that support {chosen} rules out; use support='free'")
    return log


def _pattern(model: TabularMDP | None, support: Support, shape: tuple[int, int]) -> sparse.csr_array | None:
    """Return the successors that a support allows, or None for all states."""
    check_support(support, "calibrate")
    if isinstance(support, str) and support == "free":
        return None
    rows, states = shape[0] * shape[1], shape[0]
    require_memory(rows * states, "a support's mask of shape (S, A, S)", "use support='free'")
    if isinstance(support, np.ndarray):
        mask = support[:, None] if support.ndim == 2 else support
        if mask.ndim != 3 or any(n not in (1, full) for n, full in zip(mask.shape, (*shape, states), strict=True)):
            raise InvalidArgumentError(f"support has shape {support.shape}; expected (S, A, S) = {(*shape, states)}")
        return sparse.csr_array(np.broadcast_to(mask, (*shape, states)).reshape(rows, states))
    if model is None:
        raise InvalidArgumentError(f"support={support!r} is about a model's successors; give the model, a mask, or 'free'")
    row, successor = lay_out(model, support).coordinates()
    return sparse.csr_array((np.ones(len(row), dtype=bool), (row, successor)), shape=(rows, states))


def pair_name(row: int, actions: int) -> str:
    """Return how a row s*A + a is called."""
    return f"s={row // actions}, a={row % actions}"
