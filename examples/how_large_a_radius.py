"""How large a radius? Logs of the real system tell, and the policy solved with it keeps what it promises there.

The simulator is a lake whose ice is still; on the real one, one slips. It is known only by logs of a walker who starts anywhere
and steers at random. For logs of growing length the radii are calibrated with 95 % confidence: how far each state-action
pair may be from the simulator. The robust policy then comes with a value that holds on the real lake. The nominal optima
promise the simulator's value, and none of them keeps it; their true values are a range over all of them.

    python examples/how_large_a_radius.py [run directory]
"""

import sys

import numpy as np

import robust_rl as rr
from robust_rl.table import Estimate, Table
from robust_rl.training import RunDirectory, Section
from robust_rl.training import Table as PageTable

SIMULATED, REAL = 1.0, 0.85  # probability of going where one steers; otherwise one slips to either side
CONFIDENCE, DISCOUNT, SUPPORT = 0.95, 0.99, "reachable"
LENGTHS = [10_000, 50_000, 300_000]
ROWS = ("largest radius", "robust policy, promised", "robust policy, true", "nominal optima, promised", "nominal optima, true")


def main(directory: str) -> None:
    """Calibrate, solve, print, and leave the report."""
    run = RunDirectory(directory)
    run.start({"simulated": SIMULATED, "real": REAL, "confidence": CONFIDENCE, "discount": DISCOUNT}, seed=0, command="how_large")
    simulator, real = (rr.envs.tabular("FrozenLake-v1", map_name="8x8", success_rate=rate) for rate in (SIMULATED, REAL))
    log = walk(real, max(LENGTHS), seed=0)
    nominal = rr.solve(simulator, None, discount=DISCOUNT)
    columns = []
    for length in LENGTHS:
        found = rr.calibrate(simulator, tuple(column[:length] for column in log), confidence=CONFIDENCE, support=SUPPORT)
        robust = rr.solve(simulator, found.uncertainty, discount=DISCOUNT)
        promises = [Estimate(value, value) for value in (np.max(found.radius), robust.certificate.lower[0], nominal.value[0])]
        columns.append([promises[0], promises[1], truth(real, robust), promises[2], truth(real, nominal)])
    table = Table("value from the start, by number of logged transitions", ROWS, tuple(map(str, LENGTHS)), tuple(zip(*columns)))
    costly = found.drivers_of_value(simulator, robust, count=5)
    print(f"{found.guarantee}\n\n{table}\n\n{found.drivers}\n\n{costly}")
    run.report("How large a radius?", [section(table), section(found.drivers), section(costly)], subtitle=found.guarantee)
    run.finish()
    print(f"\nreport: {run.result / 'report.html'}")


def walk(world: rr.TabularMDP, length: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return states, actions and next states of a random walk that starts anywhere, episode after episode."""
    rng = np.random.default_rng(seed)
    env = world.replace(start=~world.terminal / (~world.terminal).sum()).to_env()
    actions = rng.integers(world.num_actions, size=length)
    states, successors = np.empty(length, dtype=int), np.empty(length, dtype=int)
    state, _ = env.reset(seed=seed)
    for t in range(length):
        states[t] = state
        state, _, ended, _, _ = env.step(actions[t])
        successors[t] = state
        if ended:
            state, _ = env.reset()
    return states, actions, successors


def truth(world: rr.TabularMDP, solution: rr.Solution) -> Estimate:
    """Return the true value from the start, a range over the policies that the solution can't tell from optimal."""
    ends = rr.tie_range(solution, world)
    return Estimate(ends.lowest[0], ends.highest[0], kind="ties")


def section(table: Table) -> Section:
    """Return a table as a section of the page."""
    rows = [(name, *map(str, cells)) for name, cells in zip(table.rows, table.cells, strict=True)]
    return Section(table.title, items=[PageTable(("", *table.columns), rows)])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/how-large-a-radius")
