"""RFQI under Tune: sweeps over radii, seeds and constants of :class:`robust_rl.RFQI` on one logged data set.

This drives the library's own solver and not RLlib's offline data API, on which RFQI would be an algorithm derived from MARWIL
with robust DQN's learner. There V would move under the regressions with every minibatch, so that neither has an answer to be
tested against; the behaviour threshold, without which fitted Q-iteration fails on narrow logs, has no place; and logs that fit
into memory would be read through Ray Data's processes. What Tune adds is kept: trials side by side, early stopping, restoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robust_rl import datasets
from robust_rl.rfqi_agent import RFQI
from robust_rl.rllib.tuning import tune_trainable
from robust_rl.uncertainty import RectangularSet


class RFQIConfig:
    """What to learn from, and how.

    Parameters
    ----------
    data : path
        A data set written by ``OfflineDataset.save``; each trial reads it.
    uncertainty : TotalVariation or None
        As in :class:`robust_rl.RFQI`.
    **settings
        All other arguments of :class:`robust_rl.RFQI`.

    Raises
    ------
    FileFormatError, InvalidArgumentError, InvalidUncertaintyError
        Here rather than in the trials, if something doesn't fit.

    Examples
    --------
    ::

        config = RFQIConfig("logs.npz", rr.TotalVariation(0.1, support="free"), v_min=0.0)
        results = tune.Tuner(config.trainable(), param_space={"seed": tune.grid_search([0, 1, 2])}).fit()
        agent = config.restore(results[0].checkpoint.path, **results[0].config)
    """

    def __init__(self, data: str | Path, uncertainty: RectangularSet | None, **settings: Any) -> None:
        self.settings = {"data": str(Path(data).resolve()), "uncertainty": uncertainty} | settings
        self.build()

    def build(self, **changes: Any) -> RFQI:
        """Return an agent that has learned nothing yet; ``changes`` replace settings."""
        settings = self.settings | changes
        return RFQI(datasets.load(settings.pop("data")), settings.pop("uncertainty"), **settings)

    def restore(self, checkpoint: str | Path, **changes: Any) -> RFQI:
        """Return the agent of a trial's checkpoint, with the iterations that it lacks made up."""
        agent = self.build(**changes)
        assert agent.solver is not None  # only loaded agents have none
        agent.solver.load_checkpoint(Path(checkpoint))
        return agent.learn()

    def trainable(self) -> Any:
        """Return what ``tune.Tuner`` takes: one iteration a step; a trial's configuration replaces settings."""
        return tune_trainable(self._solver)

    def _solver(self, changes: Mapping[str, Any]) -> Any:
        return self.build(**changes).solver
