"""Where does a hidden patch look? Masked autoencoding sends it to its own area, contrastive learning sends every patch to one.

Images are made of areas that show one feature each: a large one, and small ones. One attention layer learns on them from
nothing, by filling in hidden patches or by telling images apart, with both signs of the information gap. Gradient descent keeps
to the predictions of arXiv:2403.02233: patches of small areas end at their own area, after turning away from the large one first
if the gap is positive; under the contrastive loss all patches end at the large one, and their attention is one and the same.

    pip install "robust-rl[torch,report]"
    python examples/where_a_hidden_patch_looks.py [run directory]
"""

import argparse

import torch

from robust_rl.extras.mim import AttentionReport, MIMTraining, SpatialPatchData, attention_report, compare, gap_sizes, train
from robust_rl.extras.mim.page import MAPS, PHASES, map_course, phases
from robust_rl.extras.mim.snapshots import MapSnapshots, choose_scene, load_snapshots
from robust_rl.training import Figure, RunDirectory, Section, Table

STEPS = {"mae": 400, "contrastive": 200}
OBJECTIVES = {"mae": "masked autoencoding", "contrastive": "contrastive learning"}


def main() -> None:
    """Train four times, say what was found, and leave the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="runs/where-a-hidden-patch-looks")
    run = RunDirectory(parser.parse_args().directory)
    run.start(seed=0, command="where_a_hidden_patch_looks")
    torch.set_num_threads(1)
    done = {(gap, objective): learned(gap, objective, run) for gap in ("positive", "negative") for objective in OBJECTIVES}
    rows = []
    for (gap, objective), (_, found) in done.items():
        rows.append([gap, OBJECTIVES[objective], found.own_area, found.to_global, found.chance_to_global, found.cosine])
        print(
            f"gap {gap}, {OBJECTIVES[objective]:<20}: own area {found.own_area:6.1%}, large area {found.to_global:6.1%} "
            f"(chance {found.chance_to_global:.1%}), mean cosine {found.cosine:.2f}"
        )
    write(run, rows, {gap: done[gap, "mae"][0] for gap in ("positive", "negative")}, done["positive", "contrastive"][0])
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def learned(gap: str, objective: str, run: RunDirectory) -> tuple[MIMTraining, AttentionReport]:
    """Train from nothing, in a run of its own, and measure on fresh images."""
    data = SpatialPatchData(36, 3, *gap_sizes(gap), layout="connected")
    here = RunDirectory(run.path / f"{gap}-{objective}")
    training = train(
        data, objective, steps=STEPS[objective], run=here, callbacks=(MapSnapshots(here.result / "maps", choose_scene(data)),)
    )
    return training, attention_report(training.model, data, queries="masked" if objective == "mae" else "all", seed=1)


def write(run: RunDirectory, rows: list[list[object]], masked: dict[str, MIMTraining], contrastive: MIMTraining) -> None:
    """Write the pictures and the table."""
    courses = {f"gap {gap}": RunDirectory(run.path / f"{gap}-mae").metrics() for gap in masked}
    maps = [
        Figure(map_course(load_snapshots(run.path / f"positive-{objective}" / "result" / "maps")), f"{name}: {MAPS}")
        for objective, name in OBJECTIVES.items()
    ]
    images = contrastive.data.sample(32, torch.Generator().manual_seed(2))["x"]
    models = {"masked autoencoding": masked["positive"].model, "contrastive learning": contrastive.model}
    diversity = compare(models, images, measures=("cos", "nmi", "distance"))
    columns = ["gap", "objective", "own area", "large area", "chance of the large area", "mean cosine"]
    sections = [
        Section("Where patches of small areas look", items=[Table(columns, rows)]),
        Section("Phases", PHASES, [Figure(phases(courses))]),
        Section("Maps", items=maps),
        Section(
            "Diversity", "Gap positive, images with half of the patches hidden.", [Figure(diversity.plot()), diversity.table()]
        ),
    ]
    run.report("Where a hidden patch looks", sections)


if __name__ == "__main__":
    main()
