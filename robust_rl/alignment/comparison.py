"""VPO beside DPO on the same bandits with the same chance: curves, paired differences, and a page with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robust_rl import pictures
from robust_rl.alignment.bandit_learner import BanditLearner
from robust_rl.alignment.loss import Mode
from robust_rl.alignment.tabular import Array
from robust_rl.envs import PreferenceBandit
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Figure, Section, Table, save_arrays, write_json, write_report

BASELINE = "DPO (alpha = 0)"


class Comparison:
    """Runs of VPO and, paired with them, of DPO: one bandit and one seed a pair.

    Parameters
    ----------
    mode : "offline" or "online"
    alpha : float
        Of VPO, above 0, in the sum form of the loss.
    beta : float
    arms, contexts : int
        Of the bandits, which are drawn anew for each repeat.
    repeats : int
        Pairs of runs.
    seed : int
        Of the first repeat; the next has the next.
    **options
        Of :class:`~robust_rl.alignment.BanditLearner`.

    Attributes
    ----------
    learner : BanditLearner
        A Trainable that holds all runs, DPO's first.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> found = Comparison("offline", alpha=10.0, repeats=10, rounds=20)
    >>> while not found.learner.done:
    ...     numbers = found.learner.step()
    >>> found.summary()["difference"]["mean"] < 0  # pessimism helps where pairs are few
    True
    """

    def __init__(
        self,
        mode: Mode,
        alpha: float,
        beta: float = 0.1,
        *,
        arms: int = 10,
        contexts: int = 1,
        repeats: int = 20,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if alpha == 0:
            raise InvalidArgumentError("alpha=0.0 is DPO itself, which VPO is compared with; give one above 0")
        if repeats < 2:
            raise InvalidArgumentError(f"repeats={repeats} gives no interval; it must be at least 2")
        self.repeats, self.alpha = repeats, float(alpha)
        seeds = [seed + k for k in range(repeats)] * 2
        bandits = [PreferenceBandit(arms, contexts, each) for each in seeds]
        alphas = np.repeat([0.0, alpha], repeats)
        self.learner = BanditLearner(bandits, seeds, mode=mode, alpha=alphas, beta=beta, **options)

    @property
    def names(self) -> tuple[str, str]:
        """What the two groups of runs are called."""
        return BASELINE, f"VPO (alpha = {self.alpha:g})"

    def suboptimality(self) -> dict[str, Array]:
        """Return J* - J after each step, (steps, repeats), by name."""
        return self._halves(self.learner.history)

    def regret(self) -> dict[str, Array]:
        """Return the sum of J* - J over the policies that duelled so far, (rounds, repeats), by name; online."""
        start = self.learner.start_suboptimality
        played = np.vstack([start, self.learner.history[:-1]])
        return self._halves(played.cumsum(axis=0))

    def summary(self) -> dict[str, Any]:
        """Return final means and their paired difference with its 95 % interval, as JSON values; and of the regret if any."""
        dpo, vpo = self.names
        last = {name: curve[-1] for name, curve in self.suboptimality().items()}
        found: dict[str, Any] = {"suboptimality": _means(last), "difference": _difference(last[vpo], last[dpo])}
        if self.learner.mode == "online":
            total = {name: curve[-1] for name, curve in self.regret().items()}
            found |= {"regret": _means(total), "regret_difference": _difference(total[vpo], total[dpo])}
        logps = self._halves(self.learner.calibration_logps()[None])
        return found | {"calibration_logps": {name: float(x.mean()) for name, x in logps.items()}}

    def __str__(self) -> str:
        found = self.summary()
        lines = [f"after {self.learner.rounds} steps, means over {self.repeats} repeats, 95 % intervals paired"]
        lines.append(_line("J* - J", found["suboptimality"], found["difference"]))
        if "regret" in found:
            lines.append(_line("regret", found["regret"], found["regret_difference"]))
        return "\n".join([*lines, f"E_cal log pi: {_listed(found['calibration_logps'])}"])

    def save(self, directory: Path) -> None:
        """Write ``comparison.json``, and the curves to ``comparison.safetensors``."""
        write_json(directory / "comparison.json", self.summary())
        save_arrays(directory / "comparison.safetensors", self.suboptimality())

    def write_report(self, path: Path) -> Path:
        """Write a page with the curves, and the picture beside it. Raises MissingDependencyError without matplotlib or jinja2."""
        panels = {"suboptimality J* - J": self.suboptimality()}
        if self.learner.mode == "online":
            panels["cumulative regret"] = self.regret()
        unit = "round" if self.learner.mode == "online" else f"step of {self.learner.steps_per_round} updates"
        picture = pictures.mean_bands(panels, unit)
        caption = f"mean over {self.repeats} bandits with 95 % intervals; the same bandits and chance for both"
        section = Section("VPO and DPO", str(self), (Figure(picture, caption), self._table()))
        beta = float(self.learner.beta[0])
        arms = " x ".join(map(str, self.learner.rewards.shape[1:]))
        title = f"VPO on bandits, {self.learner.mode}"
        subtitle = f"contexts x responses: {arms}; beta = {beta:g}; {self.learner.optimiser}"
        written = write_report(path, title, [section], subtitle=subtitle)
        picture.savefig(written.with_name("comparison.png"), dpi=110)
        return written

    def _table(self) -> Table:
        found = self.summary()
        heads = ["", "J* - J", "E_cal log pi", *(["regret"] if "regret" in found else [])]
        keys = [key for key in ("suboptimality", "calibration_logps", "regret") if key in found]
        rows = [[name, *(found[key][name] for key in keys)] for name in self.names]
        return Table(heads, rows, caption="means after the last step")

    def _halves(self, values: Array) -> dict[str, Array]:
        return dict(zip(self.names, (values[:, : self.repeats], values[:, self.repeats :]), strict=True))


def _means(values: dict[str, Array]) -> dict[str, float]:
    return {name: float(each.mean()) for name, each in values.items()}


def _difference(first: Array, second: Array) -> dict[str, Any]:
    middle, half = (float(x) for x in pictures.mean_interval(first - second))
    return {"mean": middle, "interval": [middle - half, middle + half]}


def _line(what: str, means: dict[str, float], difference: dict[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{what}: {_listed(means)}; VPO less DPO {difference['mean']:+.4g} ({low:+.4g} to {high:+.4g})"


def _listed(means: dict[str, float]) -> str:
    return ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
