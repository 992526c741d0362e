"""Trained in still air, deployed in wind: robust-rl's main job.

Two grid worlds are solved in their deterministic form, once plainly and once with a total-variation set whose adversary may
move to any state that some action reaches from the present one. Both policies are then evaluated exactly in shifted worlds.
Deterministic worlds have many optimal policies, so the nominal row is the range over all of them.

    python examples/still_air_to_wind.py [run directory]
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import robust_rl as rr
from robust_rl import pictures
from robust_rl.reports import shift_page_table, write_agent_report
from robust_rl.training import Figure, RunDirectory, Section

UNCERTAINTY = rr.TotalVariation(0.1, support="reachable")
DISCOUNT = 0.99


@dataclass(frozen=True)
class World:
    """An environment as it is modelled, and how it turns out to differ."""

    name: str
    env_kwargs: dict[str, Any]
    shifts: list[tuple[str, list[Any]]]


WORLDS = [
    World("CliffWalking-v1", {}, [("action_noise", [0, 0.05, 0.1, 0.2, 0.3]), ("is_slippery", [True])]),
    # FrozenLake reads success_rate only when it is slippery; at rate 1 the ice is still
    World(
        "FrozenLake-v1",
        {"map_name": "8x8", "is_slippery": True, "success_rate": 1.0},
        [("success_rate", [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5])],
    ),
]


def main(directory: str) -> None:
    """Solve, evaluate, print the tables, and leave the report."""
    run = RunDirectory(directory)
    run.start({"uncertainty": repr(UNCERTAINTY), "discount": DISCOUNT}, command="still_air_to_wind")
    sections = [section for world in WORLDS for section in study(world, run.result)]
    run.report("Trained in still air, deployed in wind", sections, subtitle=f"{UNCERTAINTY!r}, discount {DISCOUNT}")
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def study(world: World, folder: Path) -> list[Section]:
    """Return a world's sections of the report, after printing its tables."""
    env = rr.envs.make(world.name, **world.env_kwargs)
    agent = rr.RobustVI(world.name, UNCERTAINTY, discount=DISCOUNT, env_kwargs=world.env_kwargs).learn()
    nominal = agent.nominal().solution
    tables = rr.evaluate_shifts({"nominal, all tie-breaks": nominal, "robust, TV 0.1 reachable": agent}, env, world.shifts)
    print(f"\n{world.name} {world.env_kwargs or ''}")
    for table in tables.values():
        print(table)
    agent.save(folder / world.name)
    write_agent_report(folder / f"{world.name}.html", agent, nominal, tables)
    grid = pictures.grid_of(env, agent.model)
    assert grid is not None
    returns = pictures.return_under_shift(next(iter(tables.values())), world.shifts[0][0])
    maps = pictures.policy_map({"nominal": nominal, "robust": agent.solution}, grid, agent.model)
    adversary = pictures.adversary_map(agent.solution, grid, agent.model)
    for name, figure in {"returns": returns, "policies": maps, "adversary": adversary}.items():
        figure.savefig(folder / f"{world.name}-{name}.png", dpi=110)
    return [
        Section(
            f"{world.name}: return", items=[Figure(returns), *(shift_page_table(axis, table) for axis, table in tables.items())]
        ),
        Section(
            f"{world.name}: policies",
            items=[Figure(maps, "value as colour; dark arrows are the policy, light ones are equally good actions")],
        ),
        Section(
            f"{world.name}: the adversary and the certificate",
            items=[
                Figure(adversary, "arrows lead to the states that receive mass"),
                Figure(pictures.convergence(agent.solution), "proved bounds, sweep by sweep"),
            ],
        ),
    ]


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/still-air-to-wind")
