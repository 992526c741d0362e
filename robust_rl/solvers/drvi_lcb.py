"""DRVI-LCB: robust value iteration on counts, less what the counts leave open (Shi and Chi, 2022), in total variation.

The tabular baseline of :mod:`robust_rl.solvers.drop`. With n(s, a) visits at stage h, their empirical next-state distribution
p_h and mean reward, and V_{H+1} = 0,

    Q_h(s, a) = clip(r_h + min {P . V_{h+1} : TV(P, p_h) <= rho} - c b_h, lo_h, hi_h),    V_h(s) = max_a Q_h(s, a)            (1)
    b_h(s, a) = (H - h) w sqrt(log(4 S A H / delta) / (2 n)),    w the width of a reward's range                             (2)

and lo_h for pairs that were never visited: lo_h and hi_h are the least and most that the H - h remaining rewards can sum to. Shi
and Chi take Kullback-Leibler balls, whose penalty is another. (2) is derived here: by the dual, two kernels' worst cases of V
differ by at most sup_x |(P - p)[min(V, x)]|, and min(V, x) is an integral of indicators of V > y over the range of V, so this is
at most that range times sup_y |(P - p)(V > y)|, which the Dvoretzky-Kiefer-Wolfowitz inequality bounds. The rewards' mean takes
Hoeffding's. Hence with c = 1, where V_{h+1} doesn't depend on the transitions of stage h (``subsample``), V_h is with
probability 1 - delta at most the robust value of its own greedy policy.

===========  ============  ========================================
symbol       here          meaning, shape
===========  ============  ========================================
n            visits        (H, S, A)
p_h          empirical     (S, A, S + 1); the last state is the end
Q, V         action_values (H, S, A), and value (H, S)
c            penalty       number
b_h          bonus         (H, S, A)
===========  ============  ========================================

One-hot features in DROP with ridge lambda do the same on shrunk counts n + lambda.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.features import OneHot
from robust_rl.models.memory import require_memory
from robust_rl.solvers.drop import check_constants, rows_by_stage
from robust_rl.solvers.linear_problem import LinearProblem, linear_problem
from robust_rl.solvers.trimming import trimmed_rows
from robust_rl.uncertainty import Nominal, RectangularSet

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CountedValues:
    """Value (H, S), action_values (H, S, A), greedy policy (H, S), penalty c b (H, S, A), infinite at 0 visits, and visits."""

    value: Array
    action_values: Array
    policy: NDArray[np.intp]
    penalty: Array
    visits: NDArray[np.intp]


def drvi_lcb(
    data: OfflineDataset,
    uncertainty: RectangularSet | None,
    *,
    horizon: int,
    num_states: int,
    num_actions: int,
    penalty: float = 1.0,
    delta: float = 0.05,
    subsample: bool = False,
    trim: float = 10.0,
    seed: int = 0,
    reward_bounds: tuple[float, float] = (0.0, 1.0),
) -> CountedValues:
    """Solve eq. (1).

    Parameters
    ----------
    data : OfflineDataset
        Observations and actions are indices.
    uncertainty : TotalVariation or None
        On free support, one radius for all pairs; None is the nominal LCB-VI.
    horizon : int
        H, at most that of the data.
    num_states, num_actions : int
        S and A, those never seen included.
    penalty : float
        c. 1 is what the guarantee takes; less is often better on average.
    delta : float
        Probability that the guarantee may fail.
    subsample, trim, seed
        As in :class:`robust_rl.solvers.DROPSolver`.
    reward_bounds : (float, float)
        Least and greatest reward that can occur.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError, InvalidModelError
        As :func:`robust_rl.solvers.linear_problem`; if an argument is out of range, radii differ, or counts don't fit in memory.

    Examples
    --------
    >>> import robust_rl as rr
    >>> data = rr.datasets.collect(rr.envs.make("robust_rl/RiverSwim-v0"), None, 500, seed=0, horizon=4)
    >>> ball = rr.TotalVariation(0.1, support="free")
    >>> found = drvi_lcb(data, ball, horizon=4, num_states=6, num_actions=2, penalty=0.01)
    >>> found.policy.shape, int(found.visits[0].sum())
    ((4, 6), 500)
    """
    features = OneHot(num_states, num_actions)
    problem = linear_problem(data, uncertainty, features=features, horizon=horizon, reward_bounds=reward_bounds)
    check_constants(penalty, delta=delta, trim=trim)
    if np.ptp(problem.radius):
        raise InvalidUncertaintyError("drvi_lcb takes one radius for all stages and pairs; DROP takes radii (H, d)")
    require_memory(16.0 * num_states**2 * num_actions, "counts of shape (S, A, S)", "aggregate states, or use DROP")
    kept = np.ones(len(data), dtype=bool)
    if subsample:
        rng = np.random.default_rng(seed)
        data, aux = data.split(2, rng)
        kept = trimmed_rows(data, aux, problem.horizon, delta=delta, trim=trim, rng=rng)
    return _backwards(problem, data, rows_by_stage(data, kept, problem.horizon), float(penalty), delta)


def _backwards(
    problem: LinearProblem, data: OfflineDataset, rows: list[NDArray[np.intp]], penalty: float, delta: float
) -> CountedValues:
    features, horizon, ball = problem.features, problem.horizon, problem.uncertainty or Nominal()
    states, actions = features.num_states, features.num_actions  # type: ignore[attr-defined]
    value, q = np.zeros((horizon + 1, states)), np.zeros((horizon, states, actions))
    visits, bonus = np.zeros(q.shape, dtype=np.intp), np.zeros(q.shape)
    width = max(problem.reward_bounds[1], 0.0) - min(problem.reward_bounds[0], 0.0)
    log = np.log(4 * q.size / delta)
    for h in reversed(range(horizon)):
        empirical, rewards, visits[h] = _counted(data, rows[h], states, actions)
        after = np.append(value[h + 1], 0.0) if problem.ends else value[h + 1]
        worst = ball.worst_case(empirical[..., : len(after)], after).value
        bonus[h] = penalty * (horizon - h) * width * np.sqrt(log / (2 * np.maximum(visits[h], 1)))  # eq. 2
        bonus[h][visits[h] == 0] = np.inf
        q[h] = problem.clip(h, rewards + worst - bonus[h])  # eq. 1
        value[h] = q[h].max(axis=1)
    return CountedValues(value[:-1], q, q.argmax(axis=2), bonus, visits)


def _counted(data: OfflineDataset, rows: NDArray[np.intp], states: int, actions: int) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return next-state frequencies (S, A, S + 1), mean rewards and visits (S, A); of unvisited pairs the first are arbitrary."""
    pair = data.observations[rows].astype(np.intp) * actions + data.actions[rows]
    successor = np.where(data.terminations[rows], states, data.next_observations[rows])
    cells = np.bincount(pair * (states + 1) + successor, minlength=states * actions * (states + 1))
    counts = cells.reshape(states * actions, states + 1).astype(np.float64)
    visits = np.bincount(pair, minlength=states * actions)
    total = np.maximum(visits, 1)
    counts[visits == 0, 0] = 1.0
    rewards = np.bincount(pair, weights=data.rewards[rows], minlength=states * actions) / total
    shape = (states, actions)
    return (counts / total[:, None]).reshape(*shape, -1), rewards.reshape(shape), visits.reshape(shape)
