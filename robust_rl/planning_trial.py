"""One trial of a sweep: plan robustly on a model estimated from samples, and hold the policy against the truth.

From every available (s, a) of an environment N next states are drawn; the empirical model is solved under a set, and the policy
that was found is exposed, in the true model, to the worst kernel of the same set around the truth:

    shortfall = V*_rob(start) - V^pi_rob(start)  >=  0

which is what a finite number of samples costs. Without ``samples`` the model is the true one and the shortfall 0 to ``tol``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl import envs
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError, nearest
from robust_rl.models import TabularMDP
from robust_rl.models.sampled_counts import sampled_counts
from robust_rl.solvers import planner, policy_value, solve
from robust_rl.uncertainty import RadiusSet, RectangularSet, SupportedSet, set_class

DEFAULTS: dict[str, Any] = {
    "env_kwargs": {},
    "set": "none",
    "radius": None,
    "support": None,
    "discount": None,
    "horizon": None,
    "samples": None,
    "seed": 0,
    "tol": 1e-6,
    "method": "auto",
}


class PlanningTrial:
    """The trial as a Trainable: the steps of a planner; the last one's metrics hold the findings, ``trial/...``.

    ======================  ===================================================================
    trial/robust_value      of the policy found, worst case around the true model, from the start
    trial/nominal_value     of the same policy in the true model
    trial/optimum           optimal robust value in the true model, middle of its certificate
    trial/shortfall         optimum less robust value
    trial/estimate          what the planner believes: the optimum of the estimated model
    ======================  ===================================================================

    Parameters
    ----------
    configuration : mapping
        ``env`` (a Gymnasium id), ``env_kwargs``; ``set`` by its command-line name, with its ``radius`` (of cvar the level) and
        ``support``; ``discount`` or ``horizon``; ``samples`` for each (s, a), None for the true model; ``seed``, ``tol``,
        ``method``. All but ``env`` have defaults.

    Raises
    ------
    InvalidArgumentError
        If an entry isn't known, or is out of range.
    NoTableError, UnknownNameError, InvalidUncertaintyError
        If the environment has no table, or the set isn't known or doesn't fit.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        known = ("env", *DEFAULTS)
        for name in configuration:
            if name not in known:
                raise InvalidArgumentError(
                    f"the trial's {name!r} isn't known{nearest(name, list(known))}; known: {', '.join(known)}"
                )
        given = DEFAULTS | dict(configuration)
        self.truth = envs.tabular(envs.make(given["env"], **given["env_kwargs"]))
        self.uncertainty = _set(given["set"], given["radius"], given["support"])
        self.criterion = {"discount": given["discount"], "horizon": given["horizon"]}
        self.tol = given["tol"]
        self.model = self.truth if given["samples"] is None else _estimated(self.truth, given["samples"], given["seed"])
        self.planner = planner(self.model, self.uncertainty, method=given["method"], tol=self.tol, **self.criterion)

    @property
    def done(self) -> bool:
        """Whether the planner is done."""
        return self.planner.done

    def step(self) -> Mapping[str, float]:
        """Let the planner make a step; after its last, evaluate."""
        metrics = dict(self.planner.step())
        return metrics | self._findings() if self.done else metrics

    def save_checkpoint(self, directory: Path) -> None:
        """Write the planner's state."""
        self.planner.save_checkpoint(directory)

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        self.planner.load_checkpoint(directory)

    def _findings(self) -> dict[str, float]:
        found = self.planner.solution()
        best = solve(self.truth, self.uncertainty, tol=self.tol, **self.criterion)
        robust = policy_value(self.truth, found.policy, self.uncertainty, **self.criterion)
        nominal = policy_value(self.truth, found.policy, **self.criterion)
        values = {"robust_value": robust, "nominal_value": nominal, "optimum": best.value, "estimate": found.value}
        findings = {f"trial/{name}": float(self.truth.start @ np.atleast_2d(value)[0]) for name, value in values.items()}
        return findings | {"trial/shortfall": findings["trial/optimum"] - findings["trial/robust_value"]}


def _set(name: str, radius: float | None, support: str | None) -> RectangularSet | None:
    """Return a set of one radius by its command-line name; ``none`` gives None."""
    if name == "none":
        return None
    kind: Any = set_class(name)
    if not issubclass(kind, RadiusSet) or radius is None:
        raise InvalidUncertaintyError(
            f"set {name!r} with radius {radius}: a sweep takes sets that have one number, and that number"
        )
    if issubclass(kind, SupportedSet):
        return kind(radius, support=support)  # type: ignore[no-any-return]
    if support not in (None, "nominal"):
        raise InvalidUncertaintyError(f"set {name!r} keeps the nominal support; leave out {support!r}")
    return kind(radius)  # type: ignore[no-any-return]


def _estimated(truth: TabularMDP, samples: int, seed: int) -> TabularMDP:
    """Return the empirical model of N draws from every available (s, a)."""
    counts = sampled_counts(truth, samples, seed=seed)
    return TabularMDP.from_counts(
        counts, truth.rewards, start=truth.start, terminal=truth.terminal, action_mask=truth.action_mask
    )
