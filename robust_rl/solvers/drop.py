"""DROP: distributionally robust pessimistic value iteration on logged data (arXiv:2403.12946).

The nominal model is linear, r_h = <phi, theta_h> and P_h(.|s,a) = sum_i phi_i(s,a) mu_{h,i}, with phi on the simplex of R^d; each
factor mu_{h,i} may move by rho_{h,i} in total variation, to any state. For h = H, .., 1, with V_{H+1} = 0:

    Lambda = lambda I + sum_t phi_t phi_t^T                                                                                   (1)
    theta  = Lambda^{-1} sum_t phi_t r_t                                                                                      (2)
    nu_i   = max_alpha { [Lambda^{-1} sum_t phi_t min(V_{h+1}(s'_t), alpha)]_i - rho_{h,i} (alpha - min_s V_{h+1}(s)) }       (3)
    Gamma(s, a) = gamma sum_i phi_i(s, a) sqrt([Lambda^{-1}]_ii)                                                              (4)
    Q_h(s, a) = clip(<phi, theta + nu> - Gamma, 0, H - h + 1),    V_h(s) = max_a Q_h(s, a)                                    (5)

The penalty (4) is the sum over the diagonal, at least the norm ||phi||_{Lambda^{-1}} of linear bandits. (3) is solved exactly,
see :mod:`robust_rl.solvers.drop_dual`. rho = 0 gives pessimistic value iteration on the nominal model, rho = 0 and gamma = 0
plain least-squares value iteration, one-hot phi the tabular algorithm on counts.

=================  ===========  ==========================================
symbol             here         meaning, shape
=================  ===========  ==========================================
phi_t              phi          (K_h, d), of one stage
Lambda^{-1}        inverse      (d, d)
theta, nu          theta, nu    (H, d)
sqrt diag          bonus        (H, d)
theta + nu - ..    weights      (H, d); all of Q, see ``linear_problem``
min_s V_{h+1}(s)   lowest       (H,)
gamma              penalty      number
lambda             ridge        number
=================  ===========  ==========================================

Stages are numbered from 0 in the code. DROP-V, which weights transitions by variance, is in :mod:`robust_rl.solvers.drop_v`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError
from robust_rl.features import ROWS
from robust_rl.solvers.criterion import digest
from robust_rl.solvers.drop_dual import exact_dual
from robust_rl.solvers.linear_problem import LinearProblem, LinearSolution
from robust_rl.solvers.trimming import trimmed_rows
from robust_rl.training import check_same_problem, load_arrays, save_arrays

Array = NDArray[np.float64]
THEORY = "theory"
NAMES = ("weights", "theta", "nu", "bonus", "lowest")


class Fit(NamedTuple):
    """Equations (1) to (4) at one stage, each (d,)."""

    theta: Array
    nu: Array
    bonus: Array


def fit_stage(
    phi: Array, rewards: Array, following: Array, inverse: Array, *, lowest: float, radius: Array, precision: Array | None = None
) -> Fit:
    """Solve one stage.

    Parameters
    ----------
    phi : (K, d) array
    rewards, following : (K,) arrays
        r_t and V_{h+1}(s'_t).
    inverse : (d, d) array
        Lambda^{-1}, eq. (1), see :func:`ridge_inverse`.
    lowest : float
        min_s V_{h+1}(s).
    radius : (d,) array
    precision : (K,) array, optional
        1 / sigma^2_t; None weights all alike.
    """
    theta = inverse @ (phi.T @ (rewards if precision is None else precision * rewards))  # eq. 2
    nu = exact_dual(phi, following, inverse, radius, lowest, precision)  # eq. 3
    return Fit(theta, nu, np.sqrt(np.diag(inverse)))  # eq. 4


def ridge_inverse(phi: Array, ridge: float, precision: Array | None = None) -> Array:
    """Return (ridge I + sum_t precision_t phi_t phi_t^T)^{-1}, eq. (1)."""
    return _inverse(phi.T @ phi if precision is None else _weighted_gram(phi, np.sqrt(precision)), ridge)


def _inverse(gram: Array, ridge: float) -> Array:
    """Return (ridge I + gram)^{-1}, and spoil the gram."""
    gram.flat[:: len(gram) + 1] += ridge
    return np.asarray(linalg.cho_solve(linalg.cho_factor(gram, overwrite_a=True), np.eye(len(gram))))


def _weighted_gram(phi: Array, root: Array) -> Array:
    """Return the symmetric product of root_t phi_t with itself, in blocks: half the work of a product of two, and no copy."""
    gram = np.zeros((phi.shape[1], phi.shape[1]))
    for begin in range(0, len(phi), ROWS):
        part = phi[begin : begin + ROWS] * root[begin : begin + ROWS, None]
        gram += part.T @ part
    return gram


class DROPSolver:
    """Equations (1) to (5) as a Trainable: one stage a step, the last stage first.

    Parameters
    ----------
    problem : LinearProblem
    data : OfflineDataset
    penalty : float or "theory"
        gamma. ``"theory"`` is ``6 b H sqrt(d log(3 H K / delta))``, of the order for which the theorem holds with probability
        1 - delta and far more than is needed in practice; it supposes ``subsample=True``.
    ridge : float
        lambda.
    delta : float
        Probability that a guarantee may fail, for ``"theory"`` and for trimming.
    subsample : bool
        Make the transitions of a stage independent of later ones, as the theory supposes, at the price of most of the data: see
        :mod:`robust_rl.solvers.trimming`. States must be indices.
    trim : float
        Its constant c.
    seed : int
        For the split.
    grams : (H, d, d) array, optional
        What :func:`robust_rl.solvers.gram_sums` returned for the same data and features, summed wherever; not with ``subsample``.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or no transition is left at a stage.
    """

    method = "DROP"

    def __init__(
        self,
        problem: LinearProblem,
        data: OfflineDataset,
        *,
        penalty: float | str = 1.0,
        ridge: float = 1.0,
        delta: float = 0.05,
        subsample: bool = False,
        trim: float = 10.0,
        seed: int = 0,
        grams: Array | None = None,
    ) -> None:
        check_constants(penalty, ridge=ridge, delta=delta, trim=trim)
        self.problem, self.ridge, self.grams = problem, float(ridge), _checked_grams(grams, problem, subsample)
        if subsample:
            rng = np.random.default_rng(seed)
            self.data, aux = data.split(2, rng)
            kept = trimmed_rows(self.data, aux, problem.horizon, delta=delta, trim=trim, rng=rng)
        else:
            self.data, kept = data, np.ones(len(data), dtype=bool)
        self.rows = rows_by_stage(self.data, kept, problem.horizon)
        self.theory, self.subsampled = theory_penalty(problem, data.num_episodes, delta), subsample
        self.penalty = float(penalty) if penalty != THEORY else self.theory
        self.remaining = problem.horizon
        self.found = empty_arrays(problem)

    @property
    def done(self) -> bool:
        """Whether the first stage is solved."""
        return self.remaining == 0

    def step(self) -> Mapping[str, float]:
        """Solve the next earlier stage."""
        phi, following = self.regressors()
        if self.grams is None:
            return self.solve(phi, following, ridge_inverse(phi, self.ridge))
        return self.solve(phi, following, _inverse(self.grams[self.remaining - 1].copy(), self.ridge))

    def regressors(self) -> tuple[Array, Array]:
        """Return phi_t (K_h, d) and V_{h+1}(s'_t) (K_h,) of the next earlier stage."""
        h, data = self.remaining - 1, self.data
        rows = self.rows[h]
        phi = self.problem.features(data.observations[rows], data.actions[rows])
        return phi, values_after(self.problem, self.found["weights"], data, rows, h)

    def solve(self, phi: Array, following: Array, inverse: Array) -> dict[str, float]:
        """Solve the next earlier stage, given its regressors and Lambda^{-1}."""
        self.remaining -= 1
        h, problem = self.remaining, self.problem
        lowest = problem.lowest(next_weights(self.found, h), h + 1, following)
        rewards = self.data.rewards[self.rows[h]]
        fit = fit_stage(phi, rewards, following, inverse, lowest=lowest, radius=problem.radius[h])
        return record(self.found, h, fit, lowest, self.penalty, phi)

    def solution(self) -> LinearSolution:
        """Return weights of all stages. Raises InvalidArgumentError before the first stage is solved."""
        return solution_of(self)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the stages solved so far."""
        save_arrays(directory / "drop.safetensors", self.found, self._problem() | {"remaining": self.remaining})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        self.found, noted = load_arrays(directory / "drop.safetensors")
        check_same_problem(noted, self._problem())
        self.remaining = int(noted["remaining"])

    def _problem(self) -> dict[str, Any]:
        return self.problem.describe() | describe_data(self.data, self.rows) | {"penalty": self.penalty, "ridge": self.ridge}


def _checked_grams(grams: Array | None, problem: LinearProblem, subsample: bool) -> Array | None:
    if grams is None:
        return None
    shape = (*problem.radius.shape, problem.radius.shape[1])
    if subsample or np.shape(grams) != shape:
        raise InvalidArgumentError(
            f"grams of shape {np.shape(grams)} with subsample={subsample}; they have shape {shape} and are of all rows"
        )
    return np.asarray(grams, dtype=np.float64)


def theory_penalty(problem: LinearProblem, episodes: int, delta: float) -> float:
    """Return gamma of the order for which the theorem holds."""
    horizon, dimension = problem.horizon, problem.features.dimension
    return float(6 * problem.scale * horizon * np.sqrt(dimension * np.log(3 * horizon * episodes / delta)))


def check_constants(penalty: float | str, **constants: float) -> None:
    """Raise InvalidArgumentError naming the constant that is out of range."""
    if penalty != THEORY and (isinstance(penalty, (str, bool)) or not penalty >= 0):
        raise InvalidArgumentError(f'penalty={penalty!r}; it must be a number of at least 0, or "theory"')
    for name, value in constants.items():
        least_open, greatest = (name in ("ridge", "delta")), (1.0 if name == "delta" else np.inf)
        if not (value > 0 or (value == 0 and not least_open)) or not value < greatest:
            raise InvalidArgumentError(f"{name}={value!r} is out of range; it must be a number {_range(least_open, greatest)}")


def _range(open_at_zero: bool, greatest: float) -> str:
    return ("above 0" if open_at_zero else "of at least 0") + (f" and below {greatest:g}" if np.isfinite(greatest) else "")


def rows_by_stage(data: OfflineDataset, kept: NDArray[np.bool_], horizon: int) -> list[NDArray[np.intp]]:
    """Return the rows of each stage that are kept. Raises InvalidArgumentError naming a stage of which none is left."""
    rows = [np.flatnonzero(kept & (data.stage == h)) for h in range(horizon)]
    empty = next((h for h, part in enumerate(rows) if not len(part)), None)
    if empty is None:
        return rows
    if kept.all():
        raise InvalidArgumentError(f"{data!r} has no transition at stage {empty}; log more or longer episodes")
    raise InvalidArgumentError(
        f"subsampling left no transition at stage {empty} of {data!r}; lower trim, log more episodes, or use subsample=False"
    )


def empty_arrays(problem: LinearProblem) -> dict[str, Any]:
    """Return room for what is found at each stage."""
    shape = problem.radius.shape
    return {name: np.zeros(shape[:1] if name == "lowest" else shape) for name in NAMES}


def next_weights(found: dict[str, Array], h: int) -> Array:
    """Return the weights of stage h + 1; of the last stage any, since what follows is worth 0."""
    return np.asarray(found["weights"][min(h + 1, len(found["weights"]) - 1)])


def values_after(problem: LinearProblem, weights: Array, data: OfflineDataset, rows: NDArray[np.intp], h: int) -> Array:
    """Return V_{h+1}(s'_t) of some rows; 0 where the episode ended."""
    following = problem.values(weights[min(h + 1, len(weights) - 1)], h + 1, data.next_observations[rows])
    return np.asarray(np.where(data.terminations[rows], 0.0, following))


def record(found: dict[str, Array], h: int, fit: Fit, lowest: float, penalty: float, phi: Array) -> dict[str, float]:
    """Enter a stage, eq. (5), and return what to log of it."""
    found["theta"][h], found["nu"][h], found["bonus"][h], found["lowest"][h] = *fit, lowest
    found["weights"][h] = fit.theta + fit.nu - penalty * fit.bonus
    return {
        "solve/stage": float(h),
        "solve/transitions": float(len(phi)),
        "solve/penalty": float(penalty * phi.mean(axis=0) @ fit.bonus),
        "solve/lowest": lowest,
    }


def solution_of(solver: Any) -> LinearSolution:
    """Return a finished solver's answer."""
    if not solver.done:
        raise InvalidArgumentError(
            f"{solver.remaining} of {solver.problem.horizon} stages are still to be solved; go on until done"
        )
    used = np.array([len(rows) for rows in solver.rows])
    arrays = {name: array.copy() for name, array in solver.found.items()}
    return LinearSolution(**arrays, used=used, penalty=solver.penalty, problem=solver.problem, method=solver.method)


def describe_data(data: OfflineDataset, rows: list[NDArray[np.intp]]) -> dict[str, Any]:
    """Return what a checkpoint notes of the transitions it was learned from."""
    columns = [data.observations, data.actions, data.rewards, data.next_observations, data.terminations, data.stage]
    return {"data": digest(columns), "rows": digest(list(rows))}
