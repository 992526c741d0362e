"""What an offline solution leaves for a person: its value, how pessimistic it is, and where the data leave it in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl import pictures
from robust_rl.datasets import OfflineDataset, Statistics
from robust_rl.features import ROWS
from robust_rl.offline_agents import DROP
from robust_rl.table import figures
from robust_rl.training import Figure, Section, write_report
from robust_rl.training import Table as PageTable

Array = NDArray[np.float64]
MOST_DOUBTS, SAID = 12, 3


@dataclass(frozen=True)
class Doubt:
    """A choice of the policy that the data say little about.

    ===========  =================================================================
    stage        h
    observation  s, as logged
    action       pi_h(s)
    penalty      gamma sum_i phi_i(s, a) sqrt(diag Lambda_h^{-1})_i
    value        V_h(s), what is left after it
    visits       how often (s, a) was logged at that stage; None for vectors
    ===========  =================================================================
    """

    stage: int
    observation: Any
    action: int
    penalty: float
    value: float
    visits: int | None

    def row(self) -> list[Any]:
        """Return it as a row of a table."""
        place = np.array2string(np.asarray(self.observation), precision=3, suppress_small=True)
        return [self.stage, place, self.action, figures(self.penalty), figures(self.value), self.visits]


@dataclass(frozen=True)
class Findings:
    """A learned agent beside the data it comes from.

    ==========  ===========================================================================================
    agent       DROP or DROPV after ``learn``
    data        all that was logged
    statistics  what they cover
    value       (H, 3) mean, least and largest V_h over the states logged at stage h
    penalty     (H, 2) mean and largest penalty at the policy's choices there
    logged      (H,) what the episodes that reached stage h earned from there to the horizon, on average
    doubts      the policy's choices of the largest penalties, the largest first
    ==========  ===========================================================================================

    Of a stage with more than 16384 transitions the first so many stand for all.
    """

    agent: DROP
    data: OfflineDataset
    statistics: Statistics
    value: Array
    penalty: Array
    logged: Array
    doubts: list[Doubt]

    def summary(self) -> dict[str, Any]:
        """Return what was found as JSON values."""
        agent, solution = self.agent, self.agent.solution
        mean, lowest, highest = map(float, self.value[0])
        return {
            "method": solution.method,
            "uncertainty": repr(agent.uncertainty),
            "horizon": agent.horizon,
            "features": repr(solution.problem.features),
            "dimension": solution.problem.features.dimension,
            "episodes": self.data.num_episodes,
            "transitions": len(self.data),
            "used": solution.used.tolist(),
            "actions_tried": _listed(self.statistics.coverage),
            "effective_pairs": _listed(self.statistics.effective_pairs),
            "value": mean,
            "lowest_value": lowest,
            "highest_value": highest,
            "logged_return": float(self.logged[0]),
            "penalty": solution.penalty,
            "theory_penalty": agent.solver.theory,
            "mean_penalty": self.penalty[:, 0].tolist(),
            "largest_penalty": self.penalty[:, 1].tolist(),
        }

    def pessimism(self) -> str:
        """Say what the value is worth as a promise."""
        solver, taken = self.agent.solver, self.penalty[:, 0]
        text = (
            f"penalty {figures(solver.penalty)} takes {figures(float(taken.mean()))} off a stage at the policy's own choices, "
            f"{figures(float(taken.max()))} at stage {int(taken.argmax())}"
        )
        if solver.subsampled and solver.penalty >= solver.theory:
            return f"{text}; it is of the order for which the theorem makes the value a lower bound"
        return (
            f"{text}. The value is an estimate, not a bound: the theorem asks for a penalty of {figures(solver.theory)} "
            "and for subsampling"
        )

    def worst_state(self) -> str:
        """Say what the adversary was thought to be able to reach."""
        problem = self.agent.solution.problem
        if problem.v_min is None:
            return f"worst state: the exact minimum over {len(problem.states)} states"  # type: ignore[arg-type]
        return {
            "possible": "worst state: assumed to earn the least that rewards allow, on the safe side",
            "observed": "worst state: the worst one logged; the value is too optimistic if there are worse ones",
        }.get(str(problem.v_min), f"worst state: worth {problem.v_min}, as given")

    def __str__(self) -> str:
        agent, solution = self.agent, self.agent.solution
        mean, lowest, highest = map(figures, self.value[0].tolist())
        lines = [
            f"{solution.method}, {agent.uncertainty or 'no adversary'}, horizon {agent.horizon}, "
            f"{solution.problem.features.dimension} features, "
            f"{solution.used.min()} to {solution.used.max()} transitions a stage",
            f"estimated robust value from the logged starts: mean {mean}, from {lowest} to {highest}; "
            f"the log itself earned {figures(float(self.logged[0]))}",
            f"pessimism: {self.pessimism()}",
            self.worst_state(),
        ]
        for doubt in self.doubts[:SAID]:
            stage, place, action, penalty, *_ = doubt.row()
            seen = "" if doubt.visits is None else f", logged {doubt.visits} times"
            lines.append(f"in doubt: stage {stage}, observation {place}, action {action}: penalty {penalty}{seen}")
        return "\n".join(lines)


def findings(agent: DROP, data: OfflineDataset) -> Findings:
    """Judge a learned agent on the data it was made of."""
    horizon, statistics = agent.horizon, data.statistics()
    value, penalty, doubts = np.zeros((horizon, 3)), np.zeros((horizon, 2)), []
    for h in range(horizon):
        rows = data.at_stage(h)[:ROWS]
        actions, values, penalties = _at_stage(agent, data.observations[rows], h)
        value[h] = values.mean(), values.min(), values.max()
        penalty[h] = penalties.mean(), penalties.max()
        doubts += _doubts(statistics, h, data.observations[rows], actions, values, penalties)
    earned = np.bincount(data.stage, weights=data.rewards)[:horizon]
    logged = np.cumsum(earned[::-1])[::-1] / statistics.per_stage[:horizon]
    doubts.sort(key=lambda doubt: -doubt.penalty)
    return Findings(agent, data, statistics, value, penalty, logged, doubts[:MOST_DOUBTS])


def _at_stage(agent: DROP, observations: NDArray[Any], h: int) -> tuple[NDArray[np.intp], Array, Array]:
    """Return pi_h(s), V_h(s) and the penalty at (s, pi_h(s))."""
    solution, problem = agent.solution, agent.solution.problem
    q = problem.features.action_values(observations, solution.weights[h])
    actions = q.argmax(axis=1)
    penalties = solution.penalty * (problem.features(observations, actions) @ solution.bonus[h])
    return actions, problem.clip(h, q.max(axis=1)), penalties


def _doubts(
    statistics: Statistics, h: int, observations: NDArray[Any], actions: NDArray[np.intp], values: Array, penalties: Array
) -> list[Doubt]:
    """Return the choices of the largest penalties at one stage, each once."""
    _, first = np.unique(observations.reshape(len(observations), -1), axis=0, return_index=True)
    found = []
    for t in first[np.argsort(-penalties[first], kind="stable")][:MOST_DOUBTS]:
        state, action = observations[t], int(actions[t])
        found.append(Doubt(h, state, action, float(penalties[t]), float(values[t]), _visits(statistics, h, state, action)))
    return found


def _visits(statistics: Statistics, h: int, state: Any, action: int) -> int | None:
    if statistics.visits is None:
        return None
    return int(statistics.visits[h, state, action]) if action < statistics.visits.shape[2] else 0


def _listed(array: Array | None) -> list[float] | None:
    return None if array is None else array.tolist()


def write_offline_report(path: str | Path, name: str, found: Findings) -> Path:
    """Write ``report.html`` for what was learned from logged data.

    Parameters
    ----------
    path : path
        The page to write.
    name : str
        Of the data, in words.
    found : Findings

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    solution, phi = found.agent.solution, found.agent.solution.problem.features
    values = pictures.value_and_penalty(found.value, found.penalty, found.logged)
    coverage = pictures.data_coverage(found.statistics, found.agent.horizon)
    heads = ["stage", "observation", "action", "penalty", "value", "times logged"]
    doubts = PageTable(heads, [doubt.row() for doubt in found.doubts], "the policy's choices of the largest penalties")
    sections = [
        Section("Value and pessimism", str(found), (Figure(values, "by stage, at the states logged there"),)),
        Section("The data", str(found.statistics), (Figure(coverage, "what they cover"),)),
        Section("Where it is in doubt", "A large penalty means that few transitions had these features.", (doubts,)),
        Section(
            "Features",
            "nu is what an adversary leaves of the value that follows each feature's factor.",
            (Figure(pictures.features_by_stage(solution), f"{phi!r}, dimension {phi.dimension}"),),
        ),
    ]
    subtitle = f"{solution.method}, {found.agent.uncertainty or 'no adversary'}"
    return write_report(path, f"{name}: a policy from logged data", sections, subtitle=subtitle)
