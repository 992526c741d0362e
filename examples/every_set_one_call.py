"""One call solves them all: every kind of uncertainty set on one model, each answer with its proof.

    python examples/every_set_one_call.py [run directory]

FrozenLake on ice: for each set the table gives the optimal robust value from the start, the width of the proved bounds, and
what the robust policy earns if the adversary never moves, which is what the insurance costs. The answers are held against
each other by orderings that theory promises.
"""

import sys

import numpy as np

import robust_rl as rr
from robust_rl.training import RunDirectory, Section, Table


def solve_all() -> dict[str, tuple[float, float, float]]:
    """Return robust value, gap and nominal value of the robust policy for every set."""
    model = rr.envs.tabular("FrozenLake-v1")
    steps = rr.graph_metric(model)
    tv = rr.TotalVariation(0.05, support="nominal")
    sets = {
        "none": None,
        "TV 0.05, successors": tv,
        "TV 0.05, any state": rr.TotalVariation(0.05, support="free"),
        "contamination 0.05, any state": rr.Contamination(0.05, support="free"),
        "L2 0.05": rr.L2(0.05, support="nominal"),
        "L-infinity 0.03": rr.LInfinity(0.03, support="nominal"),
        "KL 0.005": rr.KL(0.005),  # inside TV 0.05, by Pinsker's inequality
        "reverse KL 0.005": rr.ReverseKL(0.005, support="nominal"),
        "chi-square 0.01": rr.ChiSquare(0.01),  # inside TV 0.05
        "CVaR 0.95": rr.CVaR(0.95),
        "weighted L1 0.1": rr.WeightedL1(0.1, weights=1 + np.arange(model.num_states) / 10, support="nominal"),
        "Wasserstein 0.05, steps": rr.Wasserstein(0.05, metric=steps),
        "TV 0.05, one budget a state": rr.SRectangular(tv),
        "rewards within 0.001, TV 0.05": rr.UncertainRewards(0.001, tv),
    }
    found = {}
    for name, uncertainty in sets.items():
        solution = rr.solve(model, uncertainty, discount=0.99)
        nominal = rr.policy_value(model, solution.policy, discount=0.99)
        found[name] = (float(model.start @ solution.value), solution.certificate.gap, float(model.start @ nominal))
    return found


def main(directory: str) -> None:
    """Print the table, leave it as a page, and hold its rows against each other."""
    run = RunDirectory(directory)
    run.start({"env": "FrozenLake-v1", "discount": 0.99}, command="every set, one call")
    found = solve_all()
    rows = [(name, f"{value:.6f}", f"{gap:.1e}", f"{nominal:.6f}") for name, (value, gap, nominal) in found.items()]
    table = Table(("set", "robust", "gap", "as modelled"), rows, "optimal robust values from the start of FrozenLake-v1")
    run.report("Every set, one call", [Section("Values", items=[table])])
    run.finish()
    print(f"{'set':32} {'robust':>10} {'gap':>9} {'as modelled':>12}")
    for name, (value, gap, nominal) in found.items():
        print(f"{name:32} {value:10.6f} {gap:9.1e} {nominal:12.6f}")
    value = {name: row[0] for name, row in found.items()}
    assert value["TV 0.05, any state"] < value["TV 0.05, successors"] < value["none"]
    assert value["contamination 0.05, any state"] >= value["TV 0.05, any state"]
    assert min(value["KL 0.005"], value["chi-square 0.01"]) >= value["TV 0.05, successors"] - 1e-6, "smaller balls"
    assert value["TV 0.05, one budget a state"] >= value["TV 0.05, successors"] - 1e-6, "a budget shared is a weaker adversary"
    assert value["rewards within 0.001, TV 0.05"] < value["TV 0.05, successors"]
    assert all(gap <= 1e-6 for _, gap, _ in found.values())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/every-set-one-call")
