"""DROP-V: DROP with transitions weighted by the variance of what follows them (arXiv:2403.12946).

The data are split. DROP on the part D' gives V'; with z_1 and z_2 the regressions on D' of V'_{h+1}(s') and its square, with its
ridge, and kappa the least eigenvalue of the mean of phi phi^T,

    sigma^2(s, a) = max{ 1, clip(<phi, z_2>, 0, H^2) - clip(<phi, z_1>, 0, H)^2 - c d H^3 / sqrt(K kappa) }                   (1)

and the stages are then those of :mod:`robust_rl.solvers.drop` on the other part, with

    Lambda = H^{-2} I + sum_t phi_t phi_t^T / sigma^2_t                                                                       (2)

and phi_t / sigma^2_t for phi_t in the sums that Lambda^{-1} multiplies. For rewards of size b instead of 1, b H stands for H and
b^2 for the 1. (1) and (2) follow Liu and Xu (NeurIPS 2024), whose VA-DRPVI is the same idea.

===========  ===========  ==================================
symbol       here         meaning, shape
===========  ===========  ==================================
D'           preliminary  its DROPSolver, which holds V' too
z_1, z_2     moments      (H, d, 2), side by side
c d .. kappa correction   (H,)
sigma^2      variance     (K_h,)
1 / sigma^2  precision    (K_h,)
b            unit         number
===========  ===========  ==================================
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from robust_rl.datasets import OfflineDataset
from robust_rl.solvers.drop import (
    NAMES,
    THEORY,
    DROPSolver,
    check_constants,
    describe_data,
    empty_arrays,
    fit_stage,
    next_weights,
    record,
    ridge_inverse,
    rows_by_stage,
    solution_of,
    values_after,
)
from robust_rl.solvers.linear_problem import LinearProblem, LinearSolution
from robust_rl.solvers.trimming import trimmed_rows
from robust_rl.training import check_same_problem, load_arrays, save_arrays

Array = NDArray[np.float64]


class DROPVSolver:
    """DROP-V as a Trainable: H steps of DROP on D', then one step a stage with equations (1) and (2).

    Parameters
    ----------
    problem : LinearProblem
    data : OfflineDataset
        Split by episodes into two independent halves, or three parts with ``subsample``.
    penalty : float or "theory"
        gamma of the second half; ``"theory"`` is ``66 sqrt(d) log(3 H K / delta)``, which doesn't grow with H.
    preliminary_penalty : float or "theory"
        gamma of DROP on D', and ``ridge`` its lambda.
    variance_correction : float
        c. The theory's is positive, in practice 0 does better.
    ridge, delta, subsample, trim, seed
        As in :class:`DROPSolver`.

    Raises
    ------
    InvalidArgumentError
        As in :class:`DROPSolver`.
    """

    method = "DROP-V"

    def __init__(
        self,
        problem: LinearProblem,
        data: OfflineDataset,
        *,
        penalty: float | str = 1.0,
        preliminary_penalty: float | str = 1.0,
        variance_correction: float = 0.0,
        ridge: float = 1.0,
        delta: float = 0.05,
        subsample: bool = False,
        trim: float = 10.0,
        seed: int = 0,
    ) -> None:
        check_constants(penalty, ridge=ridge, delta=delta, trim=trim, variance_correction=variance_correction)
        self.problem, self.variance_correction = problem, float(variance_correction)
        rng = np.random.default_rng(seed)
        first, self.data, *aux = data.split(3 if subsample else 2, rng)
        self.preliminary = DROPSolver(problem, first, penalty=preliminary_penalty, ridge=ridge, delta=delta)
        kept = np.ones(len(self.data), dtype=bool)
        if subsample:
            kept = trimmed_rows(self.data, aux[0], problem.horizon, delta=delta, trim=trim, rng=rng)
        self.rows = rows_by_stage(self.data, kept, problem.horizon)
        self.theory, self.subsampled = theory_penalty(problem, data.num_episodes, delta), subsample
        self.penalty = float(penalty) if penalty != THEORY else self.theory
        self.remaining = problem.horizon
        self.found = empty_arrays(problem)
        self.moments = np.zeros((problem.horizon, problem.features.dimension, 2))
        self.correction = np.zeros(problem.horizon)

    @property
    def done(self) -> bool:
        """Whether the first stage is solved."""
        return self.remaining == 0

    def step(self) -> Mapping[str, float]:
        """Solve the next earlier stage, of the preliminary DROP first."""
        return self._solve() if self.preliminary.done else self._solve_preliminary()

    def _solve_preliminary(self) -> Mapping[str, float]:
        """Solve a stage of DROP on D', and its regressions of eq. (1), which have the same features."""
        first, h = self.preliminary, self.preliminary.remaining - 1
        phi, following = first.regressors()
        inverse = ridge_inverse(phi, first.ridge)
        self.moments[h] = inverse @ (phi.T @ np.stack([following, following**2], axis=1))  # z_1 and z_2
        self.correction[h] = self._correction(inverse)
        return first.solve(phi, following, inverse)

    def _solve(self) -> Mapping[str, float]:
        """Solve a stage of the other part, weighted by eq. (1)."""
        self.remaining -= 1
        h, problem, data, rows = self.remaining, self.problem, self.data, self.rows[self.remaining]
        phi = problem.features(data.observations[rows], data.actions[rows])
        precision = 1 / self._variance(phi, h)
        following = values_after(problem, self.found["weights"], data, rows, h)
        lowest = problem.lowest(next_weights(self.found, h), h + 1, following)
        inverse = ridge_inverse(phi, (problem.horizon * (problem.scale or 1.0)) ** -2, precision)  # eq. 2
        fit = fit_stage(phi, data.rewards[rows], following, inverse, lowest=lowest, radius=problem.radius[h], precision=precision)
        metrics = record(self.found, h, fit, lowest, self.penalty, phi)
        return {**metrics, "solve/variance": float((1 / precision).mean())}

    def _variance(self, phi: Array, h: int) -> Array:
        """Return eq. (1) at the rows of phi."""
        problem = self.problem
        unit = problem.scale or 1.0
        top = unit * problem.horizon
        mean, square = (phi @ self.moments[h]).T
        raw = np.clip(square, 0.0, top**2) - problem.clip(0, mean) ** 2 - unit**2 * self.correction[h]
        return np.asarray(np.maximum(raw, unit**2))

    def _correction(self, inverse: Array) -> float:
        if self.variance_correction == 0:
            return 0.0
        total = 1 / float(linalg.eigvalsh(inverse)[-1]) - self.preliminary.ridge  # K kappa
        total = max(total, np.finfo(float).tiny)
        return self.variance_correction * len(inverse) * self.problem.horizon**3 / float(np.sqrt(total))

    def solution(self) -> LinearSolution:
        """Return weights of all stages. Raises InvalidArgumentError before the first stage is solved."""
        return solution_of(self)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the stages solved so far, those of the preliminary DROP too."""
        arrays = self.found | {f"preliminary.{name}": array for name, array in self.preliminary.found.items()}
        arrays |= {"moments": self.moments, "correction": self.correction}
        left = {"remaining": self.remaining, "preliminary": self.preliminary.remaining}
        save_arrays(directory / "drop_v.safetensors", arrays, self._problem() | left)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, noted = load_arrays(directory / "drop_v.safetensors")
        check_same_problem(noted, self._problem())
        self.found = {name: arrays[name] for name in NAMES}
        self.preliminary.found = {name: arrays[f"preliminary.{name}"] for name in NAMES}
        self.moments, self.correction = arrays["moments"], arrays["correction"]
        self.remaining, self.preliminary.remaining = int(noted["remaining"]), int(noted["preliminary"])

    def _problem(self) -> dict[str, Any]:
        first = {f"preliminary {name}": value for name, value in self.preliminary._problem().items()}
        mine = {"penalty": self.penalty, "variance_correction": self.variance_correction}
        return self.problem.describe() | describe_data(self.data, self.rows) | first | mine


def theory_penalty(problem: LinearProblem, episodes: int, delta: float) -> float:
    """Return gamma of the order for which the theorem holds."""
    return float(66 * np.sqrt(problem.features.dimension) * np.log(3 * problem.horizon * episodes / delta))
