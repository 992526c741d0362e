"""Soccer on slippery ground: a robust player gives up a little on dry ground and holds up when moves start to slip.

Littman's soccer is solved over 20 moves on dry ground, once plainly and once against adversaries with total variation 0.05 (Nash
equilibria, whichever is found first). Then moves slip with growing probability, and player_0 follows either plan

- against an opponent who follows the nominal plan, and
- against one who knows the plan and the ground and answers best: the value that player_0's plan guarantees.

All values are exact. Neither plan knew of the slips.

    python examples/soccer_under_slip.py [run directory]
"""

import sys

import numpy as np
from numpy.typing import NDArray

import robust_rl as rr
from robust_rl import envs, pictures
from robust_rl.pictures.canvas import NOMINAL, ROBUST
from robust_rl.reports import shift_page_table
from robust_rl.solvers import game_value
from robust_rl.table import Estimate, Table
from robust_rl.training import Figure, RunDirectory, Section

HORIZON = 20
UNCERTAINTY = rr.TotalVariation(0.05, support="free")
SLIPS = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
LOOKS = (NOMINAL, ROBUST, f"--{NOMINAL}", f"--{ROBUST}")
Policy = NDArray[np.float64]  # (H, S, A1, A2)


def main(directory: str) -> None:
    """Solve, evaluate, print the table, and leave the report."""
    run = RunDirectory(directory)
    run.start({"uncertainty": repr(UNCERTAINTY), "horizon": HORIZON, "slips": SLIPS}, command="soccer_under_slip")
    dry = envs.games.make("soccer")
    plans = {"nominal": solve(dry, None), "robust": solve(dry, UNCERTAINTY)}
    worlds = {str(slip): envs.tabular_game(envs.shift(dry, slip=slip), horizon=HORIZON) for slip in SLIPS}
    table = evaluate(plans, worlds)
    print(table)
    curves = {name: [cell.low for cell in cells] for name, cells in zip(table.rows, table.cells, strict=True)}
    picture = pictures.lines_with_legend(
        SLIPS, curves, "probability that a move slips", "expected goals ahead, 20 moves", looks=LOOKS
    )
    picture.savefig(run.result / "soccer-under-slip.png", dpi=110)
    sections = [Section("Goals ahead of the opponent", items=[Figure(picture), shift_page_table("slip", table)])]
    run.report("Soccer on slippery ground", sections, subtitle=f"solved on dry ground with {UNCERTAINTY!r} or none")
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def solve(env: object, uncertainty: rr.TotalVariation | None) -> Policy:
    """Return an equilibrium of the game on dry ground."""
    game = envs.tabular_game(env, horizon=HORIZON)
    return rr.DRNVI(game, uncertainty, equilibrium="ne", selection=None).learn().solution.policy


def evaluate(plans: dict[str, Policy], worlds: dict[str, rr.MarkovGame]) -> Table:
    """Return player_0's value of each plan against both opponents, a column a world."""
    rows = {}
    for name, plan in plans.items():
        duel = against(plan, plans["nominal"])
        rows[f"{name}, against the nominal plan"] = [from_start(duel, world) for world in worlds.values()]
    for name, plan in plans.items():
        rows[f"{name}, against the best answer"] = [guarantee(plan, world) for world in worlds.values()]
    cells = tuple(tuple(Estimate(value, value, value) for value in values) for values in rows.values())
    return Table("goals that player_0 is ahead, by the probability of slips", tuple(rows), tuple(worlds), cells)


def against(mine: Policy, yours: Policy) -> Policy:
    """Return the joint policy of player_0 from one plan and player_1 from another, each drawing on its own."""
    return mine.sum(axis=3)[..., :, None] * yours.sum(axis=2)[..., None, :]


def from_start(policy: Policy, world: rr.MarkovGame) -> float:
    """Return player_0's exact value in a world."""
    return float(game_value(policy, world, None)[0, 0] @ world.start)


def guarantee(plan: Policy, world: rr.MarkovGame) -> float:
    """Return what player_0's plan is worth when player_1 answers best: minus player_1's value, since the goals sum to 0."""
    answer = rr.best_response(plan, world, None, "player_1")
    return -float(answer.value[0] @ world.start)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/soccer-under-slip")
