import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.formats import read_drn, read_prism, scan, write_drn, write_prism

from .models import assert_same, interval_model

TRANSITIONS = """# a robot
4 5 8
0 0 1 [0.1,0.4] east
0 0 2 [0.6, 0.9] east
1 0 0 [1,1]
1 1 2 1/2 south
1 1 3 0.5 south
2 0 2 1
3 0 3 0.5 back
3 0 0 5e-1 back
"""
LABELS = '# labels\n0="init" 1="deadlock" 2="the goal"\n0: 0\n2: 2\n3: 0 2\n'
STATE_REWARDS = "# state rewards\n4 2\n0 2\n3 0.5\n"
TRANSITION_REWARDS = "4 5 3\n0 0 1 1\n0 0 2 1\n3 0 3 -4\n"


def files(folder, **changes):
    texts = {"tra": TRANSITIONS, "lab": LABELS, "srew": STATE_REWARDS, "trew": TRANSITION_REWARDS} | changes
    for suffix, text in texts.items():
        if text is not None:
            (folder / f"robot.{suffix}").write_text(text)
    return folder / "robot.tra"


def test_the_parts_of_a_model(tmp_path):
    read = read_prism(files(tmp_path))
    model = read.model
    assert (model.num_states, model.num_actions) == (4, 2)
    np.testing.assert_array_equal(read.uncertainty.upper.toarray()[0], [0, 0.4, 0.9, 0])
    np.testing.assert_allclose(model.csr().toarray()[0], [0, 0.25, 0.75, 0])
    np.testing.assert_array_equal(model.rewards.toarray()[0], [0, 3, 3, 0])
    np.testing.assert_array_equal(model.rewards.toarray()[6], [0.5, 0, 0, -3.5])
    assert model.terminal.tolist() == [False, False, True, False]
    assert model.start.tolist() == [0.5, 0, 0, 0.5]
    assert read.labels["the goal"].tolist() == [False, False, True, True]
    assert [read.choice_names[c] for c in read.choices[1]] == ["", "south"]
    by_action = read_prism(files(tmp_path, trew="4 5 2\n0 0 1 1\n0 0 2 1\n")).model
    np.testing.assert_array_equal(by_action.rewards, [[3, 0], [0, 0], [0, 0], [0.5, 0]])
    (tmp_path / "robot.trew").unlink()
    (tmp_path / "robot.srew").unlink()
    assert not read_prism(tmp_path / "robot.tra").model.rewards.any()
    other = tmp_path / "other.srew"
    other.write_text("4 1\n1 7\n")
    assert read_prism(tmp_path / "robot.tra", state_rewards=other).model.rewards[1].tolist() == [7, 7]
    goal = read_prism(tmp_path / "robot.tra", reach="the goal")
    np.testing.assert_allclose(goal.model.expected_rewards()[:2], [[0.75, 0], [0, 1]])


def test_a_chain_has_one_action(tmp_path):
    path = tmp_path / "chain.tra"
    path.write_text("3 4\n0 1 0.5\n0 2 0.5\n1 0 1\n2 2 1\n")
    (tmp_path / "chain.trew").write_text("3 1\n0 2 6\n")
    model = read_prism(path).model
    assert model.num_actions == 1
    np.testing.assert_array_equal(model.expected_rewards(), [[3], [0], [0]])
    assert rr.solve(model, None, discount=0.5).value[0] == pytest.approx(3 / (1 - 0.5 * 0.25))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), plain=st.booleans(), transition_rewards=st.booleans())
def test_writing_and_reading_gives_the_same_model(seed, plain, transition_rewards, tmp_path_factory):
    model, uncertainty = interval_model(seed, transition_rewards=transition_rewards)
    prefix = np.arange(3) < model.action_mask.sum(axis=1, keepdims=True)  # PRISM's choices have no gaps
    model = model.replace(action_mask=prefix)
    path = tmp_path_factory.mktemp("prism") / "model.tra"
    read = read_prism(write_prism(model, path, None if plain else uncertainty, labels={"x y": [2]}))
    assert read.labels["x y"].tolist() == [False, False, True, False, False]
    if plain:
        assert_same(model, read.model)
        return
    active = model.active_rows
    for bound in ("lower", "upper"):
        np.testing.assert_array_equal(
            getattr(read.uncertainty, bound).toarray()[active], getattr(uncertainty, bound).toarray()[active]
        )
    value = rr.solve(model, uncertainty, discount=0.9).value
    np.testing.assert_allclose(rr.solve(read.model, read.uncertainty, discount=0.9).value, value, atol=1e-6)
    if not transition_rewards:
        drn = read_drn(write_drn(model, path.with_suffix(".drn"), uncertainty))
        np.testing.assert_array_equal(drn.uncertainty.lower.toarray(), read.uncertainty.lower.toarray())
        np.testing.assert_array_equal(drn.model.rewards[1:], read.model.rewards[1:])


@pytest.mark.parametrize(
    ("suffix", "old", "new", "message"),
    [
        ("tra", "0 0 1 [0.1,0.4]", "0 0 one [0.1,0.4]", "line 3: malformed line.*one"),
        ("tra", "0 0 1 [0.1,0.4]", "0 0 1 [0.1,0.4", "line 3: malformed number"),
        ("tra", "0 0 1 [0.1,0.4]", "0 0 9 [0.1,0.4]", "line 3: 9 is out of range; the header allows 0 to 3"),
        ("tra", "0 0 1 [0.1,0.4]", "0 0 1 [0.5,0.6]", "line 3: state 0, action 0: lower bounds sum to 1.1"),
        ("tra", "1 1 3 0.5", "1 1 2 0.5", "line 6: state 1, action 1 lists its successor 2 twice"),
        ("tra", "2 0 2 1\n", "", "holds 7 lines where its header says 8"),
        ("tra", "2 0 2 1\n", "2 1 2 1\n2 0 2 1\n", "holds 9 lines"),
        ("tra", "4 5 8", "4 6 8", "holds 5 choices where its header says 6"),
        ("tra", "4 5 8", "4", "line 2: the header is '4'; expected 2 or 3 whole numbers"),
        ("tra", "4 5 8", "2000000000 5 8", "line 2: the header says 2000000000 states"),
        ("lab", '2="the goal"', "2=goal", "line 2: .*should list the labels"),
        ("lab", "2: 2", "2: 5", "line 4: .*should be a state"),
        ("lab", "2: 2", "9: 2", "line 4: .*should be a state"),
        ("srew", "0 2", "0 two", "line 3: malformed number"),
        ("srew", "0 2", "0 2 2", "line 3: there is more on the line"),
        ("srew", "0 2", "7 2", "line 3: 7 is out of range"),
        ("srew", "4 2", "4 3", "holds 2 lines where its header says 3"),
        ("trew", "0 0 1 1", "0 0 3 1", "line 2: a reward for a transition that the model doesn't have"),
        ("trew", "4 5 3", "4 3", "line 2: |2 indices a line"),
        ("trew", "-4", "1e999", "a reward is infinite"),
    ],
)
def test_malformed_files_are_named_with_their_line(suffix, old, new, message, tmp_path):
    path = files(tmp_path)
    bad = path.with_suffix(f".{suffix}")
    assert old in bad.read_text()
    bad.write_text(bad.read_text().replace(old, new, 1))
    with pytest.raises(FileFormatError, match=message):
        read_prism(path)


def test_every_corruption_is_refused_or_gives_a_model(tmp_path):
    """Any changed byte gives our error or a valid model: never a foreign exception, never a crash in compiled code."""
    path = files(tmp_path)
    for suffix in ("tra", "lab", "srew", "trew"):
        bad = path.with_suffix(f".{suffix}")
        good = bad.read_bytes()
        for position in range(len(good)):
            for byte in (0, 10, 32, 57, 91, 255):
                bad.write_bytes(good[:position] + bytes([byte]) + good[position + 1 :])
                try:
                    assert read_prism(path).model.num_states >= 4
                except FileFormatError:
                    continue
        bad.write_bytes(good)


def test_pieces_of_any_length_give_the_same_model(tmp_path, monkeypatch):
    path = files(tmp_path)
    whole = read_prism(path)
    monkeypatch.setattr(scan, "CHUNK", 5)
    assert_same(whole.model, read_prism(path).model)


def test_what_prism_can_not_hold_is_refused(tmp_path):
    model, _ = interval_model(0)
    with pytest.raises(InvalidArgumentError, match="should end in .tra"):
        write_prism(model, tmp_path / "model.txt")
    mask = np.ones((5, 3), dtype=bool)
    mask[2, 1] = False
    with pytest.raises(InvalidArgumentError, match="without gaps"):
        write_prism(model.replace(transitions=np.full((5, 3, 5), 0.2), action_mask=mask), tmp_path / "model.tra")
    with pytest.raises(FileFormatError, match="cannot read"):
        read_prism(tmp_path / "nowhere.tra")
