"""A few hostile inputs for every reader, from the same seeds each time; ``benchmarks/fuzz.py`` runs a hundred thousand."""

import json
import pickle
import zipfile

import numpy as np
import pytest

import robust_rl as rr
from robust_rl import datasets, features, formats
from robust_rl.errors import FileFormatError, loadable, sound
from robust_rl.models import TabularMDP
from robust_rl.models.npz import read_array, read_arrays
from robust_rl.training import RunDirectory, Trainer, load_arrays, save_arrays
from robust_rl.training.checkpoints import write_checkpoint
from tests import fuzz_bombs, fuzz_cases, fuzzing
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


def test_a_run_whose_metrics_are_a_folder_is_listed_without_steps(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.start()
    (run.path / "metrics.jsonl").unlink(missing_ok=True)
    (run.path / "metrics.jsonl").mkdir()
    assert [found.step for found in RunDirectory.list(tmp_path)] == [None]
    with pytest.raises(FileFormatError, match=r"cannot read .*metrics\.jsonl"):
        run.metrics()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("RobustVI", {"policy": np.array([0, 1, 2, 0, 9])}),
        ("RobustVI", {"policy": np.array([0, 1])}),
        ("DROP", {"weights": np.zeros((5, 3))}),
        ("DRNVI", {"policy": np.ones((3, 2, 2))}),
        ("RobustQLearning", {"action_values": np.full((16, 4), np.nan)}),
        ("VPOBandit", {"logits": np.zeros((1, 0))}),
        ("RFQI", {"q.0.w": np.zeros((3, 4), "f4")}),
        ("RFQI", {"q.1.b": np.zeros(0, "f4")}),
    ],
)
def test_a_policy_that_could_not_act_is_refused_when_it_is_read(name, change, policies):
    path = next(path for path in policies if path.name.startswith(f"{name}-"))
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    assert change.keys() <= arrays.keys()
    changed = path.with_name(f"{name}-changed.safetensors")
    save_arrays(changed, arrays | change, metadata, format="robust-rl policy")
    with pytest.raises(FileFormatError, match="no sound policy"):
        fuzz_cases.read_policy(changed)


def test_a_policy_that_names_a_module_is_refused_before_it_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    path = rr.RobustVI(random_model(1), rr.KL(0.1), discount=0.5).learn().save(tmp_path / "policy")
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    save_arrays(path, arrays, metadata | {"env_id": "evil:World-v0"}, format="robust-rl policy")
    with pytest.raises(FileFormatError, match="'evil:World-v0' is no id of a registered environment"):
        rr.RobustVI.load(path).nominal()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "cell", [3, {"row": "a"}, {"row": "a", "column": "b", "low": "x", "high": 1, "value": None, "kind": "ties"}]
)
def test_earlier_tables_that_are_none_are_refused_before_the_work(cell, tmp_path, command):
    run = tmp_path / "run"
    rr.RobustVI(random_model(1), rr.KL(0.1), discount=0.5).learn(run=run)
    (run / "result/evaluation.json").write_text(json.dumps({"noise": {"title": "t", "cells": [cell]}}))
    code, _, said = command("evaluate", "run", "--shift", "action_noise=0.1")
    assert code == 1
    assert "evaluation.json is no sound file of earlier tables" in said


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_a_seed_that_no_generator_takes_is_refused(seed, command):
    code, _, said = command("game", "fishery", "--set", "none", "--equilibrium", "ce", "--seed", seed)
    assert code == 2
    assert "--seed" in said


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    pytest.importorskip("torch")
    return fuzz_cases.agents(tmp_path_factory.mktemp("policies"))


def test_a_sealed_checkpoint_of_something_else_is_refused(tmp_path):
    Trainer(tmp_path / "run", max_steps=2).fit(RandomWalk())
    with write_checkpoint(tmp_path / "run/checkpoints", 3) as directory:
        (directory / "trainer.json").write_text(json.dumps({"version": 1, "step": 3, "callbacks": {}}))
    with pytest.raises(FileFormatError, match="step_000003"):
        Trainer(tmp_path / "run", max_steps=4).fit(RandomWalk())


BOMBS = [
    "a model",
    "a model that claims to be small",
    "a text in an archive",
    "archives in archives",
    "a table that is compressed",
]


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_unpacks_to_no_end_is_refused(name, tmp_path):
    known = fuzz_bombs.bombs()
    if name not in known:
        pytest.skip("the reader's packages are not installed")
    write, case = known[name]
    path = write(tmp_path)
    assert path.stat().st_size < 2**27
    with fuzzing.one_gigabyte_more():
        assert fuzzing.outcome(lambda: case.read(path)) == (None, True)


def test_a_parser_s_panic_is_the_file_s_fault_and_ctrl_c_is_not():
    class PanicException(BaseException):
        """As those of Rust, which derive from no Exception."""

    with pytest.raises(FileFormatError, match="x is no sound tokenizer: range end"), sound("x", "tokenizer"):
        raise PanicException("range end\nindex 2")
    for context in (sound("x", "tokenizer"), loadable("x", "a tokenizer")):
        with pytest.raises(KeyboardInterrupt), context:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "reader"),
    [("pickled", "language models"), ("code", "language models"), ("code", "reward models"), ("code", "MATTE: encoder-decoders")],
)
def test_pickled_weights_and_code_that_comes_with_a_model_are_refused_and_never_run(name, reader, tmp_path, monkeypatch):
    case = fuzz_cases.cases().get(reader)
    if case is None:
        pytest.skip("the reader's packages are not installed")
    monkeypatch.setenv("FUZZ_MARK", str(tmp_path / "mark"))
    case.make(tmp_path)
    with pytest.raises(rr.errors.InvalidArgumentError, match="cannot load"):
        case.read(tmp_path / name)
    assert not (tmp_path / "mark").exists()


def test_a_network_whose_layers_do_not_fit_is_refused(tmp_path):
    from robust_rl.rllib import NetworkPolicy
    from tests.rllib.test_network_policy import POLICIES

    path = next(iter(POLICIES.values())).save(tmp_path / "policy")
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    for part in ("weight", "bias"):
        save_arrays(path, arrays | {f"layer.0.{part}": arrays[f"layer.0.{part}"][:-1]}, metadata, format="robust-rl policy")
        with pytest.raises(FileFormatError, match="no sound policy"):
            NetworkPolicy.load(path)


@pytest.mark.parametrize(
    ("part", "value"), [("domains", 3), ("config", {"c_dim": "x"}), ("words", [1]), ("style.positive", np.ones(3))]
)
def test_a_model_of_matte_with_something_else_in_it_is_refused(part, value, tmp_path):
    pytest.importorskip("zuko")
    from robust_rl.extras.matte import TextMatte
    from tests.fuzz_cases_torch import restyling_models

    (path,) = restyling_models(tmp_path)
    arrays, metadata = load_arrays(path, format="robust-rl matte")
    style = "style.positive"
    save_arrays(path, arrays | {style: arrays[style].astype(float)}, metadata, format="robust-rl matte")
    assert TextMatte.load(path).counterfactual(
        ["bland"], metadata["domains"][0], to="positive", beams=2
    )  # another type is no harm
    (arrays if part in arrays else metadata)[part] = value
    save_arrays(path, arrays, metadata, format="robust-rl matte")
    with pytest.raises(rr.errors.RobustRLError):
        TextMatte.load(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("beta: *x", "alias"), ("a: [", "cannot load"), ("\x00", "cannot load"), ("- 3", "YAML mapping"), ("3", "YAML mapping"),
        (None, "cannot load"), ("", "needs a YAML file"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_none_is_refused(given, message, tmp_path):
    pytest.importorskip("trl")
    from robust_rl.alignment import vpo

    path = tmp_path / "vpo.yaml"
    if given is not None:
        path.write_text(f"vpo_alpha: &x 1\n{given}" if "*" in given else given)
    with pytest.raises(rr.errors.InvalidArgumentError, match=message):
        vpo.main(["--config", str(path)] if given != "" else ["--config"])


def test_a_conversation_without_a_beginning_is_refused():
    pytest.importorskip("trl")
    from robust_rl.alignment.data import PAIR, check_rows

    row = {"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]}
    with pytest.raises(rr.errors.InvalidArgumentError, match="row 1 has no prompt"):
        check_rows("pairs.jsonl", iter([row]), PAIR)
    assert check_rows("pairs.jsonl", iter([row | {"prompt": [{"role": "user", "content": "c"}]}]), PAIR) == 1


def test_what_datasets_cannot_read_is_one_line(tmp_path):
    """Mixed types pass, as its Json; an integer beyond 64 bits beside them doesn't."""
    pytest.importorskip("trl")
    from robust_rl.alignment.data import load_local

    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "more": more} for more in ("x", 10**30)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FileFormatError, match=r"pairs\.jsonl is no sound table: Value is too big"):
        load_local(str(tmp_path / "pairs.jsonl"))


def test_preferences_that_are_more_rows_than_bytes_are_refused(tmp_path):
    pytest.importorskip("trl")
    from robust_rl.alignment.data import rows

    path = fuzz_bombs.parquet({"prompt": "a", "chosen": "b", "rejected": "c"}, 2**20)(tmp_path)
    with pytest.raises(FileFormatError, match="1048576 rows in fewer bytes"):
        next(rows(path))


def test_a_table_that_unpacks_to_more_than_there_is_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path = fuzz_bombs.parquet({"state": 0, "action": 0, "next_state": 0, "probability": 1.0}, 2**20)(tmp_path)
    monkeypatch.setattr("robust_rl.models.memory.available_memory", lambda: 30e6)
    with pytest.raises(rr.errors.InvalidModelError, match=r"unpacked, would take 33\.6 MB, and 30 MB are available"):
        formats.read_table(path)


def test_names_of_a_table_stay_packed_and_a_name_that_no_row_has_is_no_state(tmp_path):
    """2^20 rows of a name of 10 kB are 10 GB of text."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    long = "s" * 10_000
    path = fuzz_bombs.parquet({"state": long, "action": 0, "next_state": long, "probability": 2.0**-20}, 2**20)(tmp_path)
    with fuzzing.one_gigabyte_more():
        assert formats.read_table(path).states.tolist() == [long]
    names = arrow.DictionaryArray.from_arrays(arrow.array([0, 2], "int32"), arrow.array(["a", "nobody", "b"]))
    columns = {"state": names, "action": [0, 0], "next_state": names, "probability": [1.0, 1.0]}
    parquet.write_table(arrow.table(columns), tmp_path / "few.parquet")
    assert formats.read_table(tmp_path / "few.parquet").states.tolist() == ["a", "b"]
