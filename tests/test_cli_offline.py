"""``robust-rl offline``, as a user types it; what DROP computes is tested in tests/solvers/test_drop.py."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.features import OneHot, Tiles
from tests.solvers.test_drop import ball, log

TV = ["--set", "tv", "--support", "free", "--radius", "0.1"]


@pytest.fixture
def offline(command):
    def call(source, *flags, features="onehot:5:2", horizon=3):
        return command("offline", source, "--features", features, "--horizon", str(horizon), *TV, *flags)

    return call


@pytest.fixture
def data(tmp_path):
    made = log(0, episodes=200)
    made.save(tmp_path / "data.npz")
    return made


def test_it_prints_the_data_before_the_solution_and_leaves_policy_and_report(data, tmp_path, offline, command):
    pytest.importorskip("matplotlib")
    code, shown, errors = offline("data.npz", "--penalty", "0.3", "--ridge", "0.5")
    assert code == 0, errors
    first, second = shown.index(str(data.statistics())), shown.index("estimated robust value")
    assert first < second
    run = next((tmp_path / "runs").glob("offline-data-*"))
    assert {"run.json", "metrics.jsonl", "checkpoints", "result"} <= {path.name for path in run.iterdir()}
    result = json.loads((run / "result" / "offline.json").read_text())
    agent = rr.DROP(data, ball(0.1), features=OneHot(5, 2), horizon=3, penalty=0.3, ridge=0.5).learn()
    starts = data.observations[data.stage == 0]
    assert result["value"] == pytest.approx(agent.solution.value(starts)[0].mean(), abs=1e-12)
    assert result["logged_return"] == pytest.approx(data.statistics().returns.mean(), abs=1e-12)
    assert result["theory_penalty"] > 100
    loaded = rr.DROP.load(run / "result" / "policy.safetensors")
    np.testing.assert_array_equal(loaded.solution.weights, agent.solution.weights)
    page = (run / "result" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 3
    assert "an estimate, not a bound" in page
    listed = json.loads(command("runs", "--json")[1])
    assert [(one["command"], one["status"], one["steps"]) for one in listed] == [("robust-rl offline", "finished", 3)]


def test_the_largest_doubt_is_where_the_policy_meets_the_largest_penalty(data, tmp_path, offline):
    code, shown, errors = offline("data.npz", "--json", "--out", "run")
    assert code == 0, errors
    result = json.loads(shown)
    agent = rr.DROP.load(tmp_path / "run" / "result" / "policy.safetensors")
    for h in range(3):
        seen = np.unique(data.observations[data.stage == h])
        counts = data.statistics().visits[h, seen, agent.solution.policy(seen)[h]]
        assert result["largest_penalty"][h] == pytest.approx((counts.min() + 1) ** -0.5, abs=1e-12)


def test_minari_and_variance_weighting(tmp_path, monkeypatch, offline):
    """Vectors on tiles, of which nobody knows every state: the worst one is assumed to earn the least that rewards allow."""
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    played = rr.datasets.collect("CartPole-v1", None, 30, seed=0)
    parts = [played.select(number) for number in range(30)]
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=number, observations=np.concatenate([part.observations, part.next_observations[-1:]]), actions=part.actions,
            rewards=part.rewards, terminations=part.terminations, truncations=np.zeros(len(part), dtype=bool), infos={},
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip
    minari.create_dataset_from_buffers("logs/pole-v0", buffer=buffers, env="CartPole-v1", algorithm_name="random")
    flags = ["--variance-weighted", "--penalty", "0.1", "--seed", "3"]
    code, shown, errors = offline("logs/pole-v0", *flags, "--json", "--out", "run", features="tiles:3", horizon=8)
    assert code == 0, errors
    agent = rr.DROPV(played, ball(0.1), features=Tiles(3), horizon=8, v_min="possible", penalty=0.1, seed=3).learn()
    loaded = rr.DROPV.load(tmp_path / "run" / "result" / "policy.safetensors")
    np.testing.assert_array_equal(loaded.solution.weights, agent.solution.weights)
    assert json.loads(shown)["actions_tried"] is None
    assert len(json.loads(shown)["effective_features"]) == 8
    _, _, errors = offline("logs/pole-v1", features="tiles:3")
    assert errors.startswith("error: no Minari data set 'logs/pole-v1' on this machine (local ones: logs/pole-v0)")


def test_a_killed_run_goes_on(tmp_path, command):
    rng = np.random.default_rng(0)
    points = rng.random((300, 21, 2))
    actions, rewards = rng.integers(2, size=(300, 20)), rng.random((300, 20))
    rr.datasets.from_arrays(points[:, :-1], actions, rewards, points[:, 1:]).save(tmp_path / "data.npz")
    asked = ["offline", "data.npz", "--features", "hat:6", "--horizon", "20", *TV]
    process = subprocess.Popen(
        [sys.executable, "-m", "robust_rl", *asked, "--checkpoint-every", "1", "--out", "run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((tmp_path / "run" / "checkpoints").glob("step_*"))) >= 2:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the solve was over before the signal came")
    values = {}
    for name in ("run", "straight"):
        code, shown, errors = command(*asked, "--out", name, "--json")
        assert code == 0, errors
        values[name] = json.loads(shown)["value"]
    assert "resumed" in json.loads((tmp_path / "run" / "run.json").read_text())
    policies = [rr.DROP.load(tmp_path / name / "result" / "policy.safetensors") for name in ("run", "straight")]
    np.testing.assert_array_equal(policies[0].solution.weights, policies[1].solution.weights)
    assert values["run"] == values["straight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nan.npz"}, r"rewards\[4\] is nan; drop the row's episode or repair it"),
        ({"features": "table:off.npy"}, r"Table: phi of row 0 sums to 2; d-rectangular sets need features"),
        ({"features": "tile:8"}, r"features 'tile:8' aren't known; give one of onehot"),
        ({"features": "onehot:3:2"}, "there is no state [34]; states are 0..2"),
        ({"features": "onehot:5:1"}, "there is no action 1; actions are 0..0"),
        ({"flags": ["--subsample"]}, "subsampling left no transition at stage 0 .*; lower trim, log more episodes"),
        ({"flags": ["--subsample"], "source": "points.npz", "features": "tiles:2"}, "observations must be state indices"),
        ({"horizon": 4}, "horizon 4 is longer than the data, whose longest episode has 3 transitions"),
        ({"horizon": 0}, "horizon"),
        ({"source": "nobody/has-it-v0"}, r"no Minari data set 'nobody/has-it-v0' on this machine .*minari download"),
        ({"source": "nowhere.npz"}, "no data set at nowhere.npz"),
        ({"source": "text.npz"}, "cannot read text.npz as a data set"),
        ({"source": "part.npz"}, "part.npz is not a robust-rl offline dataset and lacks rewards, next_observations"),
        ({"flags": ["--penalty", "much"]}, "--penalty 'much' is neither a number nor theory"),
        ({"flags": ["--penalty", "-1"]}, "penalty=-1"),
        ({"flags": ["--v-min", "low"]}, "--v-min 'low' is neither a number nor observed or possible"),
        ({"flags": ["--v-min", "nan"]}, "v_min=nan"),
        ({"flags": ["--ridge", "0"]}, "ridge=0.0"),
        ({"flags": ["--reward-bounds", "1"]}, "--reward-bounds '1' isn't two numbers"),
        ({"flags": ["--reward-bounds", "0,0.1"]}, r"outside reward_bounds=\(0, 0.1\)"),
        ({"flags": ["--support", "nominal"]}, 'TotalVariation\\(radius, support="free"\\)'),
    ],
    ids=str,
)
def test_a_mistake_costs_one_line_and_leaves_no_run(arguments, message, data, tmp_path, offline):
    if "minari" in message:
        pytest.importorskip("minari")
    columns = {name: getattr(data, name) for name in ("observations", "actions", "next_observations")}
    ends = data.stage == 2
    rewards = np.where(np.arange(len(data)) == 4, np.nan, data.rewards)
    np.savez(tmp_path / "nan.npz", **columns, rewards=rewards, truncations=ends)
    np.savez(tmp_path / "part.npz", observations=[0], actions=[0])
    points = {name: columns[name][:, None] / 4 for name in ("observations", "next_observations")}
    np.savez(tmp_path / "points.npz", **(columns | points), rewards=data.rewards, truncations=ends)
    np.save(tmp_path / "off.npy", np.full((5, 2, 4), 0.5))
    (tmp_path / "text.npz").write_text("hello")
    given = {"source": "data.npz", "flags": []} | arguments
    code, shown, errors = offline(given.pop("source"), *given.pop("flags"), **given)
    assert code in (1, 2)
    assert re.search(message, errors), errors
    assert errors.startswith("error:")
    assert errors.count("\n") == 1
    assert shown == ""
    assert not (tmp_path / "runs").exists()
