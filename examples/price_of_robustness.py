"""How much robustness costs, what it buys, and where to spend one's care: CliffWalking over a range of radii.

The robust policy is computed for growing total-variation balls. Each is held against the world as modelled, and the optimum of
that world against each ball's adversary. Then the derivative of the value in the radius says which moves the guarantee hangs on,
and the critical radii say how much perturbation it takes before another policy is best.

    python examples/price_of_robustness.py [run directory]
"""

import sys
from dataclasses import dataclass

import robust_rl as rr
from robust_rl import pictures
from robust_rl.reports import shift_page_table
from robust_rl.training import Figure, RunDirectory, Section

WORLD, DISCOUNT = "CliffWalking-v1", 0.99
UNCERTAINTY = rr.TotalVariation(0.1, support="reachable")
RADII = [0, 0.002, 0.01, 0.02, 0.05, 0.1, 0.15]
MOVES = ("up", "right", "down", "left")


@dataclass(frozen=True)
class Explanation:
    """What there is to say of one solution."""

    sensitivity: rr.solvers.Sensitivity
    critical: rr.solvers.CriticalRadii


def main(directory: str) -> None:
    """Compute, print, and leave the report."""
    run = RunDirectory(directory)
    run.start({"uncertainty": repr(UNCERTAINTY), "discount": DISCOUNT, "radii": RADII}, command="price_of_robustness")
    table = rr.frontier(WORLD, UNCERTAINTY, RADII, discount=DISCOUNT)
    print(f"{WORLD}, {table}\n")
    found = explain(rr.envs.tabular(WORLD))
    price = pictures.price_of_robustness(table, "total variation")
    price.savefig(run.result / "frontier.png", dpi=110)
    curve = pictures.value_over_radius(found.critical, 0.1, found.sensitivity.start, "total variation")
    rows = pictures.heaviest_rows(found.sensitivity, "total variation")
    sections = [
        Section("The price of robustness", items=[Figure(price), shift_page_table("total variation", table)]),
        Section("Where the policy changes", items=[Figure(curve, "dashed: no policy is optimal on both sides")]),
        Section("What the guarantee hangs on", items=[Figure(rows, "visits in the worst case times multiplier")]),
    ]
    run.report("The price of robustness", sections, subtitle=f"{WORLD}, discount {DISCOUNT}")
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def explain(model: rr.TabularMDP) -> Explanation:
    """Return the explanation of the solution at the set's own radius, after printing it."""
    found = Explanation(
        rr.radius_sensitivity(model, rr.solve(model, UNCERTAINTY, discount=DISCOUNT)),
        rr.critical_radii(model, UNCERTAINTY, discount=DISCOUNT),
    )
    print(f"a radius of 0.11 instead of 0.10 costs about {-0.01 * found.sensitivity.start:.2g}; it hangs most on")
    for state, action, slope in found.sensitivity.heaviest(3):
        print(f"  going {MOVES[action]} in row {state // 12}, column {state % 12}: {-0.01 * slope:.2g}")
    print(f"the optimal policy changes {len(found.critical.changes)} times up to radius 0.1, first")
    for change in found.critical.changes[:3]:
        (state, *_), before, after = change.states, change.before, change.after
        print(
            f"  at {change.radius:.4f}, row {state // 12}, column {state % 12}: {MOVES[before[state]]} to {MOVES[after[state]]}"
        )
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/price-of-robustness")
