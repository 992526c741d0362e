"""Hierarchies of discrete causes from samples: F1 of the skeleton over the sample's size, beside causal-learn's RLCD.

    python benchmarks/concepts.py curve  --out concepts.jsonl      # resumable; a line a graph, size, draw and method
    python benchmarks/concepts.py tests  --out tests.jsonl         # size and power of the rank tests
    python benchmarks/concepts.py images --out images.jsonl        # stage (a), then (b)
    python benchmarks/concepts.py digits --out digits.jsonl        # a picture in docs/images, too
    python benchmarks/concepts.py show concepts.jsonl tests.jsonl images.jsonl

All tables are binary, drawn by DiscreteHierarchy.random with its default strength. Draws and samples have seeds that nothing was
tuned on. Methods of a draw see the same rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from robust_rl.extras.concepts import DiscreteHierarchy, HierarchicalConceptDiscovery, edge_frequencies, rank_test, skeleton_f1

GRAPHS, SIZES, DRAWS, SEED = ("G1", "G2", "G3", "G5", "G4"), (2000, 10_000, 50_000), 20, 70_000
METHODS = ("refined", "ranks", "rlcd")
IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    """Run one part, or show what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["curve", "tests", "images", "digits", "show"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--graphs", default=",".join(GRAPHS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    if options.part == "show":
        show(options.files)
    elif options.part == "curve":
        curve(options)
    elif options.part == "tests":
        tests(options.out)
    elif options.part == "digits":
        digits(options.out, options.draws)
    else:
        images(options.out, options.draws)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return what is in a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path: Path, **entry: Any) -> None:
    """Add a line."""
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    print(entry, flush=True)


def curve(options: argparse.Namespace) -> None:
    """Measure each method on each draw."""
    done = {(e["graph"], e["n"], e["draw"], e["method"]) for e in lines(options.out)}
    sizes = [int(n) for n in options.sizes.split(",")]
    for n, draw, graph in itertools.product(sizes, range(options.draws), options.graphs.split(",")):
        truth = DiscreteHierarchy.random(graph, seed=SEED + draw)
        X = truth.sample(n, seed=SEED + 1000 + draw)
        for method in options.methods.split(","):
            if (graph, n, draw, method) in done:
                continue
            begin = time.process_time()
            found = rlcd(X, truth.observed) if method == "rlcd" else ours(X, method)
            f1 = skeleton_f1(found, graph)
            add(options.out, graph=graph, n=n, draw=draw, method=method, f1=f1, seconds=time.process_time() - begin)


def ours(X: np.ndarray, method: str) -> nx.DiGraph:
    """Return the estimator's graph."""
    return HierarchicalConceptDiscovery(n_states=2, refine=method == "refined").fit(X).graph_


def rlcd(X: np.ndarray, names: list[str]) -> nx.DiGraph:
    """Return the graph of causal-learn's linear method with its defaults; an edge in either direction is an edge."""
    from causallearn.search.HiddenCausal.RLCD import RLCD

    found = RLCD(X.astype(float), node_names=list(names))
    graph: nx.DiGraph = nx.DiGraph()
    variables = [str(getattr(variable, "get_name", lambda variable=variable: variable)()) for variable in found.all_vars]
    graph.add_nodes_from((name, {"latent": name not in names}) for name in variables)
    adjacency = np.asarray(found.adjacency)
    for i, j in itertools.combinations(range(len(variables)), 2):
        if adjacency[i, j] or adjacency[j, i]:
            graph.add_edge(variables[i], variables[j])
    return graph


def tests(path: Path) -> None:
    """Measure size and power at 5 % over 400 replicates."""
    truth = DiscreteHierarchy.random("G2", seed=0)
    sides = {"size": (["X1", "X2"], ["X4", "X5", "X7"]), "size, 8 x 16": (["X1", "X2", "X3"], ["X4", "X5", "X6", "X7"])}
    sides["power"] = (["X1", "X4"], ["X2", "X5", "X7"])
    for (what, (left, right)), n in itertools.product(sides.items(), (500, 2000, 10_000)):
        joint = truth.joint([*left, *right]).reshape(2 ** len(left), -1)
        drawn = np.random.default_rng(SEED + n).multinomial(n, joint.ravel(), size=400).reshape(400, *joint.shape)
        for method in ("kp", "cca"):
            share = np.mean([rank_test(table, 2, method).pvalue < 0.05 for table in drawn])
            add(path, what=what, n=n, method=method, share=float(share))


def images(path: Path, draws: int) -> None:
    """Measure codes and graphs from images."""
    from robust_rl.extras.concepts import ConceptEncoder, code_accuracy, concept_images

    done = {(e["concepts"], e["draw"]) for e in lines(path)}
    for concepts, draw in itertools.product((3, 4, 5, 6), range(draws)):
        if (concepts, draw) not in done:
            begin = time.process_time()
            pictures, codes, truth = concept_images(concepts, n=4000, seed=SEED + draw)
            found = ConceptEncoder(n_concepts=concepts, random_state=draw).fit_transform(pictures)
            accuracy, order = code_accuracy(found, codes)
            est = HierarchicalConceptDiscovery(n_states=2).fit(found[:, order])
            f1 = skeleton_f1(est, truth) if concepts > 3 else float(est.unresolved_ != [])  # three leaves show no graph
            add(path, concepts=concepts, draw=draw, accuracy=accuracy, f1=f1, seconds=time.process_time() - begin)


def digits(path: Path, resamples: int) -> None:
    """Find a hierarchy over scikit-learn's digits, their pixels pooled by fours and cut at their medians, and draw it."""
    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.datasets import load_digits

    pooled = load_digits().images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    names = [f"r{row}c{column}" for row in range(1, 5) for column in range(1, 5)]
    table = pd.DataFrame((pooled > np.median(pooled, axis=0)).astype(int), columns=names)
    begin = time.process_time()
    est = HierarchicalConceptDiscovery(n_states=2, max_cover=1, max_fits=300).fit(table)
    shares = edge_frequencies(est, table, resamples)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"digits, 4 x 4 pooled pixels; darkness: share of {resamples} resamples with the edge"
    est.draw(figure.subplots(), shares).set_title(title)
    figure.savefig(IMAGES / "concepts-digits.png", dpi=90)
    covers = {" ".join(cover.latents): list(cover.children) for cover in est.covers_}
    edges = {f"{parent} - {child}": share for (parent, child), share in shares.items()}
    add(path, digits=covers, edges=edges, score=est.score(table), seconds=time.process_time() - begin)


def show(files: list[Path]) -> None:
    """Print tables for the page, and draw the curve."""
    entries = [entry for path in files for entry in lines(path)]
    cells: dict[tuple[str, str, int], dict[int, tuple[float, float]]] = defaultdict(dict)
    for entry in entries:
        if "graph" in entry:
            cells[entry["method"], entry["graph"], entry["n"]][entry["draw"]] = entry["f1"], entry["seconds"]
    summaries = {key: summarised(np.array(list(found.values()))) for key, found in cells.items()}
    for (method, graph, n), (mean, half, exact, draws, seconds) in sorted(summaries.items()):
        print(f"| {graph} | {n} | {method} | {mean:.3f} ± {half:.3f} | {exact} of {draws} | {seconds:.1f} |")
    for entry in entries:
        if "share" in entry:
            print(f"| {entry['what']} | {entry['n']} | {entry['method']} | {entry['share']:.3f} |")
    for concepts in sorted({entry["concepts"] for entry in entries if "concepts" in entry}):
        found = [entry for entry in entries if entry.get("concepts") == concepts]
        accuracy, f1 = np.array([[entry["accuracy"], entry["f1"]] for entry in found]).T
        right, graphs = int((accuracy > 0.95).sum()), int((f1 > 1 - 1e-9).sum())
        print(f"| {concepts} | {accuracy.mean():.4f} | {accuracy.min():.4f} | {right} of {len(f1)} | {graphs} of {len(f1)} |")
    if cells:
        draw_curve(summaries)


def summarised(found: np.ndarray) -> tuple[float, float, int, int, float]:
    """Return mean F1, half its 95 % interval, draws with the whole graph right, draws, and median seconds."""
    f1, seconds = found.T
    half = 1.96 * f1.std(ddof=1) / math.sqrt(len(f1)) if len(f1) > 1 else math.nan
    return float(f1.mean()), float(half), int((f1 > 1 - 1e-9).sum()), len(f1), float(np.median(seconds))


def draw_curve(summaries: dict[tuple[str, str, int], tuple[float, float, int, int, float]]) -> None:
    """Draw F1 over n for each graph."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    FigureCanvasAgg(figure)
    labels = {"refined": "ranks and likelihood", "ranks": "ranks alone", "rlcd": "causal-learn RLCD"}
    panels = figure.subplots(1, len(GRAPHS), sharey=True)
    for axes, graph in zip(panels, GRAPHS, strict=True):
        for method, label in labels.items():
            points = sorted((n, *found[:2]) for (name, where, n), found in summaries.items() if (name, where) == (method, graph))
            if points:
                n, mean, half = np.array(points).T
                axes.errorbar(n, mean, np.nan_to_num(half), label=label, marker="o", markersize=4, capsize=2)
        axes.set(title=graph, xscale="log", xlabel="rows", xlim=(1400, 72_000), ylim=(0.2, 1.05))
        axes.set_xticks(SIZES, [f"{n:,}" for n in SIZES], fontsize=8)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("F1 of the skeleton")
    panels[0].legend(fontsize=7, loc="lower left")
    figure.savefig(IMAGES / "concepts-curve.png", dpi=90)


if __name__ == "__main__":
    main()
