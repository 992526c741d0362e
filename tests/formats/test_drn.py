from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.formats import drn, read_drn, scan, write_drn

from .models import assert_same, interval_model

DATA = Path(__file__).parent / "data"
# What stormpy 2.0.0 gives for data/intervals.drn, robust value iteration, precision 1e-12, nature against the player.
STORM_REACH = [
    0.6483105837181592, 0.6349793472725525, 0.5814142889118257, 0.5841017687702099, 0.7122232200346177, 0.5534360736502365,
    0.622344151406294, 0.6311574465508858, 0.5843875177265568, 0.6019001073483263,
]  # Pmax=? [F "goal"], states 0 to 9; 10 is the trap, 11 the goal  # fmt: skip
STORM_REWARD = [
    2.514034370620958, 2.1883144337609455, 1.619336170817764, 1.9540269795223073, 2.077777218390869, 1.510215807566322,
    2.194957381909409, 2.0754506700535718, 2.292963699330705, 2.277666884292372,
]  # Rmax=? [F "end"]  # fmt: skip
SMALL = """@type: MDP
@parameters

@reward_models
gold time
@nr_states
3
@nr_choices
4
@model
// a comment
state 0 [1, 5] init "two words"
\taction go [0.5, 1]
\t\t1 : 0.25
\t\t2 : 3/4
\taction stay
\t\t0 : 1
state 1 [0, 1] two
\taction only [2, 0]
\t\t0 : 1e0
state 2 end
\taction only
\t\t2 : 1
"""


@pytest.mark.parametrize("name", ["intervals.drn", "intervals_by_storm.drn"])
def test_robust_values_are_those_of_storm(name):
    """The second file is the first, written again by Storm 2.0.0."""
    reach = read_drn(DATA / name, reach="goal")
    value = rr.solve(reach.model, reach.uncertainty, discount=1.0, tol=1e-9).value
    np.testing.assert_allclose(value[:10], STORM_REACH, atol=1e-8)
    paid = read_drn(DATA / name)
    np.testing.assert_allclose(rr.solve(paid.model, paid.uncertainty, discount=1.0, tol=1e-9).value[:10], STORM_REWARD, atol=1e-8)


def test_storms_own_writing_is_read_as_the_same_model():
    """Storm numbers a state's actions anew; all else stays."""
    ours, storms = read_drn(DATA / "intervals.drn"), read_drn(DATA / "intervals_by_storm.drn")
    one, other = (read.model.active_rows for read in (ours, storms))
    for bound in ("lower", "upper"):
        a, b = (getattr(read.uncertainty, bound).toarray() for read in (ours, storms))
        np.testing.assert_array_equal(a[one], b[other])
    np.testing.assert_array_equal(ours.model.rewards.ravel()[one], storms.model.rewards.ravel()[other])
    assert set(ours.labels) == set(storms.labels) == {"init", "goal", "end"}


@pytest.mark.parametrize("seed", range(3))
def test_stormpy_reads_what_we_write_and_agrees(seed, tmp_path):
    stormpy = pytest.importorskip("stormpy", minversion="2")
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(8, 0.5), size=(8, 2)) * 0.8
    p[..., -1] += 0.2  # so that every policy ends
    model = rr.TabularMDP(csr_array(p.reshape(-1, 8)), rng.random((8, 2)), terminal=[7])
    lower, upper = model.csr().copy(), model.csr().copy()
    lower.data, upper.data = lower.data * rng.uniform(0.5, 1, lower.nnz), np.minimum(upper.data * 1.5, 1)
    uncertainty = rr.Interval(lower, upper)
    path = write_drn(model, tmp_path / "model.drn", uncertainty, labels={"end": model.terminal})
    built = stormpy.build_model_from_drn[stormpy.Interval](str(path))
    environment = stormpy.environments.default(built)
    solver = environment.solver().min_max()
    solver.precision, solver.relative_termination_criterion = stormpy.Rational("1/1000000000000"), False
    solver.method = stormpy.environments.MinMaxMethod.VALUE_ITERATION
    result = stormpy.model_checking(
        built,
        stormpy.parse_properties('Rmax=? [F "end"]')[0],
        uncertainty_resolution_mode=stormpy.UncertaintyResolutionMode.ROBUST,
        environment=environment,
    )
    value = rr.solve(model, uncertainty, discount=1.0, tol=1e-9).value
    np.testing.assert_allclose([result.get_value(s) for s in range(8)], value, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), plain=st.booleans())
def test_writing_and_reading_gives_the_same_model(seed, plain, tmp_path_factory):
    model, uncertainty = interval_model(seed)
    path = tmp_path_factory.mktemp("drn") / "model.drn"
    labels = {"a": [1, 2], "b c": model.terminal}
    read = read_drn(write_drn(model, path, None if plain else uncertainty, labels=labels))
    assert {name: mask.nonzero()[0].tolist() for name, mask in read.labels.items()} == {
        "init": [0, 1, 2, 3, 4], "a": [1, 2], "b c": [0],
    }  # fmt: skip
    if plain:
        assert read.uncertainty is None
        assert_same(model, read.model)
        return
    active = model.active_rows
    np.testing.assert_array_equal(read.model.active_rows, active)
    for bound in ("lower", "upper"):
        np.testing.assert_array_equal(
            getattr(read.uncertainty, bound).toarray()[active], getattr(uncertainty, bound).toarray()[active]
        )
    np.testing.assert_allclose(
        rr.solve(read.model, read.uncertainty, discount=0.9).value,
        rr.solve(model, uncertainty, discount=0.9).value,
        atol=1e-6,
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_nominal_row_lies_in_the_intervals_at_one_share_of_their_width(seed, tmp_path_factory):
    model, uncertainty = interval_model(seed)
    read = read_drn(write_drn(model, tmp_path_factory.mktemp("drn") / "model.drn", uncertainty))
    p, lower, upper = (m.toarray() for m in (read.model.csr(), read.uncertainty.lower, read.uncertainty.upper))
    for row in np.flatnonzero(read.model.active_rows):
        assert p[row].sum() == pytest.approx(1, abs=1e-12)
        assert (p[row] >= lower[row] - 1e-12).all()
        assert (p[row] <= upper[row] + 1e-12).all()
        wide = upper[row] - lower[row] > 1e-9
        shares = (p[row] - lower[row])[wide] / (upper[row] - lower[row])[wide]
        assert np.ptp(shares) < 1e-6 if wide.any() else True


def test_the_parts_of_a_file(tmp_path):
    path = tmp_path / "small.drn"
    path.write_text(SMALL)
    read = read_drn(path, reward="gold")
    assert read.uncertainty is None
    np.testing.assert_allclose(read.model.csr().toarray()[[0, 1, 2]], [[0, 0.25, 0.75], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(read.model.rewards, [[1.5, 1], [2, 0], [0, 0]])
    assert read_drn(path, reward="time").model.rewards[0].tolist() == [6, 5]
    assert read.model.terminal.tolist() == [False, False, True]
    assert read.model.action_mask[:2].tolist() == [[True, True], [True, False]]
    assert {name: mask.tolist() for name, mask in read.labels.items()} == {
        "init": [True, False, False], "two words": [True, False, False], "two": [False, True, False], "end": [False, False, True],
    }  # fmt: skip
    assert [read.choice_names[c] for c in read.choices[0]] == ["go", "stay"]
    assert read.choices[1, 1] == -1
    with pytest.raises(InvalidArgumentError, match="reward models gold, time; choose one: reward='gold'"):
        read_drn(path)
    with pytest.raises(InvalidArgumentError, match="no reward model 'silver'"):
        read_drn(path, reward="silver")
    with pytest.raises(InvalidArgumentError, match="no label 'edn'.*did you mean end"):
        read_drn(path, reach="edn")
    goal = read_drn(path, reach="end").model
    np.testing.assert_allclose(goal.expected_rewards(), [[0.75, 0], [0, 0], [0, 0]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t\t1 : 0.25", "\t\t1 : 0.2x", r"line 14: malformed transition.*0.2x"),
        ("\t\t1 : 0.25", "\t\t1 = 0.25", "line 14: malformed transition"),
        ("\t\t1 : 0.25", "\t\t1 : nan", "line 14: malformed transition"),
        ("\t\t1 : 0.25", "\t\t1 : (0.1, 0.9)", "line 14: malformed transition"),
        ("\t\t1 : 0.25", "\t\t1 : [0.1 0.9]", "line 14: malformed transition"),
        ("\t\t1 : 0.25", "\t\t1 : -0.25", r"line 13: state 0, action 0, to state 1: -0.25 is no probability"),
        ("\t\t1 : 0.25", "\t\t1 : [0.9, 0.1]", r"line 13: .*\[0.9, 0.1\] is no probability, or interval"),
        ("\t\t1 : 0.25", "\t\t1 : 0.35", "line 13: state 0, action 0: sums to 1.1"),
        ("\t\t1 : 0.25", "\t\t1 : [0.3, 0.4]", r"line 13: state 0, action 0: lower bounds sum to 1.05"),
        ("\t\t1 : 0.25", "\t\t1 : 1/0", "is no probability"),
        ("\t\t1 : 0.25", "\t\t9 : 0.25", "line 14: the successor isn't a state"),
        ("\t\t1 : 0.25", "\t\t99999999999999999999 : 0.25", "line 14: malformed transition"),
        ("\t\t1 : 0.25", "\t\t2 : 0.25", "lists its successor 2 twice"),
        ("state 1 ", "state 7 ", "line 18: a state's number is missing or isn't the next one"),
        ("[0.5, 1]", "[0.5; 1]", "line 13: malformed rewards"),
        ("[0.5, 1]", "[[0.5, 0.6], 1]", "intervals of rewards"),
        ("\taction only [2, 0]\n", "", "line 19: a transition before the first action"),
        ("state 0 [1, 5] init \"two words\"\n", "", "line 12: an action before the first state"),
        ("@nr_states\n3", "@nr_states\n4", "lists 3 states where its header says 4"),
        ("@nr_states\n3", "@nr_states\n2", "line 21: more states|the successor isn't"),
        ("@nr_states\n3", "@nr_states\n2000000000", "isn't the number of states"),
        ("@nr_states\n3", "@nr_states\nthree", "isn't followed by a number"),
        ("@nr_choices\n4", "@nr_choices\n5", "lists 4 actions where its header says 5"),
        ("@type: MDP", "@type: POMDP", "type 'pomdp'"),
        ("@parameters\n", "@parameters\np q", "parametric"),
        ("@parameters", "@surprise", "line 2: '@surprise' is no part"),
        ("@model", "@placeholders", "line 10: placeholders"),
        ("@model\n", "", "no line '@model'|is no part"),
        ("two words", 'two "words', "labels .* malformed"),
    ],
)  # fmt: skip
def test_malformed_files_are_named_with_their_line(old, new, message, tmp_path):
    assert old in SMALL
    path = tmp_path / "bad.drn"
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(FileFormatError, match=message) as error:
        read_drn(path, reward="gold")
    assert "bad.drn" in str(error.value)


def test_a_missing_file_and_one_of_bytes(tmp_path):
    with pytest.raises(FileFormatError, match=r"cannot read .*nowhere.drn: No such file"):
        read_drn(tmp_path / "nowhere.drn")
    (tmp_path / "bytes.drn").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(FileFormatError):
        read_drn(tmp_path / "bytes.drn")


def test_every_corruption_is_refused_or_gives_a_model(tmp_path):
    """Any changed byte gives our error or a valid model: never a foreign exception, never a crash in compiled code."""
    path, good = tmp_path / "small.drn", SMALL.encode()
    for position in range(len(good)):
        for byte in (0, 10, 32, 57, 91, 255):
            path.write_bytes(good[:position] + bytes([byte]) + good[position + 1 :])
            try:
                model = read_drn(path, reward="gold").model
            except (FileFormatError, InvalidArgumentError):
                continue
            assert model.num_states == 3


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_pieces_of_any_length_give_the_same_model(chunk, tmp_path, monkeypatch):
    model, uncertainty = interval_model(3)
    path = write_drn(model, tmp_path / "model.drn", uncertainty, labels={"x": [1]})
    whole = read_drn(path)
    monkeypatch.setattr(scan, "CHUNK", chunk)
    parts = read_drn(path)
    assert_same(whole.model, parts.model)
    np.testing.assert_array_equal(parts.labels["x"], whole.labels["x"])
    path.write_text(path.read_text().replace("state 3", "state 4"))
    number = 1 + path.read_text().split("\n").index(next(w for w in path.read_text().split("\n") if w.startswith("state 4")))
    with pytest.raises(FileFormatError, match=f"line {number}: a state's number"):
        read_drn(path)


def test_states_without_a_choice_stay_where_they_are(tmp_path):
    path = tmp_path / "small.drn"
    path.write_text(SMALL.replace("state 2 end\n\taction only\n\t\t2 : 1\n", "state 2 end\n").replace("choices\n4", "choices\n3"))
    assert read_drn(path, reward="gold").model.terminal[2]


def test_rounded_rows_are_rescaled_and_bounds_stay_feasible(tmp_path):
    path = tmp_path / "small.drn"
    path.write_text(SMALL.replace("0.25", "0.2499996"))
    assert read_drn(path, reward="gold").model.csr()[[0]].sum() == pytest.approx(1, abs=1e-15)
    path.write_text(SMALL.replace("0.25", "[0.2499995, 0.2499996]"))
    read = read_drn(path, reward="gold")
    assert np.isfinite(rr.solve(read.model, read.uncertainty, discount=0.9).value).all()


def test_what_drn_can_not_hold_is_refused(tmp_path):
    model, _ = interval_model(0)
    with pytest.raises(InvalidArgumentError, match=r"r\(s,a\) only"):
        write_drn(interval_model(0, transition_rewards=True)[0], tmp_path / "m.drn")
    with pytest.raises(InvalidArgumentError, match="not a distribution"):
        write_drn(model.replace(start=[0.5, 0.2, 0.1, 0.1, 0.1]), tmp_path / "m.drn")
    with pytest.raises(InvalidArgumentError, match="can't be written"):
        write_drn(model, tmp_path / "m.drn", labels={'say "x"': [0]})
    assert list(tmp_path.iterdir()) == []


def test_actions_are_numbered_by_their_names_only_where_that_makes_sense():
    state, name = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    assert drn._numbered(state, name, ("0", "2", "1")).tolist() == [0, 2, 2, 1]
    assert drn._numbered(state, name, ("0", "200", "1")).tolist() == [0, 1, 0, 0]
    assert drn._numbered(state, name, ("2", "0", "1")).tolist() == [0, 1, 0, 0]
    assert drn._numbered(state, name, ("0", "two", "1")).tolist() == [0, 1, 0, 0]
