"""Models as directories of arrays, mapped into memory."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.errors import FileFormatError
from tests.worlds import random_model

ARRAYS = ("data", "indices", "indptr")


def backing(array):
    """Return the object that holds an array's memory."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap) and array.base is not None:
        array = array.base
    return array


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), sparse=st.booleans(), transition_rewards=st.booleans(), mmap=st.booleans())
def test_a_directory_holds_the_same_model(seed, sparse, transition_rewards, mmap, tmp_path_factory):
    model = random_model(seed, sparse=sparse, transition_rewards=transition_rewards)
    path = model.save(tmp_path_factory.mktemp("model") / "new" / "one.model")
    loaded = rr.TabularMDP.load(path, mmap=mmap)
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.csr().toarray(), model.csr().toarray())
    np.testing.assert_array_equal(loaded.expected_rewards(), model.expected_rewards())
    for name in ("start", "terminal", "action_mask"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))


@pytest.mark.parametrize("transition_rewards", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_arrays_stay_on_the_disk_and_are_plain(sparse, transition_rewards, tmp_path):
    path = random_model(1, sparse=sparse, transition_rewards=transition_rewards).save(tmp_path / "one.model")
    model = rr.TabularMDP.load(path)
    matrices = [model.transitions] + [model.rewards] * transition_rewards
    arrays = [getattr(m, part) for m in matrices for part in ARRAYS] if sparse else matrices
    for array in arrays:
        assert type(array) is np.ndarray
        assert not array.flags.writeable
        assert not isinstance(backing(array), (np.ndarray, type(None))) or isinstance(backing(array), np.memmap)
    read = rr.TabularMDP.load(path, mmap=False)
    assert (read.transitions.data if sparse else read.transitions).flags.writeable


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "uncertainty",
    [
        None,
        rr.TotalVariation(0.1, support="free"),
        rr.KL(0.1),
        rr.L2(0.1, support="reachable"),
        rr.LInfinity(0.1, support="free"),
        rr.Contamination(0.1, support="free"),
    ],
    ids=repr,
)
def test_solvers_take_arrays_that_can_not_be_written(uncertainty, sparse, tmp_path):
    model = random_model(2, sparse=sparse, transition_rewards=False, terminal=False, masked=False)
    loaded = rr.TabularMDP.load(model.save(tmp_path / "one.model"))
    expected = rr.solve(model, uncertainty, discount=0.9).value
    np.testing.assert_array_equal(rr.solve(loaded, uncertainty, discount=0.9).value, expected)
    assert loaded.to_env().reset(seed=0)[0] in range(5)


def test_saving_again_replaces_the_model_and_spares_what_is_none(tmp_path):
    one, two = random_model(1), random_model(2)
    path = one.save(tmp_path / "x.model")
    mapped = rr.TabularMDP.load(path)
    two.save(path)
    np.testing.assert_array_equal(rr.TabularMDP.load(path).transitions, two.transitions)
    np.testing.assert_array_equal(mapped.transitions, one.transitions)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.model"], "nothing temporary stays"
    (tmp_path / "empty").mkdir()
    assert rr.TabularMDP.load(two.save(tmp_path / "empty")).num_states == 5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileFormatError, match="exists and holds no model"):
        one.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_save_that_fails_leaves_the_earlier_model(tmp_path, monkeypatch):
    path = random_model(1).save(tmp_path / "x.model")
    written = []

    def full(file, array, **keywords):
        written.append(file)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        np.lib.format.write_array(open(file, "wb"), array)  # noqa: SIM115

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        random_model(2).save(path)
    np.testing.assert_array_equal(rr.TabularMDP.load(path).transitions, random_model(1).transitions)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.model"]


def edit_header(path, **changes):
    header = json.loads((path / "header.json").read_text())
    (path / "header.json").write_text(json.dumps(header | changes))


def replace(path, name, change):
    """Change an array and what the header says of it."""
    array = change(np.load(path / f"{name}.npy"))
    np.save(path / f"{name}.npy", array)
    arrays = json.loads((path / "header.json").read_text())["arrays"]
    edit_header(path, arrays=arrays | {name: {"dtype": array.dtype.str, "shape": list(array.shape)}})


def entry(position, value):
    def change(array):
        array[position] = value
        return array

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "header.json").unlink(), "holds no header.json"),
        (lambda p: (p / "header.json").write_text("{"), "header.json is not readable"),
        (lambda p: (p / "header.json").write_text("[]"), "is not a robust-rl tabular model"),
        (lambda p: edit_header(p, format="other"), "is not a robust-rl tabular model"),
        (lambda p: edit_header(p, version=99), "version 99, newer than 1: upgrade"),
        (lambda p: edit_header(p, version="1"), "no format version"),
        (lambda p: edit_header(p, arrays={"../../etc/passwd": {}}), "its arrays are not those of a model"),
        (lambda p: edit_header(p, arrays={}), "incomplete: 'start' is missing"),
        (lambda p: (p / "start.npy").unlink(), "start.npy is not a readable array"),
        (lambda p: (p / "transitions.data.npy").write_bytes(b""), "transitions.data.npy is not a readable array"),
        (lambda p: (p / "transitions.data.npy").write_bytes((p / "transitions.data.npy").read_bytes()[:-8]), "not a readable"),
        (lambda p: np.save(p / "start.npy", np.ones(7)), "isn't of the type and shape"),
        (lambda p: replace(p, "start", lambda a: a.astype("U9")), "a model is made of numbers"),
        (lambda p: replace(p, "transitions.indices", entry(0, 5)), "transitions is no CSR matrix"),
        (lambda p: replace(p, "transitions.indices", entry(0, -1)), "transitions is no CSR matrix"),
        (lambda p: replace(p, "transitions.indptr", entry(3, 10**6)), "transitions is no CSR matrix"),
        (lambda p: replace(p, "rewards.indptr", entry(-1, 2)), "rewards is no CSR matrix"),
        (lambda p: replace(p, "rewards.indptr", lambda a: a[:0]), "rewards is no CSR matrix"),
        (lambda p: replace(p, "transitions.data", entry(slice(None), -1)), "is -1; probabilities are >= 0"),
    ],
)
def test_damage_is_refused(damage, message, tmp_path):
    path = random_model(0, sparse=True).save(tmp_path / "x.model")
    damage(path)
    with pytest.raises(ValueError, match=message):
        rr.TabularMDP.load(path)


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileFormatError, match="no model directory at"):
        rr.TabularMDP.load(tmp_path / "x.model")


MEASURE = """
import sys
import numpy as np
from scipy import sparse
import robust_rl as rr

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name + ":"))

def extra(action):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = status("VmRSS")
    result = action()
    return (status("VmHWM") - before) * 1024, result

states, actions, branching = 100_000, 5, 10
rows = states * actions
indices = np.tile(np.arange(branching, dtype=np.int32) * (states // branching), rows)
kernel = sparse.csr_array((np.full(len(indices), 1 / branching), indices, np.arange(rows + 1, dtype=np.int32) * branching))
kernel.resize((rows, states))
kernel = sparse.csr_array((kernel.data, kernel.indices, kernel.indptr), shape=(rows, states))
rr.TabularMDP(sparse.csr_array(np.eye(2)), np.zeros((2, 1)))  # what is loaded at the first model
made, model = extra(lambda: rr.TabularMDP(kernel, np.zeros((states, actions))))
assert np.shares_memory(model.transitions.data, kernel.data)
model.save(sys.argv[1])
anonymous = status("RssAnon")
loaded = rr.TabularMDP.load(sys.argv[1])
print(model.nbytes, made, (status("RssAnon") - anonymous) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_is_checked_and_mapped_beside_nothing_but_itself(tmp_path):
    """5e6 entries, 66 MB. A check that copies the probabilities once would need 0.6 of the model, a loaded copy all of it."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "big.model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "clear_refs" in done.stderr:
        pytest.skip("the peak can't be reset here")
    assert done.returncode == 0, done.stderr
    size, made, mapped = map(int, done.stdout.split())
    assert made < 0.3 * size
    assert mapped < 0.3 * size
