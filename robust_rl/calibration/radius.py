"""How large must the radius be, so that the real system is covered with a given confidence.

A log holds n(s,a) transitions from each state-action pair, n(s,a,s') of them to s'. The real system is Markov: the next states
of successive visits to (s,a) are independent draws from p(.|s,a). A bound of :mod:`robust_rl.calibration.bounds` that fails with
probability at most delta(s,a) for each pair fails somewhere with probability at most sum delta(s,a) (union bound). The failure
that the confidence allows, shared alike among R available pairs:

    generative    delta(s,a) = (1 - confidence) / R                                                                       (1)
    trajectories  delta(s,a) = (1 - confidence) / (R n (n + 1)),    n = n(s,a)                                            (2)

(1) is for numbers of visits that were fixed beforehand, or in any case without a look at where the visits led. In a trajectory
that isn't so: a state that leads back to itself is seen again, and whoever stops logging when it looks good chooses n by the
outcomes. (2) pays for all n at once, since sum_n 1/(n(n+1)) = 1: the bound holds after every number of visits, hence after the
one that happened, under any policy of logging and any rule of stopping. Intervals bound E entries (s,a,s'), the possible
successors of all pairs, and have E in the place of R.

=================  ==========================  ==================================================================
bound              the set is around           it covers p when, for every pair (s,a) at once
=================  ==========================  ==================================================================
"simulator"        the model given             TV(p, p_model) <= radius(s,a)                        bounds, eq. 4, 5
"weissman"         the log's frequencies       TV(p, phat) <= radius(s,a)                           bounds, eq. 1
"hoeffding"        (intervals)                 lower <= p <= upper, every successor                 bounds, eq. 2
"clopper-pearson"  (intervals)                 lower <= p <= upper, every successor                 bounds, eq. 3
=================  ==========================  ==================================================================

If the set covers the real kernel, the robust value of every policy is a lower bound on its real value: the real kernel is one of
those the adversary may choose. All policies are covered at once, so it doesn't matter which is chosen, or that it was
chosen by the same log. Rewards r(s,a,s') are taken to be the model's, also for successors that the model doesn't list.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.calibration import bounds
from robust_rl.calibration.log import Log, open_log
from robust_rl.calibration.result import Calibration, table
from robust_rl.errors import InvalidArgumentError, nearest
from robust_rl.models import TabularMDP
from robust_rl.models.counts import empirical_transitions
from robust_rl.models.memory import require_memory
from robust_rl.uncertainty import Interval, TotalVariation
from robust_rl.uncertainty.layout import Support

Array = NDArray[np.float64]
Bound = Literal["simulator", "weissman", "hoeffding", "clopper-pearson"]
Sampling = Literal["trajectories", "generative"]
NAMES = {
    "simulator": "exact binomial bound on every event",
    "weissman": "Weissman's L1 bound",
    "hoeffding": "Hoeffding intervals",
    "clopper-pearson": "Clopper-Pearson intervals",
}
COVERED = {
    "simulator": "the real kernel is within the radius, in total variation, of the model",
    "weissman": "the real kernel is within the radius, in total variation, of the log's frequencies",
    "hoeffding": "every real transition probability is within its interval",
    "clopper-pearson": "every real transition probability is within its interval",
}
SAMPLING = ("trajectories", "generative")
INTERVALS = ("hoeffding", "clopper-pearson")


def calibrate(
    model: TabularMDP | None,
    data: Any,
    *,
    confidence: float,
    bound: Bound = "simulator",
    sampling: Sampling = "trajectories",
    support: Support = "free",
    pooled: bool = False,
    visited_only: bool = False,
) -> Calibration:
    """Return the set that covers the real system, from which the log comes, with the given confidence.

    Parameters
    ----------
    model : TabularMDP or None
        The simulator: its kernel was fixed without this log. For the bounds around the log's frequencies it only says which pairs
        are available, and None takes all pairs of counts (S, A, S).
    data
        Counts of shape (S, A, S), or CSR of shape (S*A, S); a tuple (states, actions, next_states) of arrays of indices; an
        ``.npz`` file or an object with these names, ``counts``, or observations, actions, next_observations. Next states are
        states of the model: where it has an extra state for ends of episodes, the log must name that one.
    confidence : float in (0, 1)
        Probability, over the log, with which the real system is in the set.
    bound : {"simulator", "weissman", "hoeffding", "clopper-pearson"}
        See the module's table. The first compares the model with the log; the others use the log alone.
    sampling : {"trajectories", "generative"}
        How pairs came to be visited. ``"generative"``: as often as was laid down before; the sets are smaller (eq. 1). The
        default holds for every way of logging (eq. 2).
    support : {"free", "nominal", "reachable"} or boolean mask (S, A, S)
        Where the real system may go. ``"free"`` assumes nothing; the others of :mod:`robust_rl.uncertainty.layout` are an
        assumption, in the model's terms, that makes Weissman's radius and the intervals smaller, and every set less pessimistic.
    pooled : bool
        One radius for all pairs, the largest.
    visited_only : bool
        By default a pair that was never visited has radius 1: anything may happen there. True gives it the largest radius of the
        visited pairs. The guarantee then holds for visited pairs; for the others it is an assumption, which the log
        can't support, that the real system is no farther from the model there. Only with ``bound="simulator"``.

    Returns
    -------
    Calibration

    Raises
    ------
    InvalidArgumentError
        If the confidence is outside (0, 1), the log is empty, has indices that the model hasn't, entries that are no whole
        numbers or columns that differ in length, visits a pair that isn't available, or goes where the support doesn't allow.
    FileFormatError
        If a file can't be read.

    Examples
    --------
    >>> simulator = TabularMDP([[[0.9, 0.1]], [[0.0, 1.0]]], [[1.0], [0.0]], terminal=[1])
    >>> found = calibrate(simulator, np.array([[[160, 40]], [[0, 0]]]), confidence=0.95)
    >>> found.radius.round(3)[0, 0]
    np.float64(0.255)
    >>> print(found.drivers)
    pairs of largest radius
              visits  distance seen  bound
    s=0, a=0     200          0.100  0.255
    """
    _check(model, confidence, bound, sampling, pooled, visited_only)
    log = open_log(model, data, support)
    allowed = _allowed_failures(log, confidence, bound, sampling)
    intervals, distance = None, np.zeros(len(log.visits))
    if bound == "simulator":
        assert model is not None
        kernel, radius, distance = model.transitions, *_around_model(model, log, allowed, visited_only)
    elif bound == "weissman":
        kernel, radius = _frequencies(log, model), bounds.weissman(log.visits, log.outcomes, allowed)
    else:
        kernel, (intervals, radius) = _frequencies(log, model), _intervals(bound, log, allowed)
    radii, seen, visits = (np.where(log.active, x, 0).reshape(log.shape) for x in (radius, distance, log.visits))
    chosen = float(radii.max()) if pooled else radii
    ball = intervals or TotalVariation(chosen, support=support if bound == "simulator" else log.mask())
    order = np.lexsort((log.visits, -radii.ravel()))
    columns = {"visits": visits, "distance seen": seen, "bound": radii}
    drivers = table("pairs of largest radius", order[log.active[order]][:10], columns)
    guarantee = _guarantee(log, confidence, bound, sampling, visited_only)
    return Calibration(ball, chosen, drivers, kernel, visits, seen, guarantee)


def _allowed_failures(log: Log, confidence: float, bound: str, sampling: str) -> Array:
    """Return delta of each pair, or of each entry of its interval, eqs. 1 and 2."""
    delta = np.full(len(log.active), (1 - confidence) / _shares(log, bound))  # eq. 1
    return delta / np.maximum(log.visits * (log.visits + 1.0), 1.0) if sampling == "trajectories" else delta  # eq. 2


def _shares(log: Log, bound: str) -> int:
    """Return among how many bounds the allowed failure is shared: R, or E for intervals."""
    return int(log.outcomes[log.active].sum() if bound in INTERVALS else log.active.sum())


def _around_model(model: TabularMDP, log: Log, delta: Array, visited_only: bool) -> tuple[Array, Array]:
    """Return radius and distance seen of every pair."""
    radius = bounds.distance_bound(log.counts, model.csr(), delta)
    if visited_only:
        radius[log.visits == 0] = radius[log.visits > 0].max()
    return radius, bounds.distance(log.counts, model.csr())


def _frequencies(log: Log, model: TabularMDP | None) -> Any:
    """Return phat, and the model's rows, or without one the state that stays, where nothing was seen."""
    if model is None:
        require_memory(8.0 * log.counts.shape[0] * log.counts.shape[1], "a kernel of shape (S, A, S)", "give the model as CSR")
        return empirical_transitions(log.counts.toarray().reshape(*log.shape, log.shape[0]), "stay")[0]
    seen = log.visits > 0
    share = sparse.diags_array(1 / np.maximum(log.visits, 1)) @ log.counts
    kernel = sparse.csr_array(share + sparse.diags_array((~seen).astype(np.float64)) @ model.csr())
    return kernel if model.is_sparse else kernel.toarray().reshape(*log.shape, log.shape[0])


def _intervals(bound: str, log: Log, delta: Array) -> tuple[Interval, Array]:
    """Return the set of intervals, and how far its bounds are from the frequencies, (S*A,)."""
    require_memory(32.0 * log.counts.shape[0] * log.counts.shape[1], "intervals of shape (S, A, S)", "use bound='simulator'")
    counts, visits = log.counts.toarray(), log.visits[:, None]
    limits = bounds.hoeffding if bound == "hoeffding" else bounds.clopper_pearson
    lower, upper = limits(counts, visits, delta[:, None])
    if log.pattern is not None:
        lower, upper = (np.where(log.pattern.toarray(), limit, 0.0) for limit in (lower, upper))
    lower[~log.active], upper[~log.active] = 0.0, 1.0
    frequency = counts / np.maximum(visits, 1)
    radius = np.where(log.visits > 0, np.maximum(upper - frequency, frequency - lower).max(axis=1), 1.0)
    shape = (*log.shape, log.shape[0])
    return Interval(lower.reshape(shape), upper.reshape(shape)), radius


def _guarantee(log: Log, confidence: float, bound: str, sampling: str, visited_only: bool) -> str:
    unseen = int((log.visits == 0)[log.active].sum())
    pairs, everywhere = int(log.active.sum()), "every available state-action pair"
    if visited_only and unseen:
        everywhere = f"the {pairs - unseen} visited state-action pairs (assumed, not shown, for {unseen} unvisited ones)"
    assumed = "" if log.pattern is None else "if it goes only where the support allows, "
    union = f"{_shares(log, bound)} {'transitions' if bound in INTERVALS else 'state-action pairs'}"
    visits = "all numbers of visits" if sampling == "trajectories" else "numbers of visits fixed beforehand"
    return (
        f"with probability at least {confidence:g} over the log, {assumed}{COVERED[bound]} at {everywhere} at once "
        f"({NAMES[bound]}, union over {union}, {visits})"
    )


def _check(model: TabularMDP | None, confidence: float, bound: str, sampling: str, pooled: bool, visited_only: bool) -> None:
    """Raise InvalidArgumentError for arguments out of range, or that contradict each other."""
    if model is not None and not isinstance(model, TabularMDP):
        raise InvalidArgumentError(f"{model!r} is no TabularMDP; rr.envs.tabular makes one of an environment")
    if not isinstance(confidence, (int, float, np.number)) or not 0 < confidence < 1:
        raise InvalidArgumentError(f"confidence is {confidence!r}; it must be a number in (0, 1), such as 0.95")
    for name, value, known in (("bound", bound, tuple(NAMES)), ("sampling", sampling, SAMPLING)):
        if value not in known:
            raise InvalidArgumentError(f"{name} is {value!r}; expected one of {', '.join(known)}{nearest(str(value), known)}")
    if bound == "simulator" and model is None:
        raise InvalidArgumentError(
            f"bound='simulator' needs the simulator's model; without one, use {', '.join(list(NAMES)[1:])}"
        )
    if visited_only and bound != "simulator":
        raise InvalidArgumentError(f"visited_only needs a model to believe in at unvisited pairs; bound={bound!r} has none")
    if pooled and bound in INTERVALS:
        raise InvalidArgumentError(f"bound={bound!r} gives intervals, which can't be pooled into one radius; leave out pooled")
