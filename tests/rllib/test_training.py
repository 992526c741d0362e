"""Training from an id: runs, resuming, what the learner has to do with RLlib's own loop, and the command."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

pytest.importorskip("ray.rllib")

import robust_rl as rr
from robust_rl.errors import InvalidUncertaintyError, UnknownNameError
from robust_rl.evaluation import confidence_interval, rollout
from robust_rl.rllib import DeepTraining, NetworkPolicy, RunLogger, policy_table, register_envs, training
from robust_rl.rllib.run_logger import numbers
from robust_rl.training import RunDirectory
from tests.test_packaging import ROOT

BALL = rr.Contamination(0.1, support="free")
TINY = {"train_batch_size": 100, "minibatch_size": 50, "num_epochs": 1}


def lake(steps, **more):
    training = DeepTraining("FrozenLake-v1", "ppo", BALL, steps=steps, discount=0.9, **(TINY | more))
    training.config.rl_module(model_config={"fcnet_hiddens": [8]})
    return training


def test_a_run_is_resumed_and_leaves_policy_tables_and_exact_values(ray_session, tmp_path):
    first = lake(200).run(tmp_path / "run", checkpoint_every=1)
    assert first.steps == 200
    assert first.tables == {}
    trained = lake(400, shifts={"action_noise": [0.0, 0.5]}, episodes=20).run(tmp_path / "run", checkpoint_every=1)
    run = RunDirectory(tmp_path / "run")
    assert [line["sample/env_steps"] for line in run.metrics()] == [100, 200, 300, 400], "it went on where it was"
    assert trained.steps == 400
    assert any(name.startswith("learn/default_policy/") for name in run.metrics()[-1])
    policy, model = NetworkPolicy.load(run.result / "policy"), rr.envs.tabular("FrozenLake-v1")
    noisy = rr.envs.shift("FrozenLake-v1", action_noise=0.5)
    assert trained.tables["action_noise"]["policy", "0.5"] == confidence_interval(rollout(noisy, policy.predict, 20, seed=0))
    worst = rr.solvers.policy_value(model, policy_table(policy, model), BALL, discount=0.9) @ model.start
    assert trained.exact["learned", "worst case"].low == pytest.approx(worst)
    best = rr.solve(model, BALL, discount=0.9)
    assert trained.exact["optimal: worst case", "worst case"].low == pytest.approx(best.value @ model.start, abs=1e-5)
    assert "400 steps" in str(trained)
    assert json.loads(json.dumps(trained.summary()))["steps"] == 400


def test_a_logger_writes_the_results_of_rllibs_own_loop(ray_session, tmp_path):
    """Into the run that it was given, from a configuration that RLlib copies and pickles; close() marks it finished."""
    register_envs()
    logger = RunLogger(tmp_path / "run")
    config = lake(100).config.callbacks(on_train_result=logger)
    algo = config.build_algo()
    results = [algo.train() for _ in range(2)]
    algo.stop()
    assert RunDirectory.list(tmp_path)[0].status == "running"
    logger.close()
    assert RunDirectory.list(tmp_path)[0].status == "finished"
    written = RunDirectory(tmp_path / "run").metrics()
    assert [line["step"] for line in written] == [1, 2]
    for line, result in zip(written, results, strict=True):
        assert {key: line[key] for key in line if key not in ("step", "time")} == pytest.approx(numbers(result), nan_ok=True)
        assert line["sample/env_steps"] == result["num_env_steps_sampled_lifetime"]
        assert not [key for key in line if "timer" in key]


def test_ray_does_not_answer_sigterm(monkeypatch):
    """Its own handler leaves with exit code 15, while it starts and as long as it runs."""
    before = signal.getsignal(signal.SIGTERM)

    def start(**_):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        if struck:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training, "ray", types.SimpleNamespace(is_initialized=bool, init=start, shutdown=bool))
    struck = False
    with training.running_ray(1):
        assert signal.getsignal(signal.SIGTERM) is before
    struck = True
    with pytest.raises(SystemExit) as leaving, training.running_ray(1):
        pass
    assert leaving.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_everything_is_checked_before_ray_is_asked(tmp_path):
    with pytest.raises(UnknownNameError, match="no 'lenght' to shift"):
        DeepTraining("CartPole-v1", steps=1, shifts={"lenght": [1.0]})
    with pytest.raises(InvalidUncertaintyError, match="robust PPO"):
        DeepTraining("CartPole-v1", "ppo", rr.TotalVariation(0.1, support="free"), steps=1)
    with pytest.raises(rr.errors.InvalidArgumentError, match="did you mean dqn"):
        DeepTraining("CartPole-v1", "dqm", steps=1)
    assert DeepTraining("CliffWalking-v1", steps=1).config.value_floor == pytest.approx(-10_000)


COMMAND = ["rllib", "train", "FrozenLake-v1", "--algo", "dqn", "--set", "tv", "--radius", "0.1", "--support", "free"]


def started(*arguments, blocked=()):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {tuple(blocked)!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["robust-rl", *{list(arguments)!r}]
from robust_rl.cli import main
main()
"""
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_without_ray_the_command_says_what_to_install(tmp_path):
    process = started(*COMMAND, "--out", str(tmp_path / "run"), blocked=("ray",))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    assert 'install it with: pip install "robust-rl[rllib]"' in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_survives_a_kill(tmp_path):
    """Killed after its first checkpoint, the same command goes on from there, evaluates, and leaves policy and report."""
    run = tmp_path / "run"
    command = [*COMMAND, "--shift", "action_noise=0,0.3", "--steps", "4000", "--episodes", "5", "--checkpoint-every", "1"]
    process = started(*command, "--out", str(run))
    deadline = time.monotonic() + 300
    while not list(run.glob("checkpoints/step_*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    reached = len(RunDirectory(run).checkpoints())
    process = started(*command, "--out", str(run), "--json")
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert result["steps"] >= 4000
    assert reached < len(RunDirectory(run).metrics())
    assert np.diff([line["sample/env_steps"] for line in RunDirectory(run).metrics()]).min() > 0
    assert {cell["column"] for cell in result["shifts"]["action_noise"]["cells"]} == {"0", "0.3"}
    assert "worst case" in (run / "result" / "report.html").read_text()
    assert NetworkPolicy.load(result["policy"]).predict(0)[0] in range(4)


def test_bad_input_is_refused_before_any_work(tmp_path):
    process = started("rllib", "train", "CartPol-v1", "--out", str(tmp_path / "run"))
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "did you mean CartPole-v" in errors
    assert not (tmp_path / "run").exists()
