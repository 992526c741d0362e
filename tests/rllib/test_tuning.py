"""Tune drives the library's Trainables: the results of the process pool, early stopping, and restoring what was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

import robust_rl as rr
from robust_rl.models import HashedGarnet, sampled_counts
from robust_rl.planning_trial import PlanningTrial
from robust_rl.rllib import ray_map, tune_sweep, tune_trainable
from robust_rl.rllib._compat import ray, tune
from robust_rl.solvers import gram_sums, planner
from tests.solvers.test_drop import log
from tests.test_sweeps import GRID, results_of_loops, wait_for
from tests.worlds import random_model

pytestmark = pytest.mark.usefixtures("ray_session")
ROOT = Path(__file__).parents[2]

KILLED = """
import sys
from robust_rl.rllib._compat import ray
from robust_rl.rllib import tune_sweep
from robust_rl.planning_trial import PlanningTrial
from tests.test_sweeps import GRID
ray.init(address=sys.argv[1], log_to_driver=False)
tune_sweep(PlanningTrial, GRID, run=sys.argv[2], workers=2, steps=1)
"""


def test_a_killed_sweep_of_twelve_trials_restores(tmp_path):
    """SIGKILL once the first of twelve trials has ended; the restored sweep has the results of plain loops."""
    assert len(GRID.configurations()) == 12
    address = ray.get_runtime_context().gcs_address
    child = subprocess.Popen([sys.executable, "-c", KILLED, address, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE)
    states = tmp_path / "tune"

    def some_ended():
        assert child.poll() is None, child.stderr.read().decode()[-3000:]
        return list(states.glob("*/checkpoint_*")) and list(states.glob("experiment_state*"))

    wait_for(some_ended, 120)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert 0 < saved(states) < 12
    assert tune_sweep(PlanningTrial, GRID, run=tmp_path, workers=2, steps=1) == results_of_loops(GRID)
    assert saved(states) == 12, "trials go on where they were, beside those that were still to come"


def saved(states):
    """Return how many trials have a checkpoint."""
    return len({path.parent for path in states.glob("*/checkpoint_*")})


def shared_planner(configuration):
    ball = rr.TotalVariation(configuration["radius"], support="free")
    return planner(random_model(0), ball, discount=0.95, method="value_iteration", tol=1e-9)


def test_a_tuner_stops_early(tmp_path):
    trainable = tune_trainable(shared_planner)
    tuner = tune.Tuner(
        trainable, param_space={"radius": tune.grid_search([0.1, 0.2])},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(stop={"training_iteration": 5}, storage_path=str(tmp_path), verbose=0),
    )  # fmt: skip
    found = tuner.fit()
    assert [result.metrics["training_iteration"] for result in found] == [5, 5]
    for result, radius in zip(found, (0.1, 0.2), strict=True):
        alone = shared_planner({"radius": radius})
        for _ in range(5):
            metrics = alone.step()
        assert result.metrics["solve/gap"] == metrics["solve/gap"]


@pytest.mark.slow
def test_asha_stops_the_trials_that_are_behind(tmp_path):
    from ray.tune.schedulers import ASHAScheduler

    asha = ASHAScheduler(metric="solve/gap", mode="min", grace_period=3, reduction_factor=2, max_t=9)
    tuner = tune.Tuner(
        tune_trainable(shared_planner), param_space={"radius": tune.grid_search([0.05, 0.1, 0.2, 0.4])},
        tune_config=tune.TuneConfig(scheduler=asha, reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )  # fmt: skip
    lengths = [result.metrics["training_iteration"] for result in tuner.fit()]
    assert min(lengths) == 3
    assert max(lengths) == 9


def test_a_trial_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path):
    """Without Tune: what it calls, it calls in this order."""
    kind = tune_trainable(shared_planner, steps=3)
    first = kind(config={"radius": 0.1})
    first.train()
    first.save(str(tmp_path))
    second = kind(config={"radius": 0.1})
    second.restore(str(tmp_path))
    while not (one := first.train())["done"]:
        assert second.train()["solve/gap"] == one["solve/gap"]
    assert second.train()["done"]
    np.testing.assert_array_equal(second.inner.value, first.inner.value)
    assert first.train()["solve/gap"] == one["solve/gap"], "a finished trial repeats its last metrics"
    assert first.reset({"radius": 0.2})
    assert first.train()["solve/gap"] != one["solve/gap"]


def test_blocks_on_ray_give_the_bits_of_a_loop():
    source = HashedGarnet(300, 2, 3)
    assert (sampled_counts(source, 20, block=64, map=ray_map) != sampled_counts(source, 20, block=64)).nnz == 0
    data, features = log(0, horizon=7), rr.features.OneHot(5, 2)
    np.testing.assert_array_equal(gram_sums(data, features, 7, block=8, map=ray_map), gram_sums(data, features, 7, block=8))
