"""A run in a process of its own, for tests that kill it: child.py RUN STEPS CHECKPOINT_EVERY SECONDS_PER_STEP."""

import sys
import time

from robust_rl.training import JSONLLogger, RunDirectory, Trainer
from tests.training.toys import RandomWalk


class SlowWalk(RandomWalk):
    seconds = 0.0

    def step(self) -> dict[str, float]:
        if self.seconds > 1:
            print("in a long step", flush=True)
        time.sleep(self.seconds)
        return super().step()


if __name__ == "__main__":
    path, steps, every, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    SlowWalk.seconds = seconds
    run = RunDirectory(path)
    print("ready", flush=True)
    Trainer(run, checkpoint_every=every, loggers=[JSONLLogger(run)]).fit(SlowWalk(steps, size=2000))
    print("ended", flush=True)
