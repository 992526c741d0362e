"""Logs from the system, no simulator: a policy that survives drift, from 100 logged episodes.

The logs come from a three-decision problem whose short cut to the goal works today. Tomorrow it may lead to the fail state with
probability q. Nominal pessimistic learning, DROP and DROP-V see the same logs, of 20 different seeds; their policies are then
evaluated exactly in the drifted system. Where all logs lead to the same policy the interval has width 0.

    python examples/logs_without_a_simulator.py [run directory]
"""

import sys

import numpy as np

import robust_rl as rr
from robust_rl import pictures
from robust_rl.solvers import linear_values
from robust_rl.table import Estimate, Table
from robust_rl.training import Figure, RunDirectory, Section

EPISODES, SEEDS, DRIFTS = 100, 20, np.linspace(0, 1, 6)
RADIUS = np.zeros((3, 4))
RADIUS[0, 3] = 0.5  # what may drift: where the short cut of the first decision leads
UNCERTAINTY = rr.TotalVariation(RADIUS, support="free")


def main(directory: str) -> None:
    """Learn from every log, print and draw the returns, and leave the report."""
    run = RunDirectory(directory)
    run.start({"episodes": EPISODES, "seeds": SEEDS, "uncertainty": repr(UNCERTAINTY)}, command="logs_without_a_simulator")
    system = rr.envs.simulated_linear(0.3)
    logs = [rr.datasets.from_arrays(*system.sample(EPISODES, np.random.default_rng(seed))) for seed in range(SEEDS)]
    print(f"{logs[0].statistics()}\n")
    policies = {name: [learn(name, log, system) for log in logs] for name in ("nominal", "DROP", "DROP-V")}
    cells = tuple(tuple(interval(returns(found, q)) for q in DRIFTS) for found in policies.values())
    table = Table("return", tuple(policies), tuple(f"{q:.1f}" for q in DRIFTS), cells)
    print(table)
    picture = pictures.return_under_shift(table, "q: how often the short cut leads to the fail state")
    picture.savefig(run.result / "returns.png", dpi=110)
    caption = f"exact returns of policies from {EPISODES} episodes, mean over {SEEDS} logs with its 95 % interval"
    run.report("Logs without a simulator", [Section("Return under drift", items=[Figure(picture, caption)])])
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def learn(name: str, log: rr.datasets.OfflineDataset, system: rr.LinearMDP) -> np.ndarray:
    """Return the policy, (H, S), that a method finds in a log."""
    kind = rr.DROPV if name == "DROP-V" else rr.DROP
    features = rr.features.Table(system.phi)
    agent = kind(log, None if name == "nominal" else UNCERTAINTY, features=features, horizon=3, penalty=0.1, ridge=0.1)
    return agent.learn().solution.policy(np.arange(system.num_states))


def returns(policies: list[np.ndarray], q: float) -> np.ndarray:
    """Return what each policy earns on average in the system that drifted by q."""
    drifted = rr.envs.simulated_linear(0.3, q=float(q))
    return np.array([linear_values(drifted, None, policy).value[0, 0] for policy in policies])


def interval(values: np.ndarray) -> Estimate:
    """Return the 95 % interval of the mean."""
    width = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(float(values.mean() - width), float(values.mean() + width), float(values.mean()), "interval")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/logs-without-a-simulator")
