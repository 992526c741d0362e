"""Eight yes-or-no columns, and the three hidden causes behind them: a hierarchy found from a table alone.

L1 causes X1, X2, X3 and two further hidden causes, L2 and L3, which jointly cause X4 to X8: a cover of two, on several paths
from L1. From the exact table the ranks of sub-tables give the graph back without error. From 10,000 rows they don't: telling
rank 4 from rank 2 and 8 takes more of them. Letting whole graphs compete by their likelihood does. The fitted hierarchy then says
of each row what its hidden causes were, nearly as well as someone who knows the true tables could.

    pip install "robust-rl[concepts,report]"
    python examples/hidden_causes.py [run directory]
"""

import argparse

import numpy as np
from scipy.optimize import linear_sum_assignment

from robust_rl.extras.concepts import DiscreteHierarchy, HierarchicalConceptDiscovery, match_latents, skeleton_f1
from robust_rl.extras.concepts.posterior import Posterior, Rows
from robust_rl.training import Figure, RunDirectory, Section, Table

GRAPH, ROWS, DRAW = "G4", 10_000, 1004


def main() -> None:
    """Find the graph three ways, read the causes off the rows, and leave the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="runs/hidden-causes")
    run = RunDirectory(parser.parse_args().directory)
    run.start({"graph": GRAPH, "rows": ROWS}, seed=DRAW, command="hidden_causes")
    truth = DiscreteHierarchy.random(GRAPH, n_states=2, seed=DRAW)
    rows = truth.sample(ROWS, seed=4, latents=True)
    X, causes = rows[:, :8], rows[:, 8:]
    found = {
        "exact table": HierarchicalConceptDiscovery(n_states=2).fit_distribution(truth),
        "ranks alone": HierarchicalConceptDiscovery(n_states=2, refine=False).fit(X),
        "and likelihood": HierarchicalConceptDiscovery(n_states=2).fit(X),
    }
    scores = {name: skeleton_f1(est, truth.graph) for name, est in found.items()}
    for name, score in scores.items():
        print(f"{name:15} F1 of the edges {score:.2f}")
    causes_table = accuracies(found["and likelihood"], truth, X, causes)
    for latent, ours, best in causes_table:
        print(f"{latent}: right in {ours:.1%} of the rows, with the true tables {best:.1%}")
    write(run, found, scores, causes_table)
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def accuracies(est, truth, X, causes):
    """Return for each cover how often its most likely joint state is the true one, up to names, and how often it can be."""
    names, states, hidden = match_latents(est, truth.graph), est.predict(X), truth.latents
    best = np.stack([block.argmax(1) for block in Posterior(truth.graph, truth.n_states, Rows.of(X)).marginals(truth.tables)], 1)
    rows = []
    for cover in (["L1"], ["L2", "L3"]):
        ours = [est.latent_names_.index(names[latent]) for latent in cover]
        true = causes[:, [hidden.index(latent) for latent in cover]]
        known = best[:, [hidden.index(latent) for latent in cover]]
        rows.append([" ".join(cover), agreement(states[:, ours], true), agreement(known, true)])
    return rows


def agreement(guess, true):
    """Return the share of rows whose joint states agree, under the best way to name those of the guess."""
    weights = 2 ** np.arange(true.shape[1])
    table = np.zeros((2 ** true.shape[1],) * 2)
    np.add.at(table, (guess @ weights, true @ weights), 1 / len(true))
    return float(table[linear_sum_assignment(-table)].sum())


def write(run, found, scores, rows) -> None:
    """Write the pictures and the table."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(11, 3.4), layout="constrained")
    for axes, (name, est) in zip(canvas.subplots(1, 3), found.items(), strict=True):
        est.draw(axes)
        axes.set_title(f"{name}: F1 {scores[name]:.2f}")
    table = Table(
        ["cause", "right", "right with the true tables"], rows, "Hidden causes read off the rows, up to names of states."
    )
    run.report("Hidden causes of eight columns", [Section("Three ways to find them", "", [Figure(canvas), table])])


if __name__ == "__main__":
    main()
