"""The price of robustness: what a policy gives up in the world as modelled for what it keeps in the worst one.

For every radius, three numbers from the start:

    robust policy, worst case     the optimal robust value: the guarantee, with its certificate
    robust policy, as modelled    what that policy is worth if nothing is perturbed; falls as the radius grows
    nominal policy, worst case    what the optimum of the unperturbed model is worth if the adversary plays

The first less the third is what robustness buys, the second at radius 0 less the second at a radius what it costs. Policies tie,
in deterministic worlds almost always, so the last two are ranges over all optimal tie-breaks; see :func:`robust_values_of_ties`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robust_rl import envs
from robust_rl.errors import ConvergenceError, InvalidArgumentError
from robust_rl.evaluation import TieRange, tie_range
from robust_rl.models import TabularMDP
from robust_rl.solvers import BellmanOperator, Solution, planner, policy_value, solve
from robust_rl.solvers.criterion import check_criterion, describe_problem
from robust_rl.table import Estimate, Table
from robust_rl.training import RunDirectory, Trainer, check_same_problem, load_arrays, save_arrays, write_json
from robust_rl.uncertainty import RadiusSet
from robust_rl.uncertainty.resize import at_any_radius, resized

Array = NDArray[np.float64]
GUARANTEED, AS_MODELLED, UNPROTECTED = ROWS = (
    "robust policy, worst case", "robust policy, as modelled", "nominal policy, worst case",
)  # fmt: skip
ROUNDS = 1000


def frontier(
    env: str | gymnasium.Env | TabularMDP,
    uncertainty: RadiusSet,
    radii: Sequence[float],
    *,
    discount: float | None = None,
    horizon: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    tol: float = 1e-6,
    run: RunDirectory | str | Path | None = None,
    progress: bool = False,
) -> Table:
    """Compute the price of robustness over a range of radii.

    Parameters
    ----------
    env : str, gymnasium.Env or TabularMDP
        As for :class:`robust_rl.RobustVI`.
    uncertainty : RadiusSet
        The set's norm and support; its own radius doesn't matter.
    radii : sequence of float
        One column each, in this order.
    discount, horizon
        Exactly one, as in :func:`robust_rl.solve`.
    env_kwargs : dict, optional
        Arguments of the environment, when ``env`` is an id.
    tol : float
        Width of the certificates.
    run : RunDirectory or path, optional
        Where to log, save after every radius, and leave ``result/frontier.json``. A run that was killed is resumed.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Table
        The three rows of the module's docstring. A run that a signal ended has only the columns that were done.

    Raises
    ------
    InvalidUncertaintyError
        If the set has no radius, or one a row, or one of ``radii`` is out of its range.
    InvalidArgumentError
        If there are no radii, one comes twice, or another argument is out of range.

    Examples
    --------
    >>> from robust_rl import TotalVariation
    >>> ball = TotalVariation(0.1, support="reachable")
    >>> print(frontier("CliffWalking-v1", ball, [0, 0.05, 0.1], discount=0.99))
    value from the start, TotalVariation(radius=..., support='reachable')
                                   0.0    0.05     0.1
    robust policy, worst case   -12.25  -23.01  -33.63
    robust policy, as modelled  -12.25  -15.71  -15.71
    nominal policy, worst case  -12.25  -85.08  -210.8
    """
    model = open_world(env, env_kwargs or {})
    steps = FrontierPlanner(model, uncertainty, radii, discount=discount, horizon=horizon, tol=tol)
    return run_frontier(steps, RunDirectory(run) if isinstance(run, (str, Path)) else run, progress=progress)


def open_world(env: str | gymnasium.Env | TabularMDP, env_kwargs: dict[str, Any]) -> TabularMDP:
    """Return the model of an environment, made from its id if need be."""
    return envs.tabular(envs.make(env, **env_kwargs) if isinstance(env, str) else env)


def run_frontier(steps: FrontierPlanner, run: RunDirectory | None = None, *, progress: bool = False) -> Table:
    """Compute a frontier to its end, or to a signal, and return its table; see :func:`frontier`."""
    every = None if run is None else 1
    Trainer(run, max_steps=len(steps.radii), checkpoint_every=every, progress=progress).fit(steps)
    table = steps.table()
    if run is not None:
        write_json(run.result / "frontier.json", table.to_dict())
    return table


class FrontierPlanner:
    """The frontier as a Trainable: one radius a step. Arguments and errors as for :func:`frontier`, with a model."""

    def __init__(
        self,
        model: TabularMDP,
        uncertainty: RadiusSet,
        radii: Sequence[float],
        *,
        discount: float | None = None,
        horizon: int | None = None,
        tol: float = 1e-6,
    ) -> None:
        self.discount, self.horizon = check_criterion(discount, horizon)
        self.model, self.uncertainty, self.tol = model, uncertainty, float(tol)
        self.radii = tuple(float(radius) for radius in radii)
        if not self.radii or len(set(self.radii)) < len(self.radii):
            raise InvalidArgumentError(f"radii are {list(self.radii)}; give at least one, and each once")
        self._sets = [resized(uncertainty, radius) for radius in self.radii]
        for ball in self._sets:  # refuses whatever doesn't fit before the first is solved
            planner(model, ball, discount=self.discount, horizon=self.horizon, tol=self.tol)
        self._nominal: Solution | None = None
        self.cells: list[list[tuple[float, float]]] = []

    @property
    def done(self) -> bool:
        """Whether every radius has its column."""
        return len(self.cells) == len(self.radii)

    def step(self) -> Mapping[str, float]:
        """Solve and evaluate at the next radius."""
        ball, criterion = self._sets[len(self.cells)], {"discount": self.discount, "horizon": self.horizon}
        if self._nominal is None:
            self._nominal = solve(self.model, None, tol=self.tol, **criterion)  # type: ignore[arg-type]
        robust = solve(self.model, ball, tol=self.tol, **criterion)  # type: ignore[arg-type]
        bounds = robust.certificate
        ends = [
            (bounds.lower, bounds.upper),
            tie_range(robust, self.model),
            robust_values_of_ties(self._nominal, self.model, ball),
        ]
        column = [(self._from_start(low), self._from_start(high)) for low, high in ends]
        self.cells.append(column)
        guaranteed, as_modelled, unprotected = ((low + high) / 2 for low, high in column)
        return {
            "frontier/radius": self.radii[len(self.cells) - 1], "frontier/guaranteed": guaranteed,
            "frontier/as_modelled": as_modelled, "frontier/unprotected": unprotected, "solve/gap": bounds.gap,
        }  # fmt: skip

    def table(self) -> Table:
        """Return the columns computed so far."""
        columns = tuple(repr(radius) for radius in self.radii[: len(self.cells)])
        rows = tuple(tuple(_estimate(*column[i], i == 0) for column in self.cells) for i in range(len(ROWS)))
        return Table(f"value from the start, {at_any_radius(self.uncertainty)}", ROWS, columns, rows)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the columns computed so far."""
        cells = np.array(self.cells, dtype=np.float64).reshape(-1, len(ROWS), 2)
        save_arrays(directory / "frontier.safetensors", {"cells": cells}, self._problem())

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / "frontier.safetensors")
        check_same_problem(problem, self._problem())
        self.cells = [[(low, high) for low, high in column] for column in arrays["cells"].tolist()]

    def _from_start(self, value: Array) -> float:
        return float(self.model.start @ np.atleast_2d(value)[0])

    def _problem(self) -> dict[str, Any]:
        criterion = {"radii": list(self.radii), "discount": self.discount, "horizon": self.horizon, "tol": self.tol}
        return describe_problem(self.model, resized(self.uncertainty, self.radii[0])) | criterion


def robust_values_of_ties(solution: Solution, model: TabularMDP, uncertainty: RadiusSet) -> TieRange:
    """Return the lowest and highest robust value over all policies that a solution can't tell from optimal.

    Policy iteration restricted to the solution's optimal actions, once upwards and once downwards, with exact robust values of
    the policies in between; the ends are exact values of policies, (S,) or (H, S) each.

    Parameters
    ----------
    solution : Solution
        With its own discount or horizon, of any set or none.
    model : TabularMDP
    uncertainty : RadiusSet
        What the policies are now exposed to.
    """
    optimal = solution.optimal_actions & (model.action_mask | model.terminal[:, None])
    search = _restricted if solution.horizon is None else _restricted_horizon
    backup = BellmanOperator(model, uncertainty, 1.0 if solution.discount is None else solution.discount)
    return TieRange(search(backup, optimal, np.argmin), search(backup, optimal, np.argmax))


def _restricted(backup: BellmanOperator, optimal: NDArray[np.bool_], pick: Callable[..., Any]) -> Array:
    model, live = backup.model, ~backup.model.terminal
    policy = np.where(live, optimal.argmax(axis=1), 0)
    for _ in range(ROUNDS):
        value = policy_value(model, policy, backup.uncertainty, discount=backup.discount)
        q = np.where(optimal, backup.q_values(value), np.inf if pick is np.argmin else -np.inf)
        best = pick(q, axis=1)
        gain = abs(np.take_along_axis(q, best[:, None], 1)[:, 0] - np.take_along_axis(q, policy[:, None], 1)[:, 0])
        # what rounding or the evaluation's own tolerance may feign is no improvement
        better = live & (gain > 1e-10 * (1 + abs(value).max()))
        if not better.any():
            return value
        policy = np.where(better, best, policy)
    raise ConvergenceError(f"the range over tie-breaks didn't settle in {ROUNDS} rounds of policy iteration")


def _restricted_horizon(backup: BellmanOperator, optimal: NDArray[np.bool_], pick: Callable[..., Any]) -> Array:
    value = np.zeros((len(optimal) + 1, backup.model.num_states))
    for h in reversed(range(len(optimal))):
        q = np.where(optimal[h], backup.q_values(value[h + 1]), np.inf if pick is np.argmin else -np.inf)
        value[h] = np.take_along_axis(q, pick(q, axis=1)[:, None], 1)[:, 0]
    return value[:-1]


def _estimate(low: float, high: float, certified: bool) -> Estimate:
    if certified or abs(high - low) <= 1e-7 * max(abs(low), abs(high)):
        return Estimate(low, high, (low + high) / 2, "exact")
    return Estimate(low, high, None, "ties")
