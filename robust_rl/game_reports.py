"""What a solved game leaves for a person: values, the exact gap on the known kernel, and the best deviations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl import pictures
from robust_rl.game_agent import DRNVI
from robust_rl.models import MarkovGame
from robust_rl.solvers import BestResponse, RobustGap, best_response, game_value, robust_gap
from robust_rl.table import figures
from robust_rl.training import Figure, Section, write_report
from robust_rl.training import Table as PageTable

MOST_DEVIATIONS = 12


@dataclass(frozen=True)
class Verdict:
    """A robust equilibrium, judged on the known game.

    ==========  =================================================================================
    agent       the solved agent
    known       the game itself, as opposed to an empirical one that the agent may have solved
    gap         exact robust gaps of the agent's policy on the known game
    nominal     (n,) value of the policy from the start if no adversary stirs
    responses   each agent's best deviation on the known game
    ==========  =================================================================================
    """

    agent: DRNVI
    known: MarkovGame
    gap: RobustGap
    nominal: NDArray[np.float64]
    responses: dict[str, BestResponse]

    def rows(self) -> list[list[Any]]:
        """Return a row an agent: name, set, robust value, nominal value, gap from the start, largest gap."""
        robust, start = self.gap.value @ self.known.start, self.gap.from_start
        sets = self.agent.solution.uncertainty
        return [
            [name, repr(sets[name]), robust[i], self.nominal[i], start[name], self.gap.by_agent[name]]
            for i, name in enumerate(self.known.agents)
        ]

    def summary(self) -> dict[str, Any]:
        """Return what was found as JSON values."""
        return {
            "robust_value": {row[0]: float(row[2]) for row in self.rows()},
            "nominal_value": {row[0]: float(row[3]) for row in self.rows()},
            "exact_gap": self.gap.gap,
            "exact_gap_by_agent": self.gap.by_agent,
            "exact_gap_from_start": self.gap.from_start,
        }

    def __str__(self) -> str:
        solution, samples = self.agent.solution, self.agent.samples
        source = "the known kernel" if samples is None else f"{samples} draws from each (h, s, a)"
        lines = [f"robust {solution.equilibrium} by DR-NVI on {source}, selection {solution.selection}"]
        lines += [
            f"{name}, {chosen}: robust value {figures(robust)}, without an adversary {figures(nominal)}, "
            f"gains {gain:.3g} from the start by its best deviation"
            for name, chosen, robust, nominal, gain, _ in self.rows()
        ]
        return "\n".join([*lines, f"exact robust gap on the known kernel, over all states: {self.gap.gap:.3g}"])


def judged(agent: DRNVI, known: MarkovGame) -> Verdict:
    """Judge a solved agent on the known game, exactly."""
    solution = agent.solution
    policy, sets, kind = solution.policy, solution.uncertainty, solution.equilibrium
    return Verdict(
        agent,
        known,
        robust_gap(policy, known, sets, kind=kind),
        game_value(policy, known, None)[:, 0] @ known.start,
        {name: best_response(policy, known, sets, name, kind=kind) for name in known.agents},
    )


def write_game_report(path: str | Path, name: str, verdict: Verdict) -> Path:
    """Write ``report.html`` for a judged game.

    Parameters
    ----------
    path : path
        The page to write.
    name : str
        Of the game, in words.
    verdict : Verdict

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    solution = verdict.agent.solution
    rows = [[who, chosen, *(f"{x:.6g}" for x in numbers)] for who, chosen, *numbers in verdict.rows()]
    heads = ["agent", "set", "robust value", "without an adversary", "gain by deviating, from the start", "from its best state"]
    values = pictures.values_by_stage(solution, verdict.known.start)
    play = pictures.play_at_start(solution, verdict.known.start)
    gaps = pictures.gaps_by_state(verdict.gap)
    sections = [
        Section(
            "Values and gaps", str(verdict), (PageTable(heads, rows, "exact, on the known kernel"), Figure(gaps, _gap_text()))
        ),
        Section("Play", items=(Figure(play, "joint actions in the likeliest first state"), Figure(values, "values by stage"))),
        Section("The best deviations", _deviation_text(solution.equilibrium), (_deviations(verdict),)),
    ]
    return write_report(path, f"{name}: a robust equilibrium", sections, subtitle=repr(verdict.known))


def _gap_text() -> str:
    return "what each agent gains by its best deviation, by state; 0 everywhere is an exact equilibrium"


def _deviation_text(kind: str) -> str:
    if kind == "ce":
        return "An agent is told an action and may play another: where its best modification differs, at the first stage."
    return "An agent leaves the policy for one of its own: its best choice at the first stage, where that gains most."


def _deviations(verdict: Verdict) -> PageTable:
    """List the states in which deviators gain most."""
    gains = verdict.gap.by_state
    order = np.dstack(np.unravel_index(np.argsort(-gains, axis=None), gains.shape))[0][:MOST_DEVIATIONS]
    rows = []
    for agent, state in order:
        name = verdict.known.agents[agent]
        rows.append([name, int(state), f"{gains[agent, state]:.3g}", str(verdict.responses[name].actions[0, state].tolist())])
    return PageTable(["agent", "state", "gain", "plays (ce: by what it is told)"], rows, "largest gains first")
