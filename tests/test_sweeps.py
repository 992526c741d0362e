"""Sweeps in a process pool: the results of plain loops, whatever is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import robust_rl as rr
from robust_rl.cli.main import USAGE_ERRORS, app
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError, MissingDependencyError, RobustRLError
from robust_rl.planning_trial import PlanningTrial
from robust_rl.sweeps import ROBUST, SHORTFALL, Grid, run_sweep, sweep_table
from robust_rl.training import RunDirectory
from robust_rl.training.trials import Trials

LAKE = {"env": "FrozenLake-v1", "set": "tv", "support": "reachable", "discount": 0.9}
GRID = Grid(LAKE, {"samples": [10, 100], "radius": [0.05, 0.1], "seed": [0, 1, 2]})


def results_of_loops(grid):
    found = []
    for configuration in grid.configurations():
        trial = PlanningTrial(configuration)
        while not trial.done:
            metrics = trial.step()
        found.append(metrics)
    return found


def dies_once(configuration):
    """A trial whose process is killed the first time."""
    mark = Path(configuration["mark"])
    if configuration["radius"] == 0.1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return PlanningTrial({name: value for name, value in configuration.items() if name != "mark"})


def test_a_pool_finds_what_loops_find(tmp_path):
    results = run_sweep(PlanningTrial, GRID, run=tmp_path / "run", workers=2)
    assert results == results_of_loops(GRID)
    trials = sorted(path.name for path in (tmp_path / "run" / "trials").iterdir())
    assert trials == [f"{i:04d}" for i in range(12)]
    assert RunDirectory(tmp_path / "run" / "trials" / "0003").read()["configuration"]["radius"] == 0.1
    again = run_sweep(PlanningTrial, GRID, run=tmp_path / "run", workers=2)
    assert again == results, "a finished sweep starts no process"


def test_a_dead_worker_is_told_and_made_up_for(tmp_path):
    grid = Grid(LAKE | {"mark": str(tmp_path / "mark")}, {"samples": [10], "radius": [0.05, 0.1], "seed": [0]})
    with pytest.raises(RobustRLError, match="a worker died"):
        run_sweep(dies_once, grid, run=tmp_path / "run")
    plain = Grid(LAKE, grid.axes)
    assert run_sweep(dies_once, grid, run=tmp_path / "run") == results_of_loops(plain)


def test_the_findings_are_those_of_the_solvers():
    """The true model leaves no shortfall; fewer samples leave more, and none is negative."""
    model = rr.envs.tabular("FrozenLake-v1")
    ball = rr.TotalVariation(0.1, support="reachable")
    (known,) = results_of_loops(Grid(LAKE, {"samples": [None], "radius": [0.1], "seed": [0]}))
    assert known["trial/optimum"] == pytest.approx(rr.solve(model, ball, discount=0.9).value[0], abs=1e-6)
    assert abs(known[SHORTFALL]) <= 1e-6
    found = results_of_loops(Grid(LAKE, {"samples": [3, 3000], "radius": [0.02], "seed": list(range(8))}))
    shortfall = np.array([result[SHORTFALL] for result in found]).reshape(2, 8)
    assert (shortfall >= -1e-6).all()
    assert shortfall[1].mean() < 0.5 * shortfall[0].mean()


def test_the_table_has_means_intervals_and_the_truth():
    grid = Grid(LAKE, {"samples": [10, 100], "radius": [0.05, 0.1], "seed": [0, 1]})
    results = [{ROBUST: float(i), "trial/optimum": 9.0} for i in range(8)]
    table = sweep_table(grid, results)
    assert table.rows == ("10 samples", "100 samples", "true model")
    cell = table["100 samples", "0.05"]
    assert (cell.middle, cell.kind) == (4.5, "interval")
    assert cell.high - cell.middle == pytest.approx(12.706 * 0.5, rel=1e-3)
    assert table["true model", "0.1"].middle == 9.0


def test_bad_configurations_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"'radii' isn't known.*radius"):
        PlanningTrial(LAKE | {"radii": 0.1})
    with pytest.raises(InvalidUncertaintyError, match="that number"):
        PlanningTrial(LAKE)
    with pytest.raises(InvalidUncertaintyError, match="nominal support"):
        PlanningTrial(LAKE | {"set": "kl", "radius": 0.1})
    with pytest.raises(InvalidArgumentError, match="each once"):
        Grid(LAKE, {"radius": [0.1, 0.1]})
    with pytest.raises(InvalidArgumentError, match="0 workers"):
        Trials(PlanningTrial, GRID.configurations(), tmp_path, workers=0)
    first = Trials(PlanningTrial, GRID.configurations(), tmp_path)
    first.save_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="other configurations"):
        Trials(PlanningTrial, GRID.configurations()[1:], tmp_path).load_checkpoint(tmp_path)


def test_a_killed_sweep_leaves_no_process_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "robust_rl", "sweep", "FrozenLake-v1", "--set", "tv", "--support", "reachable"]
    command += ["--discount", "0.9", "--radius", "0.05,0.1", "--samples", "10,100", "--repeats", "3", "--workers", "2", "--json"]
    command += ["--out", str(tmp_path / "run")]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = RunDirectory(tmp_path / "run")
    wait_for(lambda: run.checkpoints())
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    child.kill()
    child.wait()
    wait_for(lambda: not any(running(worker) for worker in workers))
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    found = json.loads((run.result / "sweep.json").read_text())
    assert [trial["result"] for trial in found["trials"]] == results_of_loops(GRID)
    assert json.loads(shown.stdout)["cells"] == found["table"]["cells"]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--radius", "a"], "not a list of numbers"),
        (["--radius", "2"], "outside"),
        (["--radius", "0.1", "--samples", "0"], "positive integer"),
        (["--radius", "0.1", "--samples", "1.5"], "positive integer"),
        (["--radius", "0.1", "--backend", "slurm"], "process or tune"),
    ],
)
def test_the_command_refuses_before_any_work(extra, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["sweep", "FrozenLake-v1", "--set", "tv", "--support", "reachable", "--discount", "0.9"]
    refused = CliRunner().invoke(app, [*command, *extra]).exception
    assert isinstance(refused, USAGE_ERRORS)
    assert re.search(message, str(refused))
    assert not list(tmp_path.iterdir())


def test_without_ray_the_pool_works_and_tune_says_what_to_install(tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "ray" or name.startswith("robust_rl.rllib.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["sweep", "FrozenLake-v1", "--set", "tv", "--support", "reachable", "--discount", "0.9", "--radius", "0.1"]
    command += ["--out", str(tmp_path / "run")]
    refused = CliRunner().invoke(app, [*command, "--backend", "tune"]).exception
    assert isinstance(refused, MissingDependencyError)
    assert "robust-rl[rllib]" in str(refused)
    assert not list(tmp_path.iterdir())
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (tmp_path / "run" / "result" / "sweep.json").exists()
