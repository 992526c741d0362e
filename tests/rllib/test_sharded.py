"""Value iteration over actors is value iteration: to the bit, whatever dies."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.models import HashedGarnet, whole_model
from robust_rl.rllib import ShardedValueIteration, sharded_operator
from robust_rl.solvers import ValueIteration
from robust_rl.training import Trainer
from tests.rllib import fake_ray
from tests.training.contract import check_trainable
from tests.worlds import random_model

GARNET = HashedGarnet(60, 3, 4, seed=3)
TV = rr.TotalVariation(0.1, support="nominal")
# sorted sweeps, plain ones, the lowest state anywhere, root finders that remember, and the plain problem
SETS = [TV, rr.Contamination(0.1, support="free"), rr.TotalVariation(0.1, support="reachable"), rr.KL(0.1), None]


@pytest.fixture
def in_process(monkeypatch):
    """The operator without Ray's processes, each of which takes seconds to start: the arithmetic is the same."""
    monkeypatch.setattr(sharded_operator, "ray", fake_ray)
    monkeypatch.setattr(sharded_operator, "start_ray", lambda: None)


def sharded(model=GARNET, ball=TV, actors=2, discount=0.95, tol=1e-9):
    return ShardedValueIteration(model, ball, discount=discount, tol=tol, actors=actors, cpus_per_actor=0.1)


def run(solver, steps=1000):
    while not solver.done and solver.iterations < steps:
        solver.step()
    return solver


def alone(model=None, ball=TV, discount=0.95, tol=1e-9):
    return run(ValueIteration(whole_model(GARNET) if model is None else model, ball, discount=discount, tol=tol))


def assert_same(one, other):
    """Values, policies, bounds and history have the same bits."""
    np.testing.assert_array_equal(one.value, other.value, strict=True)
    np.testing.assert_array_equal(one.policy, other.policy)
    np.testing.assert_array_equal(one.certificate.lower, other.certificate.lower)
    np.testing.assert_array_equal(one.certificate.upper, other.certificate.upper)
    assert one._history == other._history
    assert one.num_rows == other.num_rows


@pytest.mark.parametrize("ball", SETS, ids=repr)
def test_any_number_of_blocks_gives_the_bits_of_one_process(ball, in_process):
    """Long enough that actions are eliminated on the way, which every step after hangs on."""
    expected = alone(ball=ball)
    assert expected.iterations > 33
    assert expected.num_rows < 60 * 3
    for actors in (1, 2, 3, 7):
        assert_same(run(sharded(ball=ball, actors=actors)), expected)


@pytest.mark.parametrize("name", ["model.model", "model.npz"])
@pytest.mark.parametrize("rewards", ["expected", "transition"])
def test_blocks_of_a_file_with_terminal_states_and_masked_actions(name, rewards, tmp_path, in_process):
    model = random_model(1, states=23, sparse=True)
    model = model if rewards == "transition" else model.with_expected_rewards()
    assert model.terminal.any()
    path = model.save(tmp_path / name)
    for ball in (rr.TotalVariation(0.1, support="free"), rr.TotalVariation(0.1, support="reachable"), rr.ChiSquare(0.1)):
        assert_same(run(sharded(path, ball, actors=3, discount=0.9, tol=1e-6)), alone(model, ball, 0.9, 1e-6))


def test_single_precision_rows(in_process):
    source = HashedGarnet(50, 2, 4, single=True)
    assert_same(run(sharded(source, actors=3, tol=1e-4)), alone(whole_model(source), tol=1e-4))


@pytest.mark.parametrize("ball", [TV, rr.KL(0.1)], ids=repr)
def test_a_checkpoint_goes_on_with_another_number_of_actors(ball, tmp_path, in_process):
    run(first := sharded(ball=ball, actors=3), 34)
    first.save_checkpoint(tmp_path)
    second = sharded(ball=ball, actors=2)
    second.load_checkpoint(tmp_path)
    assert second.num_rows < 60 * 3
    assert_same(run(second), alone(ball=ball))


def test_keeps_the_contract_of_trainables(tmp_path, in_process):
    """With root finders' memory, and past the first elimination."""
    check_trainable(lambda: sharded(ball=rr.KL(0.1)), tmp_path, max_steps=36, checkpoint_every=5)


def test_refuses_the_checkpoint_of_other_rows(tmp_path, in_process):
    run(first := sharded(), 3)
    first.save_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="its rows is"):
        sharded(HashedGarnet(60, 3, 4, seed=4)).load_checkpoint(tmp_path)


def test_says_what_it_cannot_do(in_process):
    with pytest.raises(InvalidArgumentError, match="processors"):
        ShardedValueIteration(GARNET, TV, discount=0.9, actors=50)
    with pytest.raises(InvalidArgumentError, match="number of states"):
        sharded(actors=61)
    with pytest.raises(InvalidArgumentError, match="below 1"):
        sharded(discount=1.0)
    with pytest.raises(InvalidArgumentError, match=r"model\.save"):
        sharded(whole_model(GARNET))
    for ball in (rr.SRectangular(TV), rr.TotalVariation(np.full((60, 3), 0.1), support="nominal")):
        with pytest.raises(InvalidUncertaintyError, match="can't be cut"):
            sharded(ball=ball)
    with pytest.raises(InvalidArgumentError, match="worst kernel"):
        sharded().solution()


@pytest.mark.usefixtures("ray_session")
def test_actors_under_the_shared_trainer_have_the_same_bits(tmp_path):
    solver = Trainer(tmp_path / "run", checkpoint_every=20).fit(sharded(actors=3))
    assert len({report.process for report in solver.backup.reports}) == 3
    assert_same(solver, alone())
    assert solver.save(tmp_path / "values").name == "values.safetensors"


@pytest.mark.usefixtures("ray_session")
def test_any_actor_may_be_killed_at_any_sweep():
    """SIGKILL before and after actions are eliminated; root finders' memory and the rows in the race must come back."""
    solver, killed = sharded(ball=rr.KL(0.1), actors=2), []
    while not solver.done:
        solver.step()
        if solver.iterations in (3, 32, 34):
            killed.append(solver.backup.reports[len(killed) % 2].process)
            os.kill(killed[-1], signal.SIGKILL)
    assert len(set(killed)) == 3
    assert not set(killed) & {report.process for report in solver.backup.reports}
    assert_same(solver, alone(ball=rr.KL(0.1)))


TWO_NODES = """
import sys, numpy as np
import robust_rl as rr
from robust_rl.models import HashedGarnet, whole_model
from robust_rl.rllib import ShardedValueIteration
from robust_rl.rllib._compat import ray
from robust_rl.solvers import ValueIteration
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)
garnet, ball = HashedGarnet(60, 3, 4), rr.TotalVariation(0.1, support="nominal")
solver = ShardedValueIteration(garnet, ball, discount=0.9, actors=2)
nodes = {actor["Address"]["NodeID"] for actor in ray._private.state.actors().values()}
assert len(nodes) == 2, nodes
if "lose one" in sys.argv:
    for _ in range(5):
        solver.step()
    cluster.add_node(num_cpus=1)
    cluster.remove_node(second, allow_graceful=False)
while not solver.done:
    solver.step()
alone = ValueIteration(whole_model(garnet), ball, discount=0.9)
while not alone.done:
    alone.step()
np.testing.assert_array_equal(solver.value, alone.value)
print("two nodes, the same bits")
ray.shutdown()
cluster.shutdown()
"""


def test_two_nodes():
    found = subprocess.run([sys.executable, "-c", TWO_NODES], capture_output=True, text=True, timeout=120)
    assert "two nodes, the same bits" in found.stdout, found.stderr[-2000:]


@pytest.mark.slow
def test_a_node_is_lost_and_another_takes_its_actor():
    """Ray takes some twenty seconds to miss a node's heartbeats."""
    command = [sys.executable, "-c", TWO_NODES, "lose one"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "two nodes, the same bits" in found.stdout, found.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_actors_killed_in_the_middle_of_sweeps():
    """SIGKILL from another thread, at moments that have nothing to do with the sweeps."""
    garnet = HashedGarnet(50_000, 5, 5)
    solver, killed, enough = sharded(garnet, discount=0.999), [], threading.Event()

    def kill():
        while not enough.wait(0.1) and len(killed) < 6:
            process = solver.backup.reports[len(killed) % 2].process
            if Path(f"/proc/{process}").exists():
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    solver.step()
    killer = threading.Thread(target=kill)
    killer.start()
    run(solver, 10_000)
    enough.set()
    killer.join()
    assert len(set(killed)) >= 3
    assert_same(solver, alone(whole_model(garnet), discount=0.999))
