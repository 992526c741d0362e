"""``robust-rl concepts discover`` and ``robust-rl concepts simulate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robust_rl.cli import options
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import RunDirectory, write_json
from robust_rl.training.optional import require

app = typer.Typer(no_args_is_help=True, help="Hidden discrete causes of discrete data, and how they hang together.")

Data = Annotated[Path, typer.Argument(help="CSV file of discrete columns, with a line of names.")]
States = Annotated[str, typer.Option("--n-states", help="States of each latent, or `auto`.")]
MaxCover = Annotated[int, typer.Option("--max-cover", help="Largest number of latents that act together.")]
Alpha = Annotated[float, typer.Option("--alpha", help="Level of each test of ranks.")]
Refine = Annotated[bool, typer.Option("--refine/--no-refine", help="Let graphs compete by their likelihood; slower, and surer.")]
Bootstraps = Annotated[int, typer.Option("--bootstraps", min=0, help="Resamples that say how stable each edge is.")]
OutGraph = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Run directory, in which an unfinished run is resumed, or just a .json file for the graph. "
        "Default: runs/concepts-<data>-<time>.",
    ),
]
Graph = Annotated[str, typer.Option("--graph", help="G1 to G7, or a .json file with `children` and perhaps `tables`.")]
Rows = Annotated[int, typer.Option("--n", help="Rows to draw.")]
Counts = Annotated[str, typer.Option("--n-states", help="States of all variables, or of latent and observed ones: `2,3`.")]
Strength = Annotated[float, typer.Option("--strength", help="How well a variable copies its parents, in [0, 1].")]
OutData = Annotated[Path, typer.Option("--out", help="CSV file to write; the truth goes beside it as .json.")]


@app.command()
def discover(
    data: Data,
    n_states: States = "auto",
    max_cover: MaxCover = 2,
    alpha: Alpha = 1e-3,
    refine: Refine = True,
    bootstraps: Bootstraps = 0,
    seed: options.Seed = 0,
    out: OutGraph = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Find the hierarchy of hidden causes of a table's columns.

    robust-rl concepts discover data.csv --n-states 2 --out graph.json
    """
    require("sklearn", "robust-rl[concepts]")
    from robust_rl.extras.concepts import HierarchicalConceptDiscovery
    from robust_rl.extras.concepts.page import read_table, summary, write_concepts_report
    from robust_rl.extras.concepts.stability import with_resamples
    from robust_rl.extras.concepts.stages import InTurn, drive

    table, states = read_table(data), "auto" if n_states == "auto" else _number("--n-states", n_states)
    settings: dict[str, Any] = {"n_states": states, "max_cover": max_cover, "alpha": alpha, "refine": refine}
    est = HierarchicalConceptDiscovery(**settings, random_state=seed)
    searches = InTurn(with_resamples(est, table, bootstraps, seed))
    run = _run(out, data)
    if run is not None:
        run.start(settings | {"data": str(data), "bootstraps": bootstraps}, seed=seed, command="robust-rl concepts discover")
    try:
        stable = drive(searches, run, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        options.note(f"unfinished; the same command with --out {run.path} goes on" if run else "unfinished, and nothing saved")
        raise typer.Exit(130) from None
    result = summary(est, stable)
    if run is None:
        write_json(out, result)  # type: ignore[arg-type]
    else:
        run.result.mkdir(exist_ok=True)
        write_json(run.result / "graph.json", result)
        result |= {"run": str(run.path)}
        result["report"] = options.illustrated(write_concepts_report, run.result / "report.html", est, data.name, stable)
    if json:
        options.print_json(result)
    else:
        covers = [f"{' '.join(cover['latents'])} -> {' '.join(cover['children'])}" for cover in result["covers"]]
        where = result.get("report") or result.get("run") or out
        options.console.print("\n".join([*covers, *result["notes"], f"written: {where}"]), markup=False)


@app.command()
def simulate(
    out: OutData,
    graph: Graph = "G4",
    n: Rows = 10_000,
    n_states: Counts = "2",
    strength: Strength = 0.6,
    seed: options.Seed = 0,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Draw a table from a hierarchy, to try the search on.

    robust-rl concepts simulate --graph G4 --n 10000 --out data.csv
    """
    require("sklearn", "robust-rl[concepts]")
    from robust_rl.extras.concepts.page import hierarchy_from, write_sample

    states = [_number("--n-states", part) for part in n_states.split(",")]
    if len(states) > 2:
        raise InvalidArgumentError(f"--n-states {n_states!r} has {len(states)} numbers; give one, or latent,observed")
    truth = hierarchy_from(graph, (states[0], states[-1]), seed=seed, strength=strength)
    written = write_sample(truth, n, out, seed=seed)
    if json:
        options.print_json({"data": str(out), "truth": str(written), "rows": n, "columns": truth.observed})
    else:
        options.console.print(f"{n} rows of {len(truth.observed)} columns: {out}\nthe truth: {written}", markup=False)


def _run(out: Path | None, data: Path) -> RunDirectory | None:
    """Return the run directory, or None where the graph goes to a file of its own."""
    if out is not None and out.suffix == ".json":
        return None
    return RunDirectory(out) if out else RunDirectory.create(name=options.run_name("concepts", data.stem))


def _number(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgumentError(f"{flag} {text!r} isn't a number of states, such as 2") from None
