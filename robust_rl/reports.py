"""The page that a solved and evaluated agent leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robust_rl import envs, pictures
from robust_rl.agents import RobustVI
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.solvers import CriticalRadii, Sensitivity, Solution, critical_radii, radius_sensitivity
from robust_rl.table import Table, figures
from robust_rl.training import Figure, Section, write_report
from robust_rl.training import Table as PageTable
from robust_rl.uncertainty import RadiusSet
from robust_rl.uncertainty.resize import at_any_radius

# steps times entries of the kernel up to which a solution is cheap enough to repeat some 25 times for the report
REPEATABLE = 500_000
MOST_CHANGES = 4


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
        *_radius_sections(agent),
    ]
    return write_report(path, f"{name}: a policy that holds up", sections, subtitle=repr(agent.uncertainty))


def write_frontier_report(path: str | Path, table: Table, uncertainty: RadiusSet, world: str) -> Path:
    """Write ``report.html`` for a table of :func:`robust_rl.frontier`, and ``frontier.png`` beside it.

    Parameters
    ----------
    path : path
        The page to write.
    table : Table
    uncertainty : RadiusSet
        Its norm and support.
    world : str
        What was solved, in words.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 isn't installed.
    """
    axis = f"{uncertainty.name} {uncertainty.argument}"
    picture = pictures.price_of_robustness(table, axis)
    text = (
        "Worst case: the adversary plays against the policy with the radius of the column. As modelled: nothing is perturbed. "
        "The nominal policy is optimal for the model as it is; it shows what happens without protection. "
        "Where optimal policies tie, the range covers all of them."
    )
    items = (Figure(picture, "left: values over radii; right: one point a radius"), shift_page_table(axis, table))
    written = write_report(
        path, f"{world}: the price of robustness", [Section("Values over radii", text, items)], at_any_radius(uncertainty)
    )
    picture.savefig(written.with_name("frontier.png"), dpi=110)
    return written


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


def _radius_sections(agent: RobustVI) -> Sequence[Section]:
    """What the radius does to the value; for sets that have one, and where the value has a slope."""
    ball = agent.uncertainty
    if not isinstance(ball, RadiusSet):
        return []
    try:
        sensitivity = radius_sensitivity(agent.model, agent.solution)
    except InvalidUncertaintyError:  # around radius 0 a divergence has no slope
        return []
    text = (
        f"Raising the {ball.argument} of all rows by 0.01 changes the value from the start by about "
        f"{0.01 * sensitivity.start:.3g}. The bars say on which state and action that hangs."
    )
    items: list[Any] = [Figure(pictures.heaviest_rows(sensitivity, ball.argument), "visits in the worst case times multiplier")]
    if isinstance(ball.radius, float) and ball.radius != ball.point and _work(agent) <= REPEATABLE:
        items += _critical_items(agent, ball, ball.radius, sensitivity)
    return [Section(f"What the {ball.argument} does", text, items)]


def _work(agent: RobustVI) -> int:
    kernel = agent.solution.kernel if agent.horizon is None else agent.solution.kernel[0]
    return int(_steps(agent.solution) * kernel.nnz)


def _critical_items(agent: RobustVI, ball: RadiusSet, radius: float, sensitivity: Sensitivity) -> Sequence[Any]:
    found = critical_radii(
        agent.model, ball, discount=agent.discount, horizon=agent.horizon, tol=agent.tol,
        resolution=abs(radius - ball.point) / 100, most=MOST_CHANGES,
    )  # fmt: skip
    picture = pictures.value_over_radius(found, radius, sensitivity.start, ball.argument)
    rows = [
        [
            f"{change.low:.4g} to {change.high:.4g}",
            ", ".join(map(str, change.states[:8])) + (", ..." if len(change.states) > 8 else ""),
        ]
        for change in found.changes
    ]
    return [
        Figure(picture, f"values at {len(found.radii)} {ball.argument} settings"),
        _told(found, ball),
        *([PageTable(["between", "in states"], rows, "where no policy is optimal on both sides")] if rows else []),
    ]


def _told(found: CriticalRadii, ball: RadiusSet) -> str:
    if found.first is None:
        return f"One policy was found optimal at all {len(found.radii)} settings tried, from the nominal problem up to {ball!r}."
    more = "" if found.complete else f" These are the first {len(found.changes)}; larger sets bring more."
    return (
        f"Critical {ball.argument}: the nominal optimum stops being optimal between {found.first.low:.3g} "
        f"and {found.first.high:.3g}.{more} "
        "A change that reverts between two settings tried would go unnoticed."
    )


def _grid(agent: RobustVI) -> pictures.Grid | None:
    if agent.env_id is None:
        return None
    return pictures.grid_of(envs.make(agent.env_id, **agent.env_kwargs), agent.model)
