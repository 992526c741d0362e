"""What the offline solvers on linear features are asked, checked in one place, and what they answer.

Values are linear in the features before they are clipped: with one weight vector a stage,

    Q_h(s, a) = clip(<phi(s, a), w_h>, lo_h, hi_h),    V_h(s) = max_a Q_h(s, a),    pi_h(s) = argmax_a Q_h(s, a),             (1)

lo_h and hi_h being what the remaining H - h rewards can sum to at least and at most: 0 and H - h for rewards in [0, 1]. Where
clipping makes actions tie, pi takes the one that was highest before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.features import MAPS, ROWS, FeatureMap, check_simplex, describe
from robust_rl.solvers.criterion import check_criterion, digest
from robust_rl.solvers.offline_checks import OBSERVED, check_ball, check_rewards, check_states, check_v_min
from robust_rl.uncertainty import RectangularSet

Array = NDArray[np.float64]
POSSIBLE = "possible"


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A finite-horizon problem with linear values.

    ==============  ==================================================================================================
    features        phi, fitted to the data
    horizon         H
    uncertainty     the set, or None
    radius          (H, d) rho: how far each factor may move, in total variation
    reward_bounds   least and greatest reward
    v_min           value of the worst state there is: a number (a fail state's), "possible", "observed", or None for exact
    states          (S, ...) every state, for an exact minimum
    ends            whether some episode terminated: its end, worth 0, is then a state too
    ==============  ==================================================================================================
    """

    features: FeatureMap
    horizon: int
    uncertainty: RectangularSet | None
    radius: Array
    reward_bounds: tuple[float, float]
    v_min: float | str | None
    states: NDArray[Any] | None
    ends: bool

    @property
    def scale(self) -> float:
        """Largest size of a reward: 1 in the theory."""
        return max(map(abs, self.reward_bounds))

    def clip(self, stage: int, values: Array) -> Array:
        """Return values of a stage within what the remaining rewards can sum to."""
        left = self.horizon - stage
        low, high = (min(self.reward_bounds[0], 0.0), max(self.reward_bounds[1], 0.0))
        return np.clip(values, left * low, left * high)

    def values(self, weights: Array, stage: int, observations: NDArray[Any]) -> Array:
        """Return V_h of eq. (1), (n,), for the weights of that stage; 0 beyond the last."""
        value = np.zeros(len(observations))
        if stage < self.horizon:
            for begin in range(0, len(value), ROWS):
                part = slice(begin, begin + ROWS)
                value[part] = self.features.action_values(observations[part], weights).max(axis=1)
        return self.clip(stage, value)

    def lowest(self, weights: Array, stage: int, seen: Array) -> float:
        """Return min_s V_h(s), given V_h at the next states of the data, among which are the ends of episodes."""
        least = float(seen.min())
        if stage == self.horizon or self.v_min == OBSERVED:
            return least
        if self.v_min == POSSIBLE:
            return float(self.clip(stage, np.array(-np.inf)))
        if self.ends:
            least = min(least, 0.0)
        if self.v_min is not None:
            return min(least, float(self.v_min))
        assert self.states is not None
        return min(least, float(self.values(weights, stage, self.states).min()))

    def describe(self) -> dict[str, Any]:
        """Return what a checkpoint notes of the problem, so that it isn't continued on another."""
        features = self.features
        known = list(describe(features).items()) if type(features).__name__ in MAPS else []
        return {
            "features": f"{type(features).__name__} of dimension {features.dimension}",
            "features' arguments": digest([part for name, value in known for part in (name, str(value), _array(value))]),
            "horizon": self.horizon,
            "radius": digest([self.radius]),
            "reward_bounds": list(self.reward_bounds),
            "v_min": self.v_min,
            "states": None if self.states is None else digest([self.states]),
        }


def linear_problem(
    data: OfflineDataset,
    uncertainty: RectangularSet | None,
    *,
    features: FeatureMap,
    horizon: int,
    v_min: float | str | None = None,
    states: ArrayLike | None = None,
    reward_bounds: tuple[float, float] = (0.0, 1.0),
) -> LinearProblem:
    """Check everything before any work is done.

    Parameters
    ----------
    data : OfflineDataset
    uncertainty : TotalVariation or None
        Ball of each factor mu_{h,i}, on free support; radius a number, (d,) or (H, d).
    features : FeatureMap
        On the simplex. What it isn't told is read from the data.
    horizon : int
        H, at most that of the data.
    v_min : float, "possible" or "observed", optional
        How to find min_s V(s), where an adversary may send everybody. A number: a fail state of that value exists, usually 0.0.
        ``"possible"``: the least that the remaining rewards can sum to, never too optimistic. ``"observed"``: the least over the
        next states of the data, too optimistic if there are worse ones. Default: the exact minimum over ``states``, or over all
        there are if the features were told.
    states : (S, ...) array, optional
        Every state.
    reward_bounds : (float, float)
        Least and greatest reward that can occur.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        If the horizon is longer than the data, features are off the simplex, the set isn't a free-support ball of total
        variation of a shape that fits, a reward is out of bounds, or there is no way to find min_s V(s).
    """
    _, stages = check_criterion(None, horizon)
    assert stages is not None
    data.check_horizon(stages)
    if not isinstance(features, FeatureMap):
        raise InvalidArgumentError(f"features is {features!r}; it must be a FeatureMap, such as robust_rl.features.Tiles(8)")
    fitted = features.fit(data)
    check_simplex(fitted, data.observations, data.actions)
    check_simplex(fitted, data.next_observations, np.zeros(len(data), dtype=np.intp))  # states that are only ever entered
    low, high = check_rewards(data, reward_bounds)
    known = check_states(data, features.every_state() if states is None else states)
    return LinearProblem(
        fitted, stages, uncertainty, _radius(uncertainty, stages, fitted.dimension), (low, high),
        _v_min(v_min, known), known, bool(data.terminations.any()),
    )  # fmt: skip


def _radius(uncertainty: RectangularSet | None, horizon: int, dimension: int) -> Array:
    if uncertainty is None:
        return np.zeros((horizon, dimension))
    ball = check_ball(uncertainty, "the factors of a linear model move in")
    try:
        return np.broadcast_to(ball.radius, (horizon, dimension)).astype(np.float64)
    except ValueError:
        raise InvalidUncertaintyError(
            f"radii of shape {np.shape(ball.radius)} don't fit {horizon} stages and {dimension} features; "
            f"give a number, ({dimension},) or ({horizon}, {dimension})"
        ) from None


def _v_min(v_min: float | str | None, states: NDArray[Any] | None) -> float | str | None:
    if v_min is None and states is None:
        raise InvalidArgumentError(
            "these features weren't told every state, and a free-support adversary may use the worst: give states=(all), "
            'OneHot its num_states, v_min=0.0 if there is a fail state worth 0, v_min="possible", which is never too optimistic, '
            'or v_min="observed", which may be'
        )
    return check_v_min(v_min, OBSERVED, POSSIBLE)


def _array(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else 0


@dataclass(frozen=True, eq=False)
class LinearSolution:
    """What an offline solver found. It proves nothing unless the constants are those of the theory.

    ============  ======================================================================================
    weights       (H, d) w_h = theta_h + nu_h - gamma sqrt(diag Lambda_h^{-1}), see eq. (1)
    theta         (H, d) estimated rewards
    nu            (H, d) estimated robust value of what follows
    bonus         (H, d) sqrt(diag Lambda_h^{-1}): how little is known of each feature
    lowest        (H,) min_s V_{h+1}(s) that was used
    used          (H,) number of transitions that each stage was learned from
    penalty       gamma
    problem       a LinearProblem
    method        "DROP" or "DROP-V"
    ============  ======================================================================================
    """

    weights: Array
    theta: Array
    nu: Array
    bonus: Array
    lowest: Array
    used: NDArray[np.intp]
    penalty: float
    problem: LinearProblem
    method: str

    def action_values(self, observations: ArrayLike, stage: int) -> Array:
        """Return Q_h of eq. (1) for every action, (n, A)."""
        problem = self.problem
        return problem.clip(stage, problem.features.action_values(np.asarray(observations), self.weights[stage]))

    def value(self, observations: ArrayLike) -> Array:
        """Return V_h of every stage, (H, n)."""
        given = np.asarray(observations)
        return np.stack([self.problem.values(self.weights[h], h, given) for h in range(self.problem.horizon)])

    def policy(self, observations: ArrayLike) -> NDArray[np.intp]:
        """Return the greedy actions of every stage, (H, n)."""
        given, features = np.asarray(observations), self.problem.features
        return np.stack([features.action_values(given, weights).argmax(axis=1) for weights in self.weights])
