"""How many samples does a robust policy need? FrozenLake from 3 to 300 next states a pair, over three radii, in a process pool.

Robust policies are planned on models estimated from draws, and held against the worst case around the true model. The shortfall
against the optimum there is the price of not knowing the model.

    python examples/what_samples_are_worth.py [run directory]
"""

import sys

from robust_rl.planning_trial import PlanningTrial
from robust_rl.sweeps import SHORTFALL, Grid, run_sweep, sweep_table, write_sweep, write_sweep_report
from robust_rl.training import RunDirectory

GRID = Grid(
    {"env": "FrozenLake-v1", "set": "tv", "support": "reachable", "discount": 0.95},
    {"samples": [3, 10, 30, 300], "radius": [0.0, 0.02, 0.05], "seed": range(10)},
)


def main(directory: str) -> None:
    """Run the sweep, print its tables, and leave the report."""
    run = RunDirectory(directory)
    run.start(GRID.fixed | GRID.axes, command="what_samples_are_worth")
    results = run_sweep(PlanningTrial, GRID, run=run, workers=2)
    assert results is not None, "interrupted; run it again to go on"
    table = sweep_table(GRID, results, title="worst-case value around the true model")
    print(f"{table}\n\n{sweep_table(GRID, results, SHORTFALL, title='shortfall against the optimum')}")
    write_sweep(run, GRID, results, table)
    print(f"report: {write_sweep_report(run, GRID, results, 'FrozenLake')}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/what-samples-are-worth")
