"""What RFQI is asked, checked in one place, and what it answers; neither needs torch.

Where values can lie. Rewards are in [r_lo, r_hi]; m is the value of the worst state there is, V_min. If some episode terminates,
its end is a state too, worth 0, so m = min(v_min, 0): an adversary on free support may end every episode. With m known the robust
Bellman operator maps values up to U to at most r_hi + gamma ((1 - rho) U + rho m), so

    m  <=  V  <=  (r_hi + gamma rho m) / (1 - gamma (1 - rho))                                                              (1)

and otherwise only r_lo / (1 - gamma) <= V <= r_hi / (1 - gamma); where episodes terminate both ends are moved to include 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.features import ROWS
from robust_rl.solvers.criterion import check_criterion, digest
from robust_rl.solvers.network import Encoder, Layers, forward, make_encoder
from robust_rl.solvers.offline_checks import OBSERVED, check_ball, check_rewards, check_states, check_v_min
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RFQIProblem:
    """A discounted problem on logged data.

    =============  =========================================================================================
    encoder        how observations enter a network
    num_actions    A
    uncertainty    the set, or None
    radius         rho: how far each next state's distribution may move, in total variation
    discount       gamma
    reward_bounds  least and greatest reward
    v_min          value of the worst state there is: a number, "observed", or None for exact
    states         (S, ...) every state, for an exact minimum
    ends           whether some episode terminated
    =============  =========================================================================================
    """

    encoder: Encoder
    num_actions: int
    uncertainty: RectangularSet | None
    radius: float
    discount: float
    reward_bounds: tuple[float, float]
    v_min: float | str | None
    states: NDArray[Any] | None
    ends: bool

    @property
    def fixed_v_min(self) -> float | None:
        """Value of m if it is known beforehand."""
        if not isinstance(self.v_min, float):
            return None
        return min(self.v_min, 0.0) if self.ends else self.v_min

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value that a state can have, eq. (1)."""
        (low, high), m = self.reward_bounds, self.fixed_v_min
        if m is None:
            low, high = low / (1 - self.discount), high / (1 - self.discount)
        else:
            kept = self.discount * (1 - self.radius)
            low, high = m, max(m, (high + self.discount * self.radius * m) / (1 - kept))
        return (min(low, 0.0), max(high, 0.0)) if self.ends else (low, high)

    def describe(self) -> dict[str, Any]:
        """Return what a checkpoint notes of the problem, so that it isn't continued on another."""
        return {
            "observations": f"shape {self.encoder.shape}, {self.encoder.num_states or 'no'} indices",
            "actions": self.num_actions,
            "radius": self.radius,
            "discount": self.discount,
            "reward_bounds": list(self.reward_bounds),
            "v_min": self.v_min,
            "states": None if self.states is None else digest([self.states]),
        }


def rfqi_problem(
    data: OfflineDataset,
    uncertainty: RectangularSet | None,
    *,
    discount: float = 0.99,
    v_min: float | str | None = None,
    states: ArrayLike | None = None,
    num_actions: int | None = None,
    reward_bounds: tuple[float, float] = (0.0, 1.0),
) -> RFQIProblem:
    """Check everything before any work is done.

    Parameters
    ----------
    data : OfflineDataset
        Actions must be indices 0..A-1. Observations that are one integer each are states 0..S-1; all others are numbers.
    uncertainty : TotalVariation or None
        Ball around the distribution of the next state, on free support, with one radius for all.
    discount : float
        gamma, below 1.
    v_min : float or "observed", optional
        How to find m, the value of the state to which an adversary sends everybody. A number: a fail state of that value exists,
        usually 0.0; no state is then taken to be worth less. ``"observed"``: the least over the next states of the data, too
        optimistic if there are worse ones, and only as good as the network at its worst. Default: the exact minimum over
        ``states``.
    states : (S, ...) array, optional
        Every state; for indices ``np.arange(S)``.
    num_actions : int, optional
        A; default one more than the largest in the data.
    reward_bounds : (float, float)
        Least and greatest reward that can occur.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        If actions aren't indices, the discount is 1, the set isn't a free-support ball of total variation of one radius, a reward
        is out of bounds, or there is no way to find m.
    """
    gamma, _ = check_criterion(discount, None)
    assert gamma is not None
    if gamma == 1:
        raise InvalidArgumentError("discount is 1; RFQI needs one below 1, since nothing else bounds its values")
    known = check_states(data, states)
    radius, bounds = _radius(uncertainty), check_rewards(data, reward_bounds)
    problem = RFQIProblem(
        _encoder(data, known), _count_actions(data, num_actions), uncertainty, radius, gamma, bounds,
        _v_min(v_min, known, radius), known, bool(data.terminations.any()),
    )  # fmt: skip
    low, high = (bound / (1 - gamma) for bound in bounds)
    if isinstance(problem.v_min, float) and not min(low, 0.0) <= problem.v_min <= max(high, 0.0):
        raise InvalidArgumentError(
            f"v_min={problem.v_min:g}, but discounted rewards within reward_bounds sum to {low:g}..{high:g}; correct one of them"
        )
    return problem


@dataclass(frozen=True, eq=False)
class RFQISolution:
    """What RFQI found: networks on plain arrays. Nothing is proved about them.

    ==========  ==========================================================================================
    q, eta      layers of the networks for Q and its dual, see :mod:`robust_rl.solvers.network`; eta is empty
                where the radius is 0
    behaviour   layers of the network for log-probabilities of the logged actions, or empty
    threshold   actions logged less often than this, relative to a state's most frequent one, are never taken
    problem     an RFQIProblem
    ==========  ==========================================================================================
    """

    q: Layers
    eta: Layers
    behaviour: Layers
    threshold: float
    problem: RFQIProblem

    @property
    def discount(self) -> float:
        """Value of gamma."""
        return self.problem.discount

    def action_values(self, observations: ArrayLike) -> Array:
        """Return the robust Q of a batch of observations, (n, A): -inf where the logs hardly show the action."""
        given = np.asarray(observations)
        parts = [self._values(given[begin : begin + ROWS]) for begin in range(0, len(given), ROWS)]
        return np.concatenate(parts) if parts else np.zeros((0, self.problem.num_actions))

    def value(self, observations: ArrayLike) -> Array:
        """Return the robust value of a batch of observations, (n,), within the bounds that it can have."""
        return np.asarray(self.action_values(observations).max(axis=1).clip(*self.problem.bounds))

    def policy(self, observations: ArrayLike) -> NDArray[np.intp]:
        """Return the greedy actions for a batch of observations, (n,)."""
        return np.asarray(self.action_values(observations).argmax(axis=1))

    def _values(self, observations: NDArray[Any]) -> Array:
        x, (low, high) = self.problem.encoder(observations), self.problem.bounds
        values = low + (high - low) * forward(self.q, x).astype(np.float64)
        if not self.behaviour:
            return np.asarray(values)
        return np.where(is_supported(forward(self.behaviour, x), self.threshold), values, -np.inf)


def is_supported(logits: Any, threshold: float) -> Any:
    """Return which actions, (n, A), are at least ``threshold`` times as likely as the likeliest; NumPy or torch."""
    best = logits.max(axis=1, keepdims=True) if isinstance(logits, np.ndarray) else logits.amax(1, keepdim=True)
    return logits - best >= np.log(threshold)


def _radius(uncertainty: RectangularSet | None) -> float:
    if uncertainty is None:
        return 0.0
    radius = check_ball(uncertainty, "RFQI's dual is that of").radius
    if np.ndim(radius):
        raise InvalidUncertaintyError(
            f"radii of shape {np.shape(radius)} can't be used: a network has no table of states and actions; give one number"
        )
    return float(radius)


def _encoder(data: OfflineDataset, states: NDArray[Any] | None) -> Encoder:
    both = np.concatenate([data.observations, data.next_observations])
    if both.ndim > 1 or both.dtype.kind not in "iu":
        return make_encoder(both, None)
    encoder = make_encoder(both, None if states is None else int(states.max()) + 1)
    encoder(both)  # names an index that is out of range
    return encoder


def _count_actions(data: OfflineDataset, num_actions: int | None) -> int:
    actions = data.actions
    if actions.ndim != 1 or actions.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"actions are {actions.dtype} of shape {actions.shape}; RFQI needs indices 0..A-1, (n,): "
            "round continuous actions to a few levels and log the level's number"
        )
    seen = int(actions.max()) + 1
    count = seen if num_actions is None else num_actions
    if actions.min() < 0 or count < seen:
        raise InvalidArgumentError(f"actions range from {actions.min()} to {seen - 1}; expected 0..{count - 1}")
    return count


def _v_min(v_min: float | str | None, states: NDArray[Any] | None, radius: float) -> float | str | None:
    if v_min is None and states is None and radius > 0:
        raise InvalidArgumentError(
            "a free-support adversary uses the worst state there is, and nothing tells its value: give v_min=0.0 if there is a "
            'fail state worth 0, states=(all of them), or v_min="observed", which is too optimistic'
        )
    return check_v_min(v_min, OBSERVED)
