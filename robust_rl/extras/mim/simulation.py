"""A training of the one-layer model from a sign of the information gap to a page of pictures."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_rl.errors import UnknownNameError, nearest
from robust_rl.extras.mim.data import SpatialPatchData
from robust_rl.extras.mim.model import OneLayerMIM
from robust_rl.extras.mim.report import AttentionReport, attention_report
from robust_rl.extras.mim.snapshots import MapSnapshots, choose_scene
from robust_rl.extras.mim.training import MIMTraining, make_training
from robust_rl.training import RunDirectory, Trainer

GAPS = {
    "positive": (math.log(24, 36), math.log(2, 36)),
    "negative": (math.log(7, 36), math.log(4, 36)),
}
"""Sign of the gap -> kappa_c, kappa_s: areas of 24 and 2 of 36 patches, or of 7 and 4."""


def gap_sizes(gap: str, n_patches: int = 36) -> tuple[int, int]:
    """Return the sizes of the global area and of the local ones that give a gap of this sign: P^kappa_c and P^kappa_s, rounded.

    Raises
    ------
    UnknownNameError
        ``gap`` is neither ``"positive"`` nor ``"negative"``.

    Examples
    --------
    >>> gap_sizes("positive"), gap_sizes("negative", 64)
    ((24, 2), (10, 5))
    """
    if gap not in GAPS:
        raise UnknownNameError(f"no gap {gap!r}{nearest(gap, list(GAPS))}; known are {', '.join(GAPS)}")
    kappa_c, kappa_s = GAPS[gap]
    return round(n_patches**kappa_c), round(n_patches**kappa_s)


@dataclass(frozen=True)
class Simulation:
    """What :func:`simulate` leaves: the training, its run, a report on the model, and whether a signal ended it early."""

    training: MIMTraining
    report: AttentionReport
    run: RunDirectory
    interrupted: bool

    def summary(self) -> dict[str, Any]:
        """Return what was trained, and the report's numbers."""
        data = self.training.data
        what = {"information_gap": data.information_gap, "global_size": data.global_size, "local_size": data.local_size}
        return {"steps": self.training.count} | what | self.report.summary()

    def __str__(self) -> str:
        report = self.report
        return (
            f"{self.training.count} steps, gap {self.training.data.information_gap:+.2f}: patches of local areas give "
            f"{report.own_area:.1%} of their attention to their own area (chance: {report.chance_own_area:.1%}) and "
            f"{report.to_global:.1%} to the global one (chance: {report.chance_to_global:.1%}); mean cosine {report.cosine:.2f}"
        )

    def write_report(self, path: Path) -> Path:
        """Write a page with the correlations' course, attention maps over training, and the numbers."""
        from robust_rl.extras.mim.page import write_page

        return write_page(self, path)


def simulate(
    run: RunDirectory | str | os.PathLike[str] | None = None,
    *,
    gap: str = "positive",
    objective: str = "mae",
    n_patches: int = 36,
    n_clusters: int = 3,
    layout: str = "connected",
    keys: str = "all",
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int = 48,
    checkpoint_every: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Simulation:
    """Train a one-layer model in a run directory, keep maps of an image on the way, and measure it; goes on with what is there.

    Parameters
    ----------
    run
        Where it is logged and saved. None: a new directory in ``runs``.
    gap
        Sign of the information gap, ``"positive"`` or ``"negative"``; decides the areas' sizes.
    objective
        ``"mae"`` or ``"contrastive"``.
    n_patches, n_clusters, layout
        As :class:`~robust_rl.extras.mim.SpatialPatchData` takes them.
    keys
        As :class:`~robust_rl.extras.mim.OneLayerMIM` takes it.
    learning_rate, steps, batch_size
        As :func:`~robust_rl.extras.mim.train` takes them.
    checkpoint_every
        Steps between checkpoints. None: one, at the end.
    seed
        Of the areas, the images and the masks.
    progress
        Whether to show a bar on stderr.

    Raises
    ------
    UnknownNameError
        No such gap or objective.
    InvalidArgumentError
        A number is out of range.
    FileFormatError
        The run is of another training.
    """
    data = SpatialPatchData(n_patches, n_clusters, *gap_sizes(gap, n_patches), layout=layout, seed=seed)
    training = make_training(
        data,
        objective,
        model=OneLayerMIM(data, keys=keys),
        learning_rate=learning_rate,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
    )
    configuration = {"gap": gap, "objective": objective, "data": repr(data), "keys": keys, "steps": training.steps}
    configuration |= {"learning_rate": training.learning_rate, "batch_size": batch_size}
    run = RunDirectory.create(name=f"mim-{gap}-{objective}") if run is None else run
    run = run if isinstance(run, RunDirectory) else RunDirectory(run)
    run.start(configuration, seed=seed, command="robust-rl mim simulate")
    maps = MapSnapshots(run.result / "maps", choose_scene(data, seed))
    trainer = Trainer(run, callbacks=[maps], checkpoint_every=checkpoint_every, progress=progress)
    trainer.fit(training)
    queries = "masked" if objective == "mae" else "all"
    return Simulation(training, attention_report(training.model, data, queries=queries, seed=seed + 1), run, trainer.interrupted)
