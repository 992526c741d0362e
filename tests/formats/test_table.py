import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidModelError, MissingDependencyError
from robust_rl.formats import from_columns, read_table, write_table
from tests.worlds import random_model

from .models import assert_same

HEADER = "state,action,next_state,probability,reward\n"
GOOD = HEADER + "0,0,0,0.25,1\n0,0,1,0.75,2\n0,1,1,1,0\n1,0,2,1,5\n"


def csv(folder, text):
    pytest.importorskip("pyarrow")
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_table_of_indices(tmp_path):
    table = read_table(csv(tmp_path, GOOD))
    assert repr(table.model) == "TabularMDP(states=3, actions=2, transitions='csr', rewards=\"r(s,a,s')\", terminal=1)"
    np.testing.assert_array_equal(table.model.csr().toarray()[:3], [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(table.model.expected_rewards(), [[1.75, 0], [5, 0], [0, 0]])
    assert table.model.action_mask.tolist() == [[True, True], [True, False], [False, False]]
    assert table.model.terminal.tolist() == [False, False, True]
    assert table.states.tolist() == [0, 1, 2]
    shuffled = HEADER + "1,0,2,1,5\n0,1,1,1,0\n0,0,1,0.75,2\n0,0,0,0.25,1\n"
    assert_same(table.model, read_table(csv(tmp_path, shuffled)).model)


def test_other_names_orders_and_columns(tmp_path):
    text = "note,probability,next,action,state\nx,0.5,work,go,home\ny,0.5,home,go,home\nz,1,work,stay,home\n"
    table = read_table(csv(tmp_path, text))
    assert table.states.tolist() == ["home", "work"]
    assert table.actions.tolist() == ["go", "stay"]
    np.testing.assert_array_equal(table.model.csr().toarray()[:2], [[0.5, 0.5], [0, 1]])
    assert not table.model.rewards.any()
    assert table.model.rewards.shape == (2, 2)


def test_rows_listed_several_times_add_up_and_average():
    table = from_columns([0, 0, 0], [0, 0, 0], [1, 1, 0], [0.1, 0.3, 0.6], [4.0, 8.0, 1.0])
    np.testing.assert_allclose(table.model.csr().toarray()[0], [0.6, 0.4])
    np.testing.assert_allclose(table.model.rewards.toarray()[0], [1, (0.1 * 4 + 0.3 * 8) / 0.4])


def test_rewards_of_actions_are_told_from_rewards_of_transitions():
    columns = [0, 0, 0], [0, 0, 1], [0, 1, 1], [0.5, 0.5, 1.0]
    assert from_columns(*columns, [3.0, 3.0, 4.0]).model.rewards.tolist() == [[3, 4], [0, 0]]
    assert from_columns(*columns, [3.0, 2.0, 4.0]).model.has_transition_rewards
    moved = from_columns([0, 0], [0, 0], [0, 1], [1.0, 0.0], [3.0, -9.0]).model
    assert moved.csr().nnz == 1
    assert moved.rewards.toarray()[0].tolist() == [3, -9]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([0, 2, 4], [0, 1, 2, 3, 4]),  # at most half unused: indices
        ([0, 50, 100], [0, 50, 100]),
        ([-1, 0, 1], [-1, 0, 1]),
        ([7, 8, 10**12], [7, 8, 10**12]),
        ([0.0, 1.0, 2.0], [0, 1, 2]),
        (["b", "a", "c"], ["a", "b", "c"]),
        ([True, False, True], [False, True]),
    ],
)
def test_which_integers_are_indices(states, expected):
    table = from_columns(states, [0, 0, 0], states, [1.0, 1.0, 1.0] if len(set(states)) == 3 else [0.5, 1.0, 0.5])
    assert table.states.tolist() == expected
    assert table.model.num_states == len(expected)


def test_a_column_of_integers_and_one_of_names_have_names_in_common():
    table = from_columns([1, 2], [0, 0], ["2", "end"], [1.0, 1.0])
    assert table.states.tolist() == ["1", "2", "end"]


def test_more_states_than_the_table_tells():
    table = from_columns([0], [1], [0], [1.0], num_states=4, num_actions=3)
    assert (table.model.num_states, table.model.num_actions) == (4, 3)
    with pytest.raises(InvalidModelError, match=r"state 4 does not exist; they are 0\.\.3"):
        from_columns([0], [0], [4], [1.0], num_states=4)
    with pytest.raises(InvalidModelError, match="holds names"):
        from_columns(["a"], [0], ["a"], [1.0], num_states=4)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), sparse=st.booleans(), transition_rewards=st.booleans(), suffix=st.sampled_from(["csv", "parquet"])
)
def test_writing_and_reading_gives_the_same_model(seed, sparse, transition_rewards, suffix, tmp_path_factory):
    pytest.importorskip("pyarrow")
    model = random_model(seed, sparse=sparse, transition_rewards=transition_rewards)
    path = write_table(model, tmp_path_factory.mktemp("table") / f"model.{suffix}")
    read = read_table(path, num_states=model.num_states, num_actions=model.num_actions).model
    assert_same(model, read)
    if read.has_transition_rewards:
        rewards = model.rewards.toarray() if sparse else model.rewards.reshape(-1, model.num_states)
        np.testing.assert_array_equal(read.rewards.toarray()[model.active_rows], rewards[model.active_rows])
    names = write_table(model, path.with_name(f"named.{suffix}"), states=list("edcba"), actions=["x", "y", "z"])
    named = read_table(names)
    order = [named.states.tolist().index(name) for name in "edcba"]
    if named.model.num_actions == 3:
        np.testing.assert_allclose(named.model.expected_rewards()[order], model.expected_rewards(), atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("probability", "chance", "has no column 'probability'; its columns are state, action, next_state, chance, reward"),
        ("0.25", "-0.25", "row 1: probability is -0.25"),
        ("0.75", "nan", "row 2: probability is missing|row 2: probability is nan"),
        ("0.75", "", "row 2: probability is missing"),
        ("0.75", "inf", "row 2: probability is inf"),
        ("0.75", "0.76", r"row 1: the probabilities of state 0 and action 0 sum to 1.01; they must sum to 1 within 1e-06"),
        ("0.75", "high", "row 2: probability is 'high'; it must be a number"),
        ("1,0,2,1,5", "1,0,2,1,x", "row 4: reward is 'x'; it must be a number"),
        ("1,0,2,1,5", "1,0,2,1", "Row #5: Expected 5 columns, got 4"),
        ("1,0,2,1,5", "1,0,,1,5", "row 4: next_state is missing"),
        ("1,0,2,1,5", "1.5,0,2,1,5", "row 4: state is 1.5; give integers or names"),
        (GOOD[len(HEADER) :], "", "there are no rows"),
        (GOOD, "", "no readable table"),
    ],
)
def test_mistakes_are_named_with_their_row(old, new, message, tmp_path):
    assert old in GOOD
    with pytest.raises(FileFormatError, match=message) as error:
        read_table(csv(tmp_path, GOOD.replace(old, new, 1)))
    assert "table.csv" in str(error.value)


def test_files_that_are_no_tables(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(FileFormatError, match=r"no table at .*nowhere.csv"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(FileFormatError, match="no readable table"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(InvalidArgumentError, match=r"should end in .csv or .parquet"):
        read_table(tmp_path / "table.txt")


def test_columns_that_do_not_fit():
    with pytest.raises(InvalidModelError, match="differ in length"):
        from_columns([0, 0], [0], [0], [1.0])
    with pytest.raises(InvalidModelError, match="column probability must hold numbers"):
        from_columns([0], [0], [0], ["x"])
    with pytest.raises(InvalidModelError, match="row 1: reward is nan"):
        from_columns([0], [0], [0], [1.0], [np.nan])


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "table.csv").write_text(GOOD)
    with pytest.raises(MissingDependencyError, match=r"robust-rl\[tables\]"):
        read_table(tmp_path / "table.csv")
