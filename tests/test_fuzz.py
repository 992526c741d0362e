"""A few hostile inputs for every reader, from the same seeds each time; ``benchmarks/fuzz.py`` runs a hundred thousand."""

import json
import pickle
import zipfile

import numpy as np
import pytest

import robust_rl as rr
from robust_rl import datasets, features
from robust_rl.errors import FileFormatError
from robust_rl.models import TabularMDP
from robust_rl.models.npz import read_array, read_arrays
from robust_rl.training import RunDirectory, Trainer, load_arrays, save_arrays
from robust_rl.training.checkpoints import write_checkpoint
from tests import fuzz_cases, fuzzing
from tests.training.toys import RandomWalk
from tests.worlds import random_model

# those whose valid files are made within a second
LIGHT = ["tables: csv, parquet", "Storm's drn", "PRISM's tra", "models: npz, folder", "games: npz", "data sets: npz",
         "features: npy",
         "calibration logs: npz", "arrays: safetensors", "runs: listings", "lexicons", "preferences: jsonl, parquet"]  # fmt: skip
INPUTS = 25


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LIGHT)
def test_a_reader_returns_an_object_or_refuses(name, tmp_path):
    if name == "preferences: jsonl, parquet":
        pytest.importorskip("trl")
    case = fuzz_cases.cases()[name]
    (tmp_path / "seeds").mkdir()
    case.seeds = case.make(tmp_path / "seeds")
    if not case.seeds:
        pytest.skip("pyarrow is not installed")
    tried = [fuzzing.attempt(case, number, tmp_path) for number in range(INPUTS)]
    assert [escape for _, escape, _ in tried if escape] == []


@pytest.mark.parametrize(
    "read",
    [TabularMDP.load, datasets.load, lambda path: read_arrays(path, "file"), lambda path: features.parse(f"table:{path}")],
)
def test_planted_pickles_are_refused_and_never_run(read, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "file.npz"
    planted = np.array([fuzzing.Planted(mark)], dtype=object)
    np.savez(path, start=planted, observations=planted, rewards=planted)
    for content in (path.read_bytes(), fuzzing.npy(planted), pickle.dumps(fuzzing.Planted(mark))):
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "member",
    [
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (\n\n\n\n\n",  # numpy's parser raises TokenError
        fuzzing.lying_npy(type("First", (), {"choice": staticmethod(lambda choices: choices[0])})),  # 8 TB promised
        b"no array",
    ],
)
def test_an_archive_with_a_member_that_is_no_sound_array_is_refused(member, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("start.npy", member)
    with pytest.raises(FileFormatError, match=r"cannot read .*a\.npz"):
        read_arrays(tmp_path / "a.npz", "model file")
    (tmp_path / "a.npy").write_bytes(member)
    with pytest.raises(FileFormatError, match=r"a\.npy is not a readable array"):
        read_array(tmp_path / "a.npy", "an array")


def test_a_game_that_names_an_endless_horizon_is_read_at_once(tmp_path):
    from tests.games import random_game

    path = random_game(0, 2, staged=False).replace(horizon=3).save(tmp_path / "game.npz")
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"horizon": np.array(2**40)})  # it took 2^40 looks for kernels
    assert rr.MarkovGame.load(path).horizon == 2**40


def test_json_with_nan_is_none(tmp_path):
    (tmp_path / "run.json").write_text('{"format": "robust-rl run", "version": 1, "seed": NaN}')
    with pytest.raises(FileFormatError, match="NaN is no JSON"):
        RunDirectory(tmp_path).read()


def test_features_of_records_are_refused(tmp_path):
    np.save(tmp_path / "phi.npy", np.zeros(3, dtype=[("a", "f8"), ("b", "i4")]))
    with pytest.raises(FileFormatError, match="made of numbers"):
        features.parse(f"table:{tmp_path / 'phi.npy'}")


def test_json_thousands_of_lists_deep_is_refused(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.start()
    (run.path / "metrics.jsonl").write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(FileFormatError, match="line 1"):
        run.metrics()
    (run.path / "run.json").write_bytes(b"[" * 100_000)
    with pytest.raises(FileFormatError):
        run.read()


@pytest.mark.parametrize("part", ["indices", "indptr"])
def test_a_policy_whose_sparse_matrix_points_outside_is_refused(part, tmp_path):
    agent = rr.RobustVI(random_model(1, sparse=True), rr.TotalVariation(0.1, support="free"), discount=0.5).learn()
    path = agent.save(tmp_path / "policy")
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    arrays[f"model.transitions.{part}"][-2] += 2**20
    save_arrays(path, arrays, metadata, format="robust-rl policy")
    with pytest.raises(FileFormatError, match=r"model\.transitions is no CSR matrix"):
        rr.RobustVI.load(path)


@pytest.mark.parametrize(("name", "value"), [("tol", "x"), ("observation_space", 3), ("set_arguments", None), ("horizon", [])])
def test_a_policy_with_something_else_in_its_metadata_is_refused(name, value, tmp_path):
    path = rr.RobustVI(random_model(1), rr.KL(0.1), discount=0.5).learn().save(tmp_path / "policy")
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    save_arrays(path, arrays, metadata | {name: value}, format="robust-rl policy")
    with pytest.raises(rr.errors.RobustRLError):
        rr.RobustVI.load(path)


def test_a_sealed_checkpoint_of_something_else_is_refused(tmp_path):
    Trainer(tmp_path / "run", max_steps=2).fit(RandomWalk())
    with write_checkpoint(tmp_path / "run/checkpoints", 3) as directory:
        (directory / "trainer.json").write_text(json.dumps({"version": 1, "step": 3, "callbacks": {}}))
    with pytest.raises(FileFormatError, match="step_000003"):
        Trainer(tmp_path / "run", max_steps=4).fit(RandomWalk())
