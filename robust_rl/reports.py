"""The page that a solved and evaluated agent leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl import envs, pictures
from robust_rl.agents import RobustVI
from robust_rl.solvers import Solution
from robust_rl.table import Table, figures
from robust_rl.training import Figure, Section, write_report
from robust_rl.training import Table as PageTable


def write_agent_report(path: str | Path, agent: RobustVI, nominal: Solution, shifts: Mapping[str, Table]) -> Path:
    """Write ``report.html`` for an agent, beside the nominal solution of its model.

    Parameters
    ----------
    path : path
        The file to write.
    agent : RobustVI
        After ``learn``.
    nominal : Solution
        Of the same model without uncertainty.
    shifts : mapping from a shift's name to the table of :func:`robust_rl.evaluate`
        One column a value. May be empty.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    name = agent.env_id or "a tabular model"
    grid = _grid(agent)
    sections = [
        *_shift_sections(shifts),
        _policy_section(agent, nominal, grid),
        _certificate_section(agent),
        _adversary_section(agent, grid),
    ]
    return write_report(path, f"{name}: a policy that holds up", sections, subtitle=repr(agent.uncertainty))


def shift_page_table(axis: str, table: Table) -> PageTable:
    """Return an evaluation as a table for a page."""
    rows = [[row, *map(str, cells)] for row, cells in zip(table.rows, table.cells, strict=True)]
    return PageTable([axis, *table.columns], rows, caption=f"{table.title}; {how_read(table)}")


def how_read(table: Table) -> str:
    """Say what the cells of an evaluation stand for."""
    kinds = {cell.kind for cells in table.cells for cell in cells}
    parts = ["exact values"] if kinds != {"interval"} else []
    parts += ["a range covers all tie-breaks of an optimal policy"] if "ties" in kinds else []
    parts += ["± is the 95 % interval of sampled episodes"] if "interval" in kinds else []
    return "; ".join(parts)


def _shift_sections(shifts: Mapping[str, Table]) -> Sequence[Section]:
    return [
        Section(
            f"Return when {axis.replace('_', ' ')} shifts",
            "Each policy is computed for the world as it was modelled, and evaluated in the shifted ones.",
            (Figure(pictures.return_under_shift(table, axis)), shift_page_table(axis, table)),
        )
        for axis, table in shifts.items()
    ]


def _policy_section(agent: RobustVI, nominal: Solution, grid: pictures.Grid | None) -> Section:
    plain, solution, start = nominal.at_first_stage(), agent.solution.at_first_stage(), agent.model.start
    summary = PageTable(
        ["", "nominal", "robust"],
        [
            ["value from the start", figures(float(start @ plain.value)), figures(float(start @ solution.value))],
            ["certified gap", f"{plain.certificate.gap:.2g}", f"{solution.certificate.gap:.2g}"],
            ["steps", _steps(nominal), _steps(agent.solution)],
        ],
        caption="each in its own problem: the robust value is a guarantee over all kernels of the set",
    )
    items: list[Any] = [summary]
    if grid is not None:
        maps = pictures.policy_map({"nominal": plain, "robust": solution}, grid, agent.model)
        items.append(Figure(maps, "value as colour; dark arrows are the policy, light ones are equally good actions"))
    criterion = (
        f"discount {solution.discount:g}"
        if solution.horizon is None
        else f"horizon {solution.horizon}; the maps show its first stage"
    )
    return Section("Policy and value", f"{agent.model!r}, {criterion}.", items)


def _steps(solution: Solution) -> int:
    return solution.horizon or len(solution.history["gap"])


def _certificate_section(agent: RobustVI) -> Section:
    bounds, start = agent.solution.at_first_stage().certificate, agent.model.start
    text = (
        f"The optimal robust value from the start lies between {float(start @ bounds.lower):.10g} "
        f"and {float(start @ bounds.upper):.10g}. "
        "The bounds follow from one application of the robust Bellman operator and hold whatever was done before."
    )
    curves = (
        (Figure(pictures.convergence(agent.solution), "bounds and their width, sweep by sweep"),)
        if agent.solution.history
        else ()
    )
    return Section("Certificate", text, curves)


def _adversary_section(agent: RobustVI, grid: pictures.Grid | None) -> Section:
    if grid is not None:
        item: Any = Figure(
            pictures.adversary_map(agent.solution, grid, agent.model), "arrows lead to the states that receive mass"
        )
    elif agent.model.num_states <= pictures.MOST_STATES:
        item = Figure(pictures.adversary_matrix(agent.solution, agent.model), "mass moved, weighted by visits")
    else:
        heaviest = pictures.mass_moved(agent.solution, agent.model).flows[:15]
        item = PageTable(["in state", "moves mass to", "mass x visits"], heaviest, "the adversary's heaviest moves")
    return Section("The adversary", items=(item,))


def _grid(agent: RobustVI) -> pictures.Grid | None:
    if agent.env_id is None:
        return None
    return pictures.grid_of(envs.make(agent.env_id, **agent.env_kwargs), agent.model)
