"""Every command, as a user types it. A new one joins the list of help texts with one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import robust_rl as rr
from robust_rl import formats
from robust_rl.cli.main import app
from robust_rl.errors import RobustRLError
from robust_rl.training import load_arrays
from robust_rl.uncertainty import SETS
from tests.worlds import TAXI, random_model

COMMANDS = ["solve", "evaluate", "game", "calibrate", "bench", "runs", "envs", "sets", "frontier", "sweep", "offline"]
COMMANDS += ["vpo-bandit", "rllib train", "diffusion-train", "dpnp", "griffin", "less fit", "less evaluate"]
COMMANDS += ["mim simulate", "mim diversity", "matte train", "matte transfer", "matte evaluate"]
COMMANDS += ["concepts discover", "concepts simulate"]
CLIFF = ["solve", "CliffWalking-v1", "--set", "tv", "--radius", "0.1", "--support", "reachable", "--discount", "0.99"]

GAME = ["game", "fishery", "--equilibrium", "ce", "--set", "tv", "--support", "free", "--radius", "0.1"]
FRONTIER = ["frontier", "CliffWalking-v1", "--set", "tv", "--support", "reachable", "--discount", "0.99", "--radius", "0,0.1"]


def call(*arguments, cwd=None, **keywords):
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "robust_rl", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        **keywords,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    """In this process: an interpreter for each of them takes half a minute."""
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.stdout
    assert "--debug" in shown.stdout


def test_version_is_the_packages(command):
    assert command("--version") == (0, f"robust-rl {rr.__version__}\n", "")


def test_help_lists_every_command_and_the_first_steps():
    shown = call("--help").stdout
    assert all(re.search(rf"\b{command.split()[0]}\b", shown) for command in COMMANDS)
    assert "robust-rl solve CliffWalking-v1" in shown
    assert "--install-completion" in shown


def test_solve_evaluate_runs(tmp_path):
    pytest.importorskip("matplotlib")
    solved = call(*CLIFF, "--json", cwd=tmp_path)
    assert solved.returncode == 0, solved.stderr
    result = json.loads(solved.stdout)
    assert result["lower"] <= result["value"] <= result["upper"]
    assert result["value"] == pytest.approx(-33.6291715, abs=1e-5)
    run = tmp_path / result["run"]
    assert {"run.json", "metrics.jsonl", "checkpoints", "result"} <= {path.name for path in run.iterdir()}
    shown = call("evaluate", result["run"], "--shift", "action_noise=0,0.3", "--shift", "is_slippery=true", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "-189.3 to -112.2" in shown.stdout
    assert "-35.44" in shown.stdout
    assert "-1800 to -1158" in shown.stdout
    page = (run / "result" / "report.html").read_text()
    assert page.count("data:image/svg+xml") >= 7
    assert "the nominal optimum stops being optimal between 0.0" in page
    assert "http://" not in re.sub(r"data:[^\"']*", "", page).replace("http://www.w3.org", "")
    assert "-189.3 to -112.2" in page
    evaluation = json.loads((run / "result" / "evaluation.json").read_text())
    assert {cell["column"] for cell in evaluation["action_noise"]["cells"]} == {"0", "0.3"}
    more = call("evaluate", result["run"], "--shift", "observation_noise=0.1", "--episodes", "20", "--json", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["observation_noise"]["cells"][0]["kind"] == "interval"
    evaluation = json.loads((run / "result" / "evaluation.json").read_text())
    assert set(evaluation) == {"action_noise", "is_slippery", "observation_noise"}, "earlier tables stay"
    assert "-189.3 to -112.2" in (run / "result" / "report.html").read_text()
    listed = json.loads(call("runs", "--json", cwd=tmp_path).stdout)
    assert [(r["run"], r["status"]) for r in listed] == [(result["run"], "finished")]
    assert call(*CLIFF, "--out", result["run"], cwd=tmp_path).returncode == 0, "solving into a finished run finds it done"


def test_solve_a_model_file_over_a_horizon(tmp_path):
    pytest.importorskip("matplotlib")
    random_model(1).save(tmp_path / "model")
    solved = call(
        "solve",
        "model.npz",
        "--set",
        "linf",
        "--radius",
        "0.05",
        "--support",
        "free",
        "--horizon",
        "7",
        "--out",
        "run",
        "--json",
        cwd=tmp_path,
    )
    assert solved.returncode == 0, solved.stderr
    assert json.loads(solved.stdout)["steps"] == 7
    shown = call("evaluate", "run", "--shift", "action_noise=0,0.5", "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert set(json.loads(shown.stdout)) == {"action_noise", "report"}


def test_solve_the_models_of_other_programs(tmp_path):
    model = rr.TabularMDP([[[0.5, 0.5], [0.9, 0.1]], [[0, 1], [0, 1]]], [[1.0, 0.9], [0, 0]], terminal=[1])
    bounds = rr.Interval(np.clip(model.transitions - 0.1, 0, 1), np.clip(model.transitions + 0.1, 0, 1))
    formats.write_drn(model, tmp_path / "model.drn", bounds, labels={"end": [1]})
    formats.write_prism(model, tmp_path / "model.tra", bounds, labels={"end": [1]})
    model.save(tmp_path / "kept.model")
    # the adversary ends as soon as it may: v = 0.9 + 0.8 * 0.9 v for the second action, 1 + 0.4 * 0.9 v for the first
    for file in ("model.drn", "model.tra"):
        solved = call("solve", file, "--set", "interval", "--discount", "0.9", "--out", f"run-{file}", "--json", cwd=tmp_path)
        assert solved.returncode == 0, solved.stderr
        assert json.loads(solved.stdout)["value"] == pytest.approx(0.9 / (1 - 0.72), abs=1e-6)
    solved = call("solve", "kept.model", "--set", "none", "--discount", "0.9", "--out", "run", "--json", cwd=tmp_path)
    assert json.loads(solved.stdout)["value"] == pytest.approx(0.9 / (1 - 0.81), abs=1e-6)
    reach = call(
        "solve", "model.drn", "--set", "interval", "--env-arg", "reach=end", "--horizon", "1", "--out", "reach", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(reach.stdout)["value"] == pytest.approx(0.4, abs=1e-9)
    failed = call("solve", "model.drn", "--set", "interval", "--radius", "0.1", "--discount", "0.9", cwd=tmp_path)
    assert "leave out --radius" in failed.stderr
    failed = call("solve", "kept.model", "--set", "none", "--env-arg", "reach=end", "--discount", "0.9", cwd=tmp_path)
    assert "is read without reach" in failed.stderr
    failed = call("solve", "kept.model", "--set", "interval", "--discount", "0.9", cwd=tmp_path)
    assert "a .drn or .tra file" in failed.stderr


def test_frontier_leaves_its_table_and_pictures_and_resumes(tmp_path):
    pytest.importorskip("matplotlib")
    done = call(*FRONTIER, "--json", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = {(cell["row"], cell["column"]): cell for cell in json.loads(done.stdout)["cells"]}
    assert cells["robust policy, worst case", "0.1"]["value"] == pytest.approx(-33.6291715, abs=1e-5)
    result = tmp_path / "run" / "result"
    assert {"frontier.json", "frontier.png", "report.html"} <= {path.name for path in result.iterdir()}
    assert json.loads((result / "frontier.json").read_text())["cells"] == json.loads(done.stdout)["cells"]
    again = call(*FRONTIER, "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "-33.63" in again.stdout
    other = call(*FRONTIER, "--radius", "0,0.2", "--out", "run", cwd=tmp_path)
    assert other.returncode == 2
    assert "of another problem: its radii" in other.stderr


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_vpo_bandit_compares_with_dpo_and_draws_both(mode, tmp_path):
    pytest.importorskip("matplotlib")
    command = ["vpo-bandit", "--mode", mode, "--arms", "4", "--alpha", "3", "--rounds", "12", "--repeats", "3", "--out", "run"]
    done = call(*command, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["suboptimality"]) == {"DPO (alpha = 0)", "VPO (alpha = 3)"}
    low, high = found["difference"]["interval"]
    assert low < found["difference"]["mean"] < high
    assert ("regret" in found) == (mode == "online")
    result = tmp_path / "run" / "result"
    assert {"comparison.json", "comparison.safetensors", "comparison.png", "report.html"} <= {p.name for p in result.iterdir()}
    assert json.loads((result / "comparison.json").read_text())["suboptimality"] == found["suboptimality"]
    curves, _ = load_arrays(result / "comparison.safetensors")
    assert curves["DPO (alpha = 0)"].shape == curves["VPO (alpha = 3)"].shape == (12, 3)
    assert curves["VPO (alpha = 3)"][-1].mean() == pytest.approx(found["suboptimality"]["VPO (alpha = 3)"])
    if mode == "online":
        return
    again = call(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "less DPO" in again.stdout


def test_shared_budgets_and_uncertain_rewards_have_flags(tmp_path):
    """A budget for all actions together is worth more than one for each; rewards that may be 0.01 lower, less."""
    pytest.importorskip("matplotlib")
    lake = ["solve", "FrozenLake-v1", *CLIFF[2:6], "--support", "nominal", "--discount", "0.9", "--json"]
    values = {}
    for name, flags in {"plain": [], "shared": ["--s-rectangular"], "rewards": ["--reward-radius", "0.01"]}.items():
        solved = call(*lake, *flags, "--out", name, cwd=tmp_path)
        assert solved.returncode == 0, solved.stderr
        values[name] = json.loads(solved.stdout)
    assert values["rewards"]["value"] < values["plain"]["value"] < values["shared"]["value"]
    assert values["shared"]["uncertainty"] == "SRectangular(uncertainty=TotalVariation(radius=0.1, support='nominal'))"
    assert rr.RobustVI.load(tmp_path / "shared" / "result" / "policy").solution.policy.shape == (16, 4)
    shown = call("evaluate", "shared", "--shift", "action_noise=0,0.3", "--json", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    robust = [cell for cell in json.loads(shown.stdout)["action_noise"]["cells"] if cell["row"] == "robust"]
    assert [cell["kind"] for cell in robust] == ["exact", "exact"], "a randomised policy stands for itself"


def test_game_solves_judges_and_leaves_a_policy(tmp_path):
    pytest.importorskip("matplotlib")
    command = [*GAME[:-1], "player_0=0.1,player_1=0.05", "--horizon", "6", "--samples", "50", "--seed", "3", "--json"]
    solved = call(*command, "--env-arg", "p=0.1", "--out", "run", cwd=tmp_path)
    assert solved.returncode == 0, solved.stderr
    result = json.loads(solved.stdout)
    assert result["uncertainty"]["player_1"] == "TotalVariation(radius=0.05, support='free')"
    assert result["robust_value"]["player_0"] < result["robust_value"]["player_1"], "the larger radius costs more"
    agent = rr.DRNVI.load(tmp_path / "run" / "result" / "policy")
    known = rr.envs.tabular_game(rr.envs.games.make("fishery", p=0.1), horizon=6)
    gap = rr.robust_gap(agent.solution.policy, known, agent.solution.uncertainty, kind="ce")
    assert result["exact_gap"] == pytest.approx(gap.gap, abs=1e-12)
    assert (tmp_path / "run" / "result" / "report.html").read_text().count("data:image/svg+xml") >= 3
    planned = call(*GAME, "--selection", "any", "--out", "known", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "on the known kernel" in planned.stdout
    listed = json.loads(call("runs", ".", "--json", cwd=tmp_path).stdout)
    assert {one["status"] for one in listed} == {"finished"}


def test_calibrate_tells_a_radius_that_solve_takes(tmp_path):
    pytest.importorskip("matplotlib")
    lakes = [rr.envs.tabular("FrozenLake-v1", success_rate=rate) for rate in (0.8, 0.7)]
    counts = np.random.default_rng(0).multinomial(2000, lakes[1].transitions) * lakes[1].active_rows.reshape(16, 4, 1)
    np.savez(tmp_path / "real.npz", counts=counts)
    command = ["calibrate", "--simulator", "FrozenLake-v1", "--env-arg", "success_rate=0.8", "--log", "real.npz", "--out", "run"]
    shown = call(*command, "--confidence", "0.95", "--support", "reachable", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    result = json.loads((tmp_path / "run" / "result" / "calibration.json").read_text())
    found = rr.calibrate(lakes[0], counts, confidence=0.95, support="reachable")
    assert found.radius.max() <= result["radius"] < found.radius.max() + 2e-6
    assert all(text in shown.stdout for text in ("88000 transitions", found.guarantee, str(found.drivers), result["use"]))
    assert (load_arrays(tmp_path / "run" / "result" / "calibration.safetensors")[0]["radius"] == found.radius).all()
    solved = call(*result["use"].split()[1:], "--json", "--out", "solved", cwd=tmp_path)
    assert solved.returncode == 0, solved.stderr
    policy = rr.RobustVI.load(tmp_path / "solved" / "result" / "policy").solution.policy
    assert 0 < json.loads(solved.stdout)["lower"] < rr.policy_value(lakes[1], policy, discount=0.99)[0]
    np.savez(tmp_path / "real.npz", states=[0, 0], actions=[1, 1], next_states=[4, 1])
    shown = call(*command[:-1], "little", cwd=tmp_path)
    assert "radius: 1 in total variation" in shown.stdout
    assert "43 pairs were never visited and may do anything" in shown.stderr
    assumed = call(*command[:-1], "assumed", "--visited-only", "--generative", "--json", cwd=tmp_path)
    assert json.loads(assumed.stdout)["radius"] < 1
    assert "assumed, not shown, for 43 unvisited ones" in json.loads(assumed.stdout)["guarantee"]


def test_envs_and_sets_are_listed_for_machines_and_people():
    ids = {record["id"] for record in json.loads(call("envs", "--json").stdout)}
    assert {"CliffWalking-v1", "FrozenLake-v1", TAXI, "Blackjack-v1", "robust_rl/RiverSwim-v0"} <= ids
    assert {record["set"] for record in json.loads(call("sets", "--json").stdout)} == {*SETS, "none"}
    assert "Ball of total variation" in call("sets").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "CliffWalkin-v1", *CLIFF[2:]], "did you mean CliffWalking-v1"),
        (["solve", "CartPole-v1", *CLIFF[2:]], "no transition table"),
        ([*CLIFF, "--radius", "1.5"], r"radius 1.5 is outside \[0, 1\]"),
        ([*CLIFF, "--radius", "nan"], "radius nan is outside"),
        ([*CLIFF, "--set", "tvv"], "did you mean tv"),
        ([*CLIFF, "--method", "andersen"], "no method named 'andersen'"),
        ([*CLIFF, "--support", "somewhere"], "needs support"),
        ([*CLIFF[:4], *CLIFF[6:]], "--set tv needs --radius"),
        ([*CLIFF[:8]], "exactly one of discount and horizon"),
        ([*CLIFF, "--horizon", "5"], "exactly one of discount and horizon"),
        ([*CLIFF, "--discount", "1"], "some policy may never end"),
        ([*CLIFF, "--set", "interval"], "use it from Python"),
        ([*CLIFF, "--set", "weighted-l1"], r"needs a weight for every state.*robust_rl.WeightedL1\(radius, weights="),
        ([*CLIFF, "--set", "wasserstein"], r"needs a metric between states.*metric=robust_rl.graph_metric"),
        ([*CLIFF, "--set", "kl"], "--set kl keeps the nominal support"),
        ([*CLIFF, "--env-arg", "is_slipery=true"], "is_slipery"),
        ([*CLIFF, "--env-arg", "is_slippery"], "name=value"),
        ([*FRONTIER, "--radius", "0,wide"], "--radius '0,wide' is not a list of numbers"),
        ([*FRONTIER, "--radius", "0,1.5"], r"radius 1.5 is outside \[0, 1\]"),
        ([*FRONTIER, "--radius", "0.1,0.1"], "each once"),
        ([*FRONTIER, "--set", "none"], "None has no radius to vary"),
        ([*FRONTIER, "--horizon", "5"], "exactly one of discount and horizon"),
        ([*FRONTIER, "--discount", "1"], "some policy may never end"),
        (["game", "socer", *GAME[2:]], "did you mean soccer"),
        ([*GAME[:-1], "player_0=0.1"], "gives none to player_1"),
        ([*GAME[:-1], "player_0=0.1,player_2=0.1"], "--radius names 'player_2'; did you mean player_"),
        ([*GAME[:-1], "wide"], "--radius 'wide' is not a number"),
        ([*GAME[:-2]], "--set tv needs --radius"),
        ([*GAME, "--equilibrium", "nash"], "nash"),
        ([*GAME, "--selection", "best"], "best"),
        ([*GAME, "--env-arg", "q=1"], "fishery has no argument 'q'"),
        (["game", "nim", *GAME[2:]], "horizon"),
        (["evaluate", "nowhere", "--shift", "action_noise=0"], "nowhere"),
        (["evaluate", "nowhere", "--shift", "nonsense"], "name=value"),
        ([*CLIFF, "--tol", "inf"], "tol is inf"),
        ([*CLIFF, "--reward-radius", "-1"], "UncertainRewards: radius -1 is outside"),
        ([*CLIFF, "--set", "cvar", "--support", "nominal", "--s-rectangular"], "SRectangular shares the radius of a ball"),
        (["solve", "CliffWalking-v1", "--set", "none", "--discount", "0.9", "--s-rectangular"], "--set none has none"),
        (["solve", "nowhere.npz", *CLIFF[2:]], "no model file at nowhere.npz"),
        (["vpo-bandit", "--mode", "offlin"], "mode='offlin' is not 'offline'"),
        (["vpo-bandit", "--mode", "online", "--alpha", "0"], "alpha=0.0 is DPO itself"),
        (["vpo-bandit", "--mode", "online", "--arms", "1"], "arms=1"),
        (["calibrate", "--simulator", "FrozenLake-v1", "--log", "nowhere.npz"], "no log at nowhere.npz"),
        (["calibrate", "--simulator", "FrozenLak-v1", "--log", "nowhere.npz"], "did you mean FrozenLake-v1"),
        (["calibrate", "--simulator", "CartPole-v1", "--log", "nowhere.npz"], "no transition table"),
        (["calibrate", "--simulator", "FrozenLake-v1", "--log", "nowhere.npz", "--confidence", "95"], "confidence is 95"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_no_run(arguments, message, command, tmp_path):
    code, shown, errors = command(*arguments)
    assert code in (1, 2)
    assert re.search(message, errors), errors
    assert errors.startswith("error:")
    assert errors.count("\n") == 1
    assert shown == ""
    assert not (tmp_path / "runs").exists()
    with pytest.raises(RobustRLError, match=message):
        command(*arguments, "--debug")


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    mistake = ("solve", "FrozenLak-v1")
    failed = call(*mistake, "--set", "none", "--discount", "0.9", cwd=tmp_path)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)
    assert "Traceback" in call(*mistake, "--set", "none", "--discount", "0.9", "--debug", cwd=tmp_path).stderr


def test_a_budget_of_sweeps_gives_wide_bounds_and_a_warning(tmp_path):
    pytest.importorskip("matplotlib")
    rough = call(*CLIFF, "--max-steps", "5", "--json", "--out", "run", cwd=tmp_path)
    assert rough.returncode == 0
    assert re.search(r"warning: .* stopped after 5 steps", rough.stderr)
    assert json.loads(rough.stdout)["gap"] > 1
    assert call(*CLIFF, "--max-steps", "0", cwd=tmp_path).returncode == 2
    short = call(*CLIFF[:-2], "--horizon", "9", "--max-steps", "3", "--out", "short", cwd=tmp_path)
    assert short.returncode == 1
    assert "unfinished; the same command with --out short goes on" in short.stderr


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    """Interrupted in the middle of a long solve, then run again: it ends as if nothing had happened."""
    pytest.importorskip("matplotlib")
    command = [
        "solve",
        "FrozenLake-v1",
        "--set",
        "tv",
        "--radius",
        "0.02",
        "--support",
        "nominal",
        "--discount",
        "0.9999",
        "--tol",
        "1e-5",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "robust_rl", *command, "--out", "run"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.stat().st_size > 2000) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the solve was over before the signal came")
    assert process.returncode == 130, errors
    assert "resume" in errors
    resumed = call(*command, "--out", "run", "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    whole = call(*command, "--out", "whole", "--json", cwd=tmp_path)
    keys = ("value", "lower", "upper", "gap", "steps")
    assert [json.loads(resumed.stdout)[key] for key in keys] == [json.loads(whole.stdout)[key] for key in keys]
    first, second = (rr.RobustVI.load(tmp_path / name / "result" / "policy").solution for name in ("run", "whole"))
    assert first.value.tobytes() == second.value.tobytes()
