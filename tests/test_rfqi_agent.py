"""What RFQI does as an agent; its algorithm is tested in tests/solvers."""

import subprocess
import sys

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import RunDirectory

pytest.importorskip("torch")

BALL = rr.TotalVariation(0.1, support="free")
SMALL = {"hidden": (8,), "iterations": 4, "updates": 5, "dual_updates": 5, "batch_size": 64}


def cart_pole(**options):
    data = rr.datasets.collect("CartPole-v1", None, 20, seed=0)
    return rr.RFQI(data, BALL, v_min=0.0, **(SMALL | options))


def river(**options):
    data = rr.datasets.collect(rr.envs.make("robust_rl/RiverSwim-v0"), None, 20, seed=0, horizon=30)
    return rr.RFQI(data, BALL, states=np.arange(6), **(SMALL | {"hidden": ()} | options))


@pytest.mark.parametrize("make", [cart_pole, river])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_a_saved_agent_predicts_the_same(make, threshold, tmp_path):
    agent = make(behaviour_threshold=threshold).learn()
    loaded = rr.RFQI.load(agent.save(tmp_path / "policy"))
    points = np.arange(6) if make is river else np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded.solution.action_values(points), agent.solution.action_values(points))
    np.testing.assert_array_equal(loaded.predict(points)[0], agent.predict(points)[0])
    assert agent.predict(points[0]) == (agent.predict(points)[0][0], None)
    assert isinstance(agent.predict(points[0])[0], int)
    assert (loaded.uncertainty, loaded.discount) == (agent.uncertainty, 0.99)
    assert loaded.solution.problem.bounds == agent.solution.problem.bounds
    with pytest.raises(InvalidArgumentError, match="no data to learn from"):
        loaded.learn()


def test_a_saved_agent_predicts_without_torch(tmp_path):
    path = cart_pole().learn().save(tmp_path / "policy")
    code = (
        f"import sys, robust_rl as rr; print(rr.RFQI.load({str(path)!r}).predict([0.0] * 4)[0] in (0, 1), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


def test_a_killed_run_is_resumed_and_leaves_its_policy(tmp_path):
    run = RunDirectory(tmp_path / "run")
    cart_pole().learn(2, run=run, checkpoint_every=1)
    agent, whole = cart_pole().learn(run=tmp_path / "run"), cart_pole().learn()
    points = np.random.default_rng(0).normal(size=(50, 4))
    np.testing.assert_array_equal(agent.solution.action_values(points), whole.solution.action_values(points))
    assert rr.RFQI.load(run.result / "policy").predict(points[0]) == agent.predict(points[0])
    assert {"solve/q_loss", "solve/dual_loss", "solve/mean_q", "solve/max_eta"} <= run.metrics()[-1].keys()
    with pytest.raises(InvalidArgumentError, match="another problem: its discount"):
        cart_pole(discount=0.9).learn(run=tmp_path / "run")


def test_is_rolled_out_by_collect():
    agent = cart_pole().learn()
    played = rr.datasets.collect("CartPole-v1", agent, 3, seed=1, horizon=8)
    np.testing.assert_array_equal(played.actions, agent.predict(played.observations)[0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: cart_pole().predict(np.zeros(4)), InvalidArgumentError, "call learn"),
        (lambda path: cart_pole().learn(0), InvalidArgumentError, "total_steps is 0"),
        (lambda path: cart_pole().learn(1).predict(np.zeros(3)), InvalidArgumentError, r"shape \(3,\)"),
        (lambda path: river().learn(1).predict(6), InvalidArgumentError, "observation 6 is no state"),
        (lambda path: river().learn(1).predict(0.5), InvalidArgumentError, "of type float64 is no state"),
        (lambda path: rr.DROP.load(river().learn(1).save(path / "p")), FileFormatError, "holds a RFQI, not a DROP"),
    ],
)
def test_bad_arguments_are_named(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        make(tmp_path)
