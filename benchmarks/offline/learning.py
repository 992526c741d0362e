"""What the offline studies share: to learn from a log of a known linear MDP, and to judge what was learned exactly."""

from typing import NamedTuple

import numpy as np

import robust_rl as rr
from robust_rl.features import Table
from robust_rl.models import LinearMDP
from robust_rl.solvers import DROPSolver, DROPVSolver, LinearSolution, LinearValues, linear_problem, linear_values

KINDS = {"PEVI": DROPSolver, "DROP": DROPSolver, "DROP-V": DROPVSolver}
CURVES = {"PEVI": "#d1495b", "DROP": "#2a6f97", "DROP-V": "#e09f3e"}


def ball(radius: float | np.ndarray) -> rr.TotalVariation:
    return rr.TotalVariation(radius, support="free")


def logged(model: LinearMDP, episodes: int, seed: int, behaviour: np.ndarray | None = None) -> rr.datasets.OfflineDataset:
    return rr.datasets.from_arrays(*model.sample(episodes, np.random.default_rng([seed, episodes]), behaviour))


def learned(
    model: LinearMDP, radius: float | np.ndarray, data: rr.datasets.OfflineDataset, name: str, penalty: float | str, ridge: float
) -> LinearSolution:
    """Learn with the same penalty and ridge in every part of a method; DROP-V's own second ridge is 1 / H^2."""
    uncertainty = None if name == "PEVI" else ball(radius)
    problem = linear_problem(data, uncertainty, features=Table(model.phi), horizon=model.horizon)
    preliminary = {"preliminary_penalty": penalty} if name == "DROP-V" else {}
    solver = KINDS[name](problem, data, penalty=penalty, ridge=ridge, **preliminary)
    while not solver.done:
        solver.step()
    return solver.solution()


class Judged(NamedTuple):
    """Exact, of the first stage: largest error of the promised value over states, suboptimality from the start, and so on."""

    error: float
    suboptimality: float
    pessimistic: bool
    claimed: float


def judge(model: LinearMDP, radius: float | np.ndarray, found: LinearSolution, best: LinearValues) -> Judged:
    """``claimed`` is the promised share of the policy's robust value, ``pessimistic`` whether it is at most 1 in all states."""
    states = np.arange(model.num_states)
    promised = found.value(states)[0]
    kept = linear_values(model, ball(radius), found.policy(states)).value[0]
    return Judged(
        float(abs(promised - best.value[0]).max()),
        float(model.start @ (best.value[0] - kept)),
        bool((promised <= kept + 1e-12).all()),
        float(model.start @ promised / (model.start @ kept)),
    )
