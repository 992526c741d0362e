"""Tables in, graphs and pages out: what the commands read and write."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from robust_rl.errors import InvalidArgumentError, loadable, sound
from robust_rl.extras.concepts.drawing import draw
from robust_rl.extras.concepts.estimator import HierarchicalConceptDiscovery
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy
from robust_rl.training import Figure, Section, Table, read_json, write_json, write_report
from robust_rl.training.optional import require

FORMAT, VERSION = "robust-rl concepts", 1
Frequencies = Mapping[tuple[str, str], float]


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file with a line of names; nothing is unpacked, whatever its suffix.

    Raises
    ------
    InvalidArgumentError
        There is no such file, it is no table, has less than two rows, or cells are empty or infinite.
    """
    with loadable(path, "a CSV table"):
        table = pd.read_csv(path, compression=None)  # a few kilobytes unpack to whatever they like
    if len(table) < 2:
        raise InvalidArgumentError(f"{path} has {len(table)} rows; give two at least, and hundreds to find anything")
    endless = [str(name) for name in table.columns[table.isin([math.inf, -math.inf]).any()]]
    if endless:
        raise InvalidArgumentError(f"{path} has infinite values in {', '.join(endless)}; states are names or whole numbers")
    empty = [str(name) for name in table.columns[table.isna().any()]]
    if empty:
        raise InvalidArgumentError(f"{path} has empty cells in {', '.join(empty)}; fill them in or drop those rows")
    return table


def summary(est: HierarchicalConceptDiscovery, frequencies: Frequencies | None = None) -> dict[str, Any]:
    """Return a fitted estimator's graph as JSON."""
    notes = [f"no common cause found for {' '.join(part)}, which depend on one another" for part in est.unresolved_]
    alone = [name for name in est.names_ if not est.graph_.degree(name) and not any(name in part for part in est.unresolved_)]
    notes += [f"independent of all others: {' '.join(alone)}"] if alone else []
    return {
        "format": FORMAT,
        "version": VERSION,
        "n_states": est.n_states_,
        "nodes": [{"name": node, **known} for node, known in est.graph_.nodes(data=True)],
        "edges": [
            {"parent": parent, "child": child} | ({} if frequencies is None else {"frequency": frequencies[parent, child]})
            for parent, child in est.graph_.edges
        ],
        "covers": [{"latents": list(c.latents), "children": list(c.children), "rank": c.rank} for c in est.covers_],
        "unresolved": est.unresolved_,
        "absorbed": est.graph_.graph["absorbed"],
        "notes": notes,
    }


def write_concepts_report(
    path: str | os.PathLike[str], est: HierarchicalConceptDiscovery, title: str, frequencies: Frequencies | None = None
) -> Path:
    """Write a page with the graph, its covers and the questions that were asked."""
    require("matplotlib", "robust-rl[report]")
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(max(6, 0.6 * len(est.names_)), 4), layout="constrained")
    draw(est.graph_, canvas.subplots(), frequencies)
    found = summary(est, frequencies)
    covers = [[" ".join(c["latents"]), " ".join(c["children"]), c["rank"]] for c in found["covers"]]
    caption = "Circles are hidden, boxes observed." + ("" if frequencies is None else " Width: share of resamples with the edge.")
    sections = [Section("Hierarchy", "\n\n".join(found["notes"]), [Figure(canvas, caption)])]
    sections.append(Section("Covers", "", [Table(["latents", "children", "joint states"], covers)]))
    if frequencies is not None:
        rows = [[parent, child, share] for (parent, child), share in sorted(frequencies.items(), key=lambda item: -item[1])]
        sections.append(Section("Stability", "", [Table(["parent", "child", "share of resamples"], rows)]))
    if "p" in est.tests_:
        columns = ["A", "B", "r", "statistic", "df", "p", "decision"]
        last = est.tests_[columns].head(200).to_numpy().tolist()
        text = f"{len(est.tests_)} questions; the first 200. For each the table that contradicts most."
        sections.append(Section("Is the rank of A against B at most r?", text, [Table(columns, last)]))
    return write_report(path, f"Hidden causes in {title}", sections)


def hierarchy_from(graph: str, n_states: tuple[int, int], *, seed: int, strength: float) -> DiscreteHierarchy:
    """Return the hierarchy of a name or of a JSON file; tables are drawn where the file has none."""
    if not graph.endswith(".json"):
        return DiscreteHierarchy.random(graph, n_states, seed=seed, strength=strength)
    spec = read_json(Path(graph))
    if not isinstance(spec, Mapping) or not isinstance(spec.get("children"), Mapping):
        raise InvalidArgumentError(f'{graph} has no entry "children", a mapping from each latent to its children')
    with sound(graph, "hierarchy"):
        if "tables" in spec:
            return DiscreteHierarchy.from_spec(spec)
        return DiscreteHierarchy.random(spec["children"], n_states, seed=seed, strength=strength)


def write_sample(truth: DiscreteHierarchy, n: int, path: Path, *, seed: int) -> Path:
    """Write rows as CSV, and the hierarchy beside them; return the latter's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(truth.sample(n, seed=seed), columns=truth.observed).to_csv(path, index=False)
    beside = path.with_suffix(".json")
    write_json(beside, truth.to_spec())
    return beside
