"""A model in two processes, one of which is killed on the way: the same bits as in one process.

The rows of 100,000 states are made by two Ray actors from a seed, so that no process ever holds the model. At the tenth sweep one
of them is killed with SIGKILL; Ray makes it again, it makes its rows again, and the sweep is repeated.

    python examples/an_actor_dies.py [run directory]
"""

import os
import signal
import sys

import numpy as np

import robust_rl as rr
from robust_rl.models import HashedGarnet, whole_model
from robust_rl.rllib import ShardedValueIteration
from robust_rl.solvers import ValueIteration
from robust_rl.training import Callback, RunDirectory, Section, Table, Trainer

WORLD, BALL, DISCOUNT, TOL = HashedGarnet(100_000, 4, 5), rr.TotalVariation(0.1, support="nominal"), 0.95, 1e-6


class Kill(Callback):
    """Kills the process of the first actor after ten sweeps."""

    def on_step(self, trainer, metrics):
        """Kill, once."""
        if trainer.step == 10:
            process = trainer.trainable.backup.reports[0].process
            os.kill(process, signal.SIGKILL)
            print(f"sweep 10: killed process {process}, which held half of the rows")


def main(directory: str) -> None:
    """Solve both ways, compare, and leave the report."""
    run = RunDirectory(directory)
    run.start({"world": repr(WORLD), "uncertainty": repr(BALL), "discount": DISCOUNT, "tol": TOL}, command="an_actor_dies")
    sharded = ShardedValueIteration(WORLD, BALL, discount=DISCOUNT, tol=TOL, actors=2, cpus_per_actor=0.5)
    Trainer(run, callbacks=[Kill()], checkpoint_every=10).fit(sharded)
    sharded.save(run.result / "values")
    alone = Trainer().fit(ValueIteration(whole_model(WORLD), BALL, discount=DISCOUNT, tol=TOL))
    equal = np.array_equal(sharded.value, alone.value) and np.array_equal(sharded.policy, alone.policy)
    rows = [
        [name, solver.iterations, f"{solver.value[0]:.12f}", f"{solver.gap:.2g}"]
        for name, solver in (("two actors, one killed", sharded), ("one process", alone))
    ]
    for row in rows:
        print(*row, sep="  ")
    print(f"values and policy equal to the bit: {equal}")
    run.report(
        "Value iteration over actors",
        [Section("The same bits", f"Equal: {equal}.", [Table(["", "sweeps", "value of state 0", "gap"], rows)])],
        subtitle=f"{WORLD!r}, {BALL!r}, discount {DISCOUNT}",
    )
    print(f"report: {run.result / 'report.html'}")
    sys.exit(not equal)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/an-actor-dies")
